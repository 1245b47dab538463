"""Hyper-parameters to try each solver with."""

from __future__ import annotations

from nnabla_influence.definition import SolverSettings
from nnabla_influence.device import cpu_device

CONTEXT = cpu_device("tests").context
LR = 0.05
_ADAM = {"lr": LR, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6}
HYPER = {
    "Sgd": {"lr": LR},
    "SgdW": {"lr": LR, "momentum": 0.8, "wd": 0.02},
    "Momentum": {"lr": LR, "momentum": 0.8},
    "Nesterov": {"lr": LR, "momentum": 0.8},
    "Adam": _ADAM,
    "AdamW": {**_ADAM, "wd": 0.02},
    "AMSGRAD": {**_ADAM, "bias_correction": 0.0},
    "AMSGRAD corrected": {**_ADAM, "bias_correction": 1.0},
    "Adamax": _ADAM,
    "RMSprop": {"lr": LR, "decay": 0.9, "eps": 1e-6},
    "Adagrad": {"lr": LR, "eps": 1e-6},
    "Adadelta": {"lr": 1.0, "decay": 0.9, "eps": 1e-4},
}
CASES = [(case, decay) for case in HYPER for decay in (0.0, 0.03)]


def settings(case: str, decay: float = 0.0, **hyper: float) -> SolverSettings:
    return SolverSettings(case.split()[0], {**HYPER[case], **hyper}, decay, 1)
