"""Learning rates, against closed forms and against nnabla_cli's own choice of the schedule."""

from __future__ import annotations

import math

import nnabla as nn
import numpy as np
import pytest
from google.protobuf import json_format
from nnabla.utils import nnabla_pb2
from nnabla.utils.load import _create_optimizer

from nnabla_influence.definition.solver_settings import learning_rate_schedule, solver_settings
from nnabla_influence.errors import UnsupportedError

from .definitions import CPU

RATE = 0.3
ITERATIONS = (0, 1, 4, 5, 9, 10, 17, 19)
SCHEDULES = {
    "none": ({}, lambda i: 1.0),
    "older decay": ({"lr_decay": 0.5, "lr_decay_interval": 5}, lambda i: 0.5 ** (i // 5)),
    "older decay without interval": ({"lr_decay": 0.5}, lambda i: 0.5**i),
    "older decay of 0": ({"lr_decay": 0, "lr_decay_interval": 5}, lambda i: 1.0),
    "exponential": (
        {
            "lr_scheduler_type": "Exponential",
            "exponential_scheduler_param": {"gamma": 0.8, "iter_interval": 4},
            "lr_decay": 0.5,  # ignored beside a named scheduler
            "lr_decay_interval": 1,
        },
        lambda i: np.float32(0.8) ** (i // 4),
    ),
    "step": (
        {
            "lr_scheduler_type": "Step",
            "step_scheduler_param": {"gamma": 0.1, "iter_steps": [5, 10]},
        },
        lambda i: np.float32(0.1) ** ((i >= 5) + (i >= 10)),
    ),
    "cosine": (
        {"lr_scheduler_type": "Cosine", "cosine_scheduler_param": {"max_iter": 20.5}},
        lambda i: (math.cos(math.pi * i / 20) + 1) / 2,
    ),
    "polynomial": (
        {
            "lr_scheduler_type": "Polynomial",
            "polynomial_scheduler_param": {"max_iter": 20, "power": 1.5},
        },
        lambda i: (1 - i / 20) ** 1.5,
    ),
    "polynomial of power 0": (
        {"lr_scheduler_type": "Polynomial", "polynomial_scheduler_param": {"max_iter": 20}},
        lambda i: 1.0,
    ),
    "warm-up over steps": (
        {
            "lr_scheduler_type": "Step",
            "step_scheduler_param": {"gamma": 0.1, "iter_steps": [5]},
            "lr_warmup_scheduler_type": "Linear",
            "linear_warmup_scheduler_param": {"warmup_iter": 10},
        },
        lambda i: np.float32(0.1) ** (i >= 5) * min((i + 1) / 10, 1),
    ),
    "warm-up of no iteration": (
        {"lr_warmup_scheduler_type": "Linear"},
        lambda i: 1.0,
    ),
}


def solver(**fields):
    settings = {"type": "Sgd", "sgd_param": {"lr": RATE}, **fields}
    return json_format.ParseDict(settings, nnabla_pb2.Solver())


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_is_bit_for_bit_what_nnabla_clis_solver_holds(tmp_path, name):
    fields, factor = SCHEDULES[name]
    optimizer = nnabla_pb2.Optimizer(solver=solver(**fields))
    proto = optimizer.solver
    rate = learning_rate_schedule(tmp_path / "net.nntxt", proto, proto.sgd_param.lr)
    trained = _create_optimizer(CPU, optimizer, None)
    for i in ITERATIONS:
        np.testing.assert_allclose(rate(i), np.float32(RATE) * float(factor(i)), rtol=2e-7)
        trained.solver.set_learning_rate(trained.scheduler.get_learning_rate(i))
        assert rate(i) == trained.solver.learning_rate()


@pytest.mark.parametrize(
    ("schedule", "max_iter"), [("Cosine", 0), ("Polynomial", 0), ("Polynomial", 2)]
)
def test_a_schedule_without_a_value_is_refused(tmp_path, schedule, max_iter):
    settings = {"power": 0.5, "max_iter": max_iter}
    proto = solver(lr_scheduler_type=schedule, polynomial_scheduler_param=settings)
    rate = learning_rate_schedule(tmp_path / "net.nntxt", proto, RATE)
    assert max_iter == 0 or rate(max_iter) == 0
    with pytest.raises(UnsupportedError, match=rf"net\.nntxt: .* {schedule} .* iteration 3"):
        rate(3)


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "Sgd", "sgd_param": {"lr": 0.3}},
        {"type": "Momentum", "momentum_param": {"lr": 0.3, "momentum": 0.9}},
        {"type": "Nesterov", "nesterov_param": {"lr": 0.3, "momentum": 0.9}},
        {"type": "SgdW", "sgdw_param": {"lr": 0.3, "momentum": 0.9, "wd": 0.1}},
        {"type": "Adam", "adam_param": {"alpha": 0.3, "beta1": 0.8, "beta2": 0.9, "eps": 0.1}},
        {
            "type": "AdamW",
            "adamw_param": {"alpha": 0.3, "beta1": 0.8, "beta2": 0.9, "eps": 0.1, "wd": 0.1},
        },
        {"type": "Adamax", "adamax_param": {"alpha": 0.3, "beta1": 0.8, "eps": 0.1}},
        {"type": "AdaBelief", "adabelief_param": {"alpha": 0.3, "rectify": True}},
        {"type": "AdaBound", "adabound_param": {"alpha": 0.3, "final_lr": 0.1}},
        {"type": "AMSGRAD", "amsgrad_param": {"alpha": 0.3, "beta1": 0.8}},
        {"type": "AMSGRAD", "amsgrad_param": {"alpha": 0.3, "bias_correction": True}},
        {"type": "AMSBound", "amsbound_param": {"alpha": 0.3, "gamma": 0.8}},
        {"type": "Adadelta", "adadelta_param": {"lr": 0.3, "decay": 0.9}},
        {"type": "Adagrad", "adagrad_param": {"lr": 0.3, "eps": 0.1}},
        {"type": "RMSprop", "rmsprop_param": {"lr": 0.3, "decay": 0.9, "eps": 0.1}},
        {"type": "RMSpropGraves", "rmsprop_graves_param": {"lr": 0.3, "momentum": 0.9}},
        {"type": "Lars", "lars_param": {"lr": 0.3, "coefficient": 0.9}},
    ],
    ids=lambda settings: settings["type"],
)
def test_hyperparameters_are_those_of_nnablas_solver(tmp_path, settings):
    optimizer = nnabla_pb2.Optimizer()
    json_format.ParseDict({"solver": settings}, optimizer)
    found = solver_settings(tmp_path / "net.nntxt", optimizer)
    assert found.name == settings["type"]
    assert found.update_interval == 1
    with nn.context_scope(CPU):
        info = _create_optimizer(CPU, optimizer, None).solver.info
    info["lr"] = info.pop("alpha", info.get("lr"))
    common = found.hyperparameters.keys() & info.keys()
    assert common >= {"lr"}
    assert {k: found.hyperparameters[k] for k in common} == {k: info[k] for k in common}
    given = dict(next(value for key, value in settings.items() if key != "type"))
    given.pop("bias_correction", None)  # which nnabla_cli ignores
    for key, value in given.items():
        name = "lr" if key == "alpha" else key
        assert found.hyperparameters[name] == np.float32(value)
