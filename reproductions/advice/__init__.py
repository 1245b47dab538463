"""Whether the advice to remove or relabel rows makes a network better."""
