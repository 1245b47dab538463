"""Which training rows made the network answer an evaluated row as it does."""

from nnabla_influence.explanation.explaining import explain
from nnabla_influence.explanation.explanation import Explanation

__all__ = ["Explanation", "explain"]
