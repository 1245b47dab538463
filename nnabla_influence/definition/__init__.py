"""Network definitions of nnabla and the Console: read them, and build their per-example losses."""

from nnabla_influence.definition.datasets import DatasetSettings
from nnabla_influence.definition.definition import Definition, load_definition
from nnabla_influence.definition.inputs import Input
from nnabla_influence.definition.losses import ignoring_columns, is_never_negative
from nnabla_influence.definition.modes import Mode
from nnabla_influence.definition.normalization import Statistic, running_statistics
from nnabla_influence.definition.objective import (
    Objective,
    build_objective,
    check_differentiable,
    check_independence,
)
from nnabla_influence.definition.prediction import Label, find_label
from nnabla_influence.definition.random_layers import (
    Draw,
    RandomLayers,
    seed_random_layers,
    set_seeds,
    with_seeds,
)
from nnabla_influence.definition.solver_settings import SolverSettings
from nnabla_influence.definition.validation_network import validation_definition

__all__ = [
    "DatasetSettings",
    "Definition",
    "Draw",
    "Input",
    "Label",
    "Mode",
    "Objective",
    "RandomLayers",
    "SolverSettings",
    "Statistic",
    "build_objective",
    "check_differentiable",
    "check_independence",
    "find_label",
    "ignoring_columns",
    "is_never_negative",
    "load_definition",
    "running_statistics",
    "seed_random_layers",
    "set_seeds",
    "validation_definition",
    "with_seeds",
]
