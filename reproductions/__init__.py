"""Scripts that redo the papers' experiments, with their results."""
