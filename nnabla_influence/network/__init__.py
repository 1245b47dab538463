"""Network definitions of nnabla and the Console: read, and built as per-example losses."""

from nnabla_influence.network.datasets import DatasetSettings
from nnabla_influence.network.definition import Definition, load_definition
from nnabla_influence.network.draws import Draw
from nnabla_influence.network.ignored_labels import ignoring_columns
from nnabla_influence.network.independence import check_independence
from nnabla_influence.network.inputs import Input
from nnabla_influence.network.losses import is_never_negative
from nnabla_influence.network.mode import Mode
from nnabla_influence.network.normalization import Statistic, running_statistics
from nnabla_influence.network.objective import (
    Objective,
    build_objective,
    check_differentiable,
)
from nnabla_influence.network.random_layers import (
    RandomLayers,
    seed_random_layers,
    set_seeds,
    with_seeds,
)
from nnabla_influence.network.solver_settings import SolverSettings
from nnabla_influence.network.validation_network import validation_definition

__all__ = [
    "DatasetSettings",
    "Definition",
    "Draw",
    "Input",
    "Mode",
    "Objective",
    "RandomLayers",
    "SolverSettings",
    "Statistic",
    "build_objective",
    "check_differentiable",
    "check_independence",
    "ignoring_columns",
    "is_never_negative",
    "load_definition",
    "running_statistics",
    "seed_random_layers",
    "set_seeds",
    "validation_definition",
    "with_seeds",
]
