"""Network definitions of nnabla and the Console: read, and built as per-example losses."""

from nnabla_influence.network.datasets import DatasetSettings
from nnabla_influence.network.definition import Definition, SolverSettings, load_definition
from nnabla_influence.network.inputs import Input
from nnabla_influence.network.objective import Objective, build_objective

__all__ = [
    "DatasetSettings",
    "Definition",
    "Input",
    "Objective",
    "SolverSettings",
    "build_objective",
    "load_definition",
]
