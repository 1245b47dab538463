"""From a model file and a dataset CSV to the ranking."""

from nnabla_influence.scoring.scoring import score

__all__ = ["score"]
