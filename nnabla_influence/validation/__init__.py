"""Scores against the truth: leave rows out, retrain the window, compare.

It imports scipy and matplotlib, so nothing imports it before it is asked for.
"""

from nnabla_influence.validation.agreement import (
    RowAgreement,
    SubsetAgreement,
    row_agreement,
    subset_agreement,
)
from nnabla_influence.validation.experiment import validate
from nnabla_influence.validation.result import Base, Question, Validation
from nnabla_influence.validation.sampling import Sample

__all__ = [
    "Base",
    "Question",
    "RowAgreement",
    "Sample",
    "SubsetAgreement",
    "Validation",
    "row_agreement",
    "subset_agreement",
    "validate",
]
