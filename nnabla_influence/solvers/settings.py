"""The hyper-parameters of the solvers that can be traced, as nnabla's C++ holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from nnabla_influence.definition.solver_settings import SolverSettings
from nnabla_influence.errors import UnsupportedError

_ADAM = ("lr", "beta1", "beta2", "eps")

HYPERPARAMETERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Sgd": ("lr",),
        "SgdW": ("lr", "momentum", "wd"),
        "Momentum": ("lr", "momentum"),
        "Nesterov": ("lr", "momentum"),
        "Adam": _ADAM,
        "AdamW": (*_ADAM, "wd"),
        "AMSGRAD": (*_ADAM, "bias_correction"),
        "Adamax": _ADAM,
        "RMSprop": ("lr", "decay", "eps"),
        "Adagrad": ("lr", "eps"),
        "Adadelta": ("lr", "decay", "eps"),
    }
)
"""The constructor's arguments, by solver; the learning rate is ``lr``."""

FUSED_DECAY = frozenset({"SgdW", "AdamW"})
"""The solvers that decay the parameters themselves, not through the gradient."""


def hyperparameter(solver: SolverSettings, name: str) -> float:
    """Return a hyper-parameter, rounded to the C++ float that nnabla computes with.

    Raises:
        UnsupportedError: It is missing, or not finite.
    """
    if name not in solver.hyperparameters:
        raise UnsupportedError(
            f"the solver {solver.name} has no value for its hyper-parameter {name!r}; add it to"
            " the hyperparameters of the run's run.json, or give the model file that was trained"
        )
    value = float(np.float32(solver.hyperparameters[name]))
    if not math.isfinite(value):
        raise UnsupportedError(
            f"the solver {solver.name} has the hyper-parameter {name!r} {value}, which is not a"
            " finite number; correct the model file or the run's run.json"
        )
    return value


def gradient_decay(solver: SolverSettings) -> float:
    r"""Return r, of which :math:`r \theta` is added to the gradient.

    Raises:
        UnsupportedError: The weight decay is not a number from 0.
    """
    return 0.0 if solver.name in FUSED_DECAY else _weight_decay(solver)


def fused_decay(solver: SolverSettings) -> float:
    r"""Return :math:`\kappa` at learning rate 1: the part of theta that an update subtracts.

    It is 0 except for the solvers of `FUSED_DECAY`, for which it is the decay over the
    constructor's learning rate :math:`\eta_0`. The training's own weight decay replaces the
    constructor's where it is above 0.

    Raises:
        UnsupportedError: The weight decay is not a number from 0, or :math:`\eta_0` is 0.
    """
    if solver.name not in FUSED_DECAY:
        return 0.0
    initial = hyperparameter(solver, "lr")
    if initial == 0:
        raise UnsupportedError(
            f"the solver {solver.name} divides by its initial learning rate, which is 0; set"
            " its hyper-parameters in the model file (nnabla 1.39 saves none of AdamW's and SgdW's)"
        )
    return (_weight_decay(solver) or hyperparameter(solver, "wd")) / initial


def _weight_decay(solver: SolverSettings) -> float:
    decay = float(np.float32(solver.weight_decay))
    if not math.isfinite(decay) or decay < 0:
        raise UnsupportedError(
            f"weight decay {solver.weight_decay} is not a number from 0; correct the model file"
            " or the run's run.json"
        )
    return decay
