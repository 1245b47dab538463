"""From a ranking to a cleansed dataset CSV: rows are removed or relabelled, by score or by hand."""

from nnabla_influence.cleansing.cleanse import ClassChange, Cleansed, cleanse
from nnabla_influence.cleansing.decisions import Decision
from nnabla_influence.cleansing.output import write_decisions

__all__ = ["ClassChange", "Cleansed", "Decision", "cleanse", "write_decisions"]
