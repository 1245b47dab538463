"""From a definition and two CSVs to advice: remove these rows, relabel those, or leave it."""

from nnabla_influence.advice.advise import advise
from nnabla_influence.advice.result import Advice

__all__ = ["Advice", "advise"]
