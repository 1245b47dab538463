"""The learning rate that nnabla_cli uses at each iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nnabla.utils import learning_rate_scheduler as schedulers

from nnabla_influence.errors import UnsupportedError


def initial_learning_rate(solver: Any) -> float:
    """Return the learning rate of a proto ``Solver``: the field ``lr``, ``alpha`` or ``eta``."""
    chosen = solver.WhichOneof("parameter")
    if chosen is None:
        return 0.0
    parameter = getattr(solver, chosen)
    return next(
        float(getattr(parameter, name))
        for name in LEARNING_RATE_FIELDS
        if name in parameter.DESCRIPTOR.fields_by_name
    )


LEARNING_RATE_FIELDS = ("lr", "alpha", "eta")


def learning_rate_schedule(solver: Any, where: str) -> Callable[[int], float]:
    """Return the function from the iteration, from 0, to its learning rate.

    The choice of the schedule follows ``nnabla.utils.load``, whose ``nnabla_cli`` trains: a named
    scheduler, or the older ``lr_decay`` where none is named, and a linear warm-up over either. The
    solvers of nnabla hold the rate as a C++ float, so the function rounds to one.

    Args:
        solver: The ``solver`` of a proto ``Optimizer``.
        where: The file, for messages.

    Raises:
        UnsupportedError: The scheduler is none of nnabla's.
    """
    scheduler = _base_scheduler(solver, where)
    warmup = solver.linear_warmup_scheduler_param.warmup_iter
    if solver.lr_warmup_scheduler_type == "Linear" and warmup >= 1:
        scheduler = schedulers.LinearWarmupScheduler(scheduler, warmup)

    def learning_rate(iteration: int) -> float:
        try:
            return float(np.float32(scheduler.get_learning_rate(iteration)))
        except (TypeError, ZeroDivisionError) as error:
            raise UnsupportedError(
                f"{where}: the learning-rate schedule {solver.lr_scheduler_type!r} has no value at"
                f" iteration {iteration}; check its max_iter in the optimizer section"
            ) from error

    return learning_rate


def _base_scheduler(solver: Any, where: str) -> Any:
    rate = initial_learning_rate(solver)
    kind = solver.lr_scheduler_type
    if kind == "":
        decay = solver.lr_decay if solver.lr_decay > 0.0 else 1.0
        return schedulers.ExponentialScheduler(rate, decay, max(solver.lr_decay_interval, 1))
    if kind == "Polynomial":
        polynomial = solver.polynomial_scheduler_param
        if polynomial.power != 0.0:
            return schedulers.PolynomialScheduler(rate, polynomial.max_iter // 1, polynomial.power)
    elif kind == "Cosine":
        return schedulers.CosineScheduler(rate, solver.cosine_scheduler_param.max_iter // 1)
    elif kind == "Exponential":
        exponential = solver.exponential_scheduler_param
        return schedulers.ExponentialScheduler(
            rate, exponential.gamma, max(exponential.iter_interval, 1)
        )
    elif kind == "Step":
        step = solver.step_scheduler_param
        return schedulers.StepScheduler(rate, step.gamma, list(step.iter_steps))
    else:
        raise UnsupportedError(
            f"{where}: the learning-rate scheduler {kind!r} is unknown; use Exponential, Step,"
            " Cosine, Polynomial or none"
        )
    return schedulers.ExponentialScheduler(rate, 1.0)
