"""The solvers that can be traced: their adjoints, and nnabla's own objects to train with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nnabla as nn
import nnabla.solvers as S

from nnabla_influence.definition.solver_settings import SolverSettings
from nnabla_influence.errors import UnsupportedError
from nnabla_influence.solvers.adam import (
    AdamAdjoint,
    AdamaxAdjoint,
    AdamWAdjoint,
    AmsgradAdjoint,
)
from nnabla_influence.solvers.adjoint import Adjoint, RuleAdjoint
from nnabla_influence.solvers.rmsprop import AdadeltaAdjoint, AdagradAdjoint, RmspropAdjoint
from nnabla_influence.solvers.settings import HYPERPARAMETERS, hyperparameter
from nnabla_influence.solvers.sgd import (
    MomentumAdjoint,
    NesterovAdjoint,
    SgdAdjoint,
    SgdWAdjoint,
)

SOLVERS: Mapping[str, type[RuleAdjoint]] = MappingProxyType(
    {
        "Sgd": SgdAdjoint,
        "SgdW": SgdWAdjoint,
        "Momentum": MomentumAdjoint,
        "Nesterov": NesterovAdjoint,
        "Adam": AdamAdjoint,
        "AdamW": AdamWAdjoint,
        "AMSGRAD": AmsgradAdjoint,
        "Adamax": AdamaxAdjoint,
        "RMSprop": RmspropAdjoint,
        "Adagrad": AdagradAdjoint,
        "Adadelta": AdadeltaAdjoint,
    }
)
"""The adjoint of each solver that can be traced, by nnabla's name."""

# What the constructors call the learning rate where not lr.
_ALPHA = frozenset({"Adam", "AdamW", "AMSGRAD", "Adamax"})


def check_solver(name: str, where: Path) -> None:
    """Refuse a solver without an adjoint.

    Args:
        name: nnabla's name.
        where: The model file or run that names it, for the message.

    Raises:
        UnsupportedError: It names the solver and those that can be traced.
    """
    if name not in SOLVERS:
        raise UnsupportedError(f"{where}: {_cannot_be_traced(name)}")


def build_adjoint(solver: SolverSettings, u: nn.NdArray, context: nn.Context) -> Adjoint:
    """Return the adjoint of a solver, starting at the end of the window.

    Args:
        solver: One of `SOLVERS`, with its hyper-parameters and the training's weight decay.
        u: Gradient of the validation loss, shape ``(p,)``; changed in place by the trace.
        context: Where to compute.

    Raises:
        UnsupportedError: The solver cannot be traced, or a hyper-parameter or the weight decay is
            missing or not a valid number.
    """
    if solver.name not in SOLVERS:
        raise UnsupportedError(_cannot_be_traced(solver.name))
    return SOLVERS[solver.name](u, solver, context)


def build_solver(
    solver: SolverSettings, context: nn.Context, learning_rate: float | None = None
) -> Any:
    """Return nnabla's own solver, as nnabla_cli builds it.

    The weight decay of the training is not the constructor's: it is set before each update.

    Args:
        solver: One of `SOLVERS`, with its hyper-parameters; ``lr`` is the constructor's.
        context: Where to update.
        learning_rate: Of the next update, if it is not the constructor's.

    Raises:
        UnsupportedError: The solver is another, or a hyper-parameter is missing or not finite.
    """
    if solver.name not in SOLVERS:
        raise UnsupportedError(_cannot_be_traced(solver.name))
    values: dict[str, float | bool] = {}
    for name in HYPERPARAMETERS[solver.name]:
        value = hyperparameter(solver, name)
        argument = "alpha" if name == "lr" and solver.name in _ALPHA else name
        values[argument] = bool(value) if name == "bias_correction" else value
    with nn.context_scope(context):
        built = getattr(S, solver.name)(**values)
    if learning_rate is not None:
        built.set_learning_rate(learning_rate)
    return built


def _cannot_be_traced(name: str) -> str:
    return (
        f"the solver {name} cannot be traced back; train with one of {', '.join(SOLVERS)} to get"
        " scores"
    )
