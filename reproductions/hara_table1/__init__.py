"""Table 1 of Hara et al. (NeurIPS 2019): how well scores agree with true leave-one-out."""
