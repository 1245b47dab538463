"""SGD-influence for nnabla: which training examples make the model worse."""
