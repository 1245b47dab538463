"""The solver of a definition's optimizer section, and its learning rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnabla.utils import learning_rate_scheduler as schedulers

from nnabla_influence.errors import UnsupportedError

# The types that nnabla_cli trains with.
_SOLVERS = """
AMSBound AMSGRAD AdaBelief AdaBound Adadelta Adagrad Adam AdamW Adamax Lars Momentum Nesterov
RMSprop RMSpropGraves Sgd SgdW
"""


@dataclass(frozen=True)
class SolverSettings:
    """What moves the parameters.

    Attributes:
        name: nnabla's name, such as ``Sgd`` or ``Momentum``.
        hyperparameters: The initial learning rate under ``lr``, the others by nnabla's names.
        weight_decay: L2, added to the gradient as ``weight_decay * theta``.
        update_interval: How many mini-batches' gradients are summed for one update, at least 1.
    """

    name: str
    hyperparameters: Mapping[str, float]
    weight_decay: float
    update_interval: int


def solver_settings(path: Path, optimizer: Any) -> SolverSettings:
    """Read the solver of a proto ``Optimizer``."""
    solver = optimizer.solver
    name = "Sgd" if solver.type == "SGD" else solver.type
    if name not in _SOLVERS.split():
        raise UnsupportedError(
            f"{path}: the solver {solver.type!r} is unknown to nnabla_cli; use one of"
            f" {', '.join(_SOLVERS.split())}"
        )
    field = "rmsprop_graves" if name == "RMSpropGraves" else name.lower()
    parameter = getattr(solver, f"{field}_param")
    hyperparameters = {
        "lr" if key == "alpha" else key: float(getattr(parameter, key))
        for key in parameter.DESCRIPTOR.fields_by_name
    }
    if "bias_correction" in hyperparameters:
        # nnabla_cli does not pass the file's on, so its solvers have the constructor's default.
        hyperparameters["bias_correction"] = 0.0
    return SolverSettings(
        name=name,
        hyperparameters=hyperparameters,
        weight_decay=float(solver.weight_decay),
        update_interval=max(int(optimizer.update_interval), 1),
    )


def learning_rate_schedule(path: Path, solver: Any, initial: float) -> Callable[[int], float]:
    """Return the function from the iteration, from 0, to its learning rate.

    The choice follows ``nnabla.utils.load``, by which nnabla_cli trains: a named scheduler, or the
    older ``lr_decay`` where none is named, and a linear warm-up over either. nnabla's solvers hold
    the rate as a C++ float, so the function rounds to one.
    """
    scheduler = _base_scheduler(path, solver, initial)
    warmup = solver.linear_warmup_scheduler_param.warmup_iter
    if solver.lr_warmup_scheduler_type == "Linear" and warmup >= 1:
        scheduler = schedulers.LinearWarmupScheduler(scheduler, warmup)

    def learning_rate(iteration: int) -> float:
        try:
            return float(np.float32(scheduler.get_learning_rate(iteration)))
        except (TypeError, ZeroDivisionError) as error:
            # A fractional power of a negative number is complex; a max_iter of 0 divides by 0.
            raise UnsupportedError(
                f"{path}: the learning-rate scheduler {solver.lr_scheduler_type} has no value at"
                f" iteration {iteration}; check its max_iter in the optimizer section"
            ) from error

    return learning_rate


def _base_scheduler(path: Path, solver: Any, initial: float) -> Any:
    kind = solver.lr_scheduler_type
    if kind == "":
        rate = solver.lr_decay if solver.lr_decay > 0.0 else 1.0
        return schedulers.ExponentialScheduler(initial, rate, max(solver.lr_decay_interval, 1))
    if kind == "Polynomial":
        # nnabla_cli divides max_iter by its number of processes, 1, without a remainder.
        polynomial = solver.polynomial_scheduler_param
        return schedulers.PolynomialScheduler(initial, polynomial.max_iter // 1, polynomial.power)
    if kind == "Cosine":
        return schedulers.CosineScheduler(initial, solver.cosine_scheduler_param.max_iter // 1)
    if kind == "Exponential":
        decay = solver.exponential_scheduler_param
        return schedulers.ExponentialScheduler(initial, decay.gamma, max(decay.iter_interval, 1))
    if kind == "Step":
        step = solver.step_scheduler_param
        return schedulers.StepScheduler(initial, step.gamma, list(step.iter_steps))
    raise UnsupportedError(
        f"{path}: the learning-rate scheduler {kind!r} is unknown; use Exponential, Step, Cosine,"
        " Polynomial or none"
    )
