"""Which training rows made the network answer an evaluated row as it does."""

from nnabla_influence.explanation.explain import explain
from nnabla_influence.explanation.explanation import Explanation

__all__ = ["Explanation", "explain"]
