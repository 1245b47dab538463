"""The experiments of Suzuki et al. (arXiv 2103.11807): Table 1, Figures 2, 4 and 5."""
