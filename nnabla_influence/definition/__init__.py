"""Network definitions of nnabla and the Console: read them, and build their per-example losses."""

from nnabla_influence.definition.datasets import DatasetSettings
from nnabla_influence.definition.definition import Definition, load_definition
from nnabla_influence.definition.inputs import Input
from nnabla_influence.definition.losses import (
    Label,
    find_label,
    ignoring_columns,
    is_cross_entropy,
    is_never_negative,
)
from nnabla_influence.definition.modes import Mode
from nnabla_influence.definition.monitors import validation_definition
from nnabla_influence.definition.normalization import Statistic, running_statistics
from nnabla_influence.definition.objective import (
    Objective,
    build_objective,
)
from nnabla_influence.definition.random_layers import (
    Draw,
    RandomLayers,
    seed_random_layers,
    set_seeds,
    with_seeds,
)
from nnabla_influence.definition.solver_settings import SolverSettings

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
    "find_label",
    "ignoring_columns",
    "is_cross_entropy",
    "is_never_negative",
    "load_definition",
    "running_statistics",
    "seed_random_layers",
    "set_seeds",
    "validation_definition",
    "with_seeds",
]
