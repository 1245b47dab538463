"""What nnabla_cli's trainings keep, against what nnabla itself saves of them on the way."""

from __future__ import annotations

from types import SimpleNamespace

import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.runs.run import read_run
from tests.training_data import arrays_of, final_of, run_nnabla_cli, write_project

# 20 rows in batches of 4 are 5 mini-batches an epoch: 20 updates in 8 epochs of 2 summed each.
ADAM = {"batch_norm": True, "max_epoch": 8, "update_interval": 2, "weight_decay": 0.01}


def keep(choice, window="all"):
    return {"NNABLA_INFLUENCE_KEEP": choice, "NNABLA_INFLUENCE_WINDOW": window}


def adamw(proto):
    # nnabla.utils.save writes none of these.
    parameter = proto.optimizer[0].solver.adamw_param
    parameter.alpha, parameter.beta1, parameter.beta2 = 0.5, 0.75, 0.875
    parameter.eps, parameter.wd = 0.125, 0.25
    proto.optimizer[0].solver.lr_scheduler_type = "Exponential"
    proto.optimizer[0].solver.exponential_scheduler_param.gamma = 0.5
    proto.optimizer[0].solver.exponential_scheduler_param.iter_interval = 1


ADAMW = {"max_epoch": 1, "edit": adamw}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trainings in one process; each also without the callback, and noted after each iteration."""
    base = tmp_path_factory.mktemp("kept")
    adam = write_project(base / "adam", solver=S.Adam(0.05), **ADAM).definition
    sgd = write_project(base / "sgd", solver=S.Sgd(0.05), max_epoch=2).definition
    momentum = {"solver": S.Momentum(0.05), "batch_norm": True}
    begun = write_project(base / "begun", max_epoch=5, **momentum).definition
    longer = write_project(base / "longer", max_epoch=8, **momentum).definition
    jobs = {
        "adam": {"config": adam, "recorded": False, "noted": "states of adam"},
        "all": {"config": adam, "variables": keep("all")},
        "sqrt": {"config": adam, "variables": keep("sqrt")},
        "sqrt, last": {"config": adam, "variables": keep("sqrt", "last")},
        "all, 2": {"config": adam, "variables": keep("all", "2")},
        "final": {"config": adam, "variables": keep("final")},
        "sgd": {"config": sgd, "recorded": False, "noted": "states of sgd"},
        "sgd, all": {"config": sgd, "variables": keep("all")},
        "begun": {"config": begun},
        "resumed": {
            "config": longer,
            "outdir": "begun",
            "resume": True,
            "variables": keep("sqrt"),
            "noted": "states of resumed",
        },
        "adamw": {"config": write_project(base / "w", solver=S.AdamW(), **ADAMW).definition},
        "wrong choice": {"config": sgd, "variables": keep("some")},
        "diverged": {
            "config": write_project(base / "diverged", solver=S.Sgd(1e20)).definition,
            "variables": keep("all"),
        },
    }
    for name, job in jobs.items():
        job["config"] = str(job["config"])
        job["outdir"] = str(base / job.get("outdir", name))
        if "noted" in job:
            (base / job["noted"]).mkdir()
            job["noted"] = str(base / job["noted"])
    leftover = base / "all" / ".run.nnabla_influence_aaaaaaaa.tmp"  # of a killed training
    leftover.mkdir(parents=True)
    log = run_nnabla_cli(base, list(jobs.values()))
    return SimpleNamespace(base=base, log=log)


def check_checkpoints(trained, name, states, interval):
    """Compare each checkpoint, to the bit, with what nnabla saved of the unrecorded training."""
    run = read_run(trained.base / name / "run")
    assert run.checkpoints
    for number in run.checkpoints:
        check_checkpoint(run.checkpoint(number), trained.base / states, number * interval)
    return run


def check_checkpoint(checkpoint, states, iteration):
    wanted = arrays_of(states / f"{iteration}.h5")
    assert set(checkpoint.parameters) == set(wanted)
    for parameter, value in wanted.items():
        assert np.array_equal(checkpoint.parameters[parameter], value)
    saved = arrays_of(states / f"{iteration}.states.h5")
    assert {checkpoint.solver.t} == {int(v) for key, v in saved.items() if key.endswith("/t")}
    found = {
        f"{parameter}/{kind}": value
        for kind, values in checkpoint.solver.values.items()
        for parameter, value in values.items()
    }
    assert set(found) == {key for key in saved if not key.endswith("/t")}
    for key, value in found.items():
        assert np.array_equal(value, saved[key])


@pytest.mark.slow
def test_every_checkpoint_of_adam_with_batch_normalization_and_summed_gradients(trained):
    run = check_checkpoints(trained, "all", "states of adam", interval=2)
    assert run.checkpoints == tuple(range(20)) == tuple(step.step for step in run.steps)
    assert run.settings.keep == "all"
    # The running statistics move, and are among what was compared.
    first, last = run.checkpoint(0).parameters, run.checkpoint(19).parameters
    assert not np.array_equal(first["bn/bn/var"], last["bn/bn/var"])
    check_checkpoint(run.final_checkpoint(), trained.base / "states of adam", 40)


def test_checkpoints_of_a_solver_without_a_state(trained):
    run = check_checkpoints(trained, "sgd, all", "states of sgd", interval=1)
    assert [run.checkpoint(number).solver.t for number in run.checkpoints] == list(range(10))


@pytest.mark.parametrize(
    ("name", "first", "checkpoints"),
    [
        ("sqrt", 0, (0, 5, 10, 15)),
        # The last epoch's mini-batches, 35 to 39, end the updates 17, 18 and 19.
        ("sqrt, last", 17, (17, 19)),
        ("all, 2", 15, (15, 16, 17, 18, 19)),
        ("final", 0, ()),
    ],
)
def test_the_window_and_its_checkpoints(trained, name, first, checkpoints):
    run = read_run(trained.base / name / "run")
    assert run.checkpoints == checkpoints
    assert [step.step for step in run.steps] == list(range(first, 20))
    if checkpoints:
        check_checkpoints(trained, name, "states of adam", interval=2)


@pytest.mark.parametrize("name", ["all", "sqrt", "sqrt, last", "all, 2", "final"])
def test_keeping_changes_nothing(trained, name):
    plain = final_of(trained.base / "adam")
    recorded = read_run(trained.base / name / "run").parameters()
    for found in (final_of(trained.base / name), recorded):
        assert set(found) == set(plain)
        assert all(np.array_equal(found[key], plain[key]) for key in plain)


def test_a_resumed_training_keeps_from_where_it_was_resumed(trained):
    run = check_checkpoints(trained, "begun", "states of resumed", interval=1)
    # Fifteen steps, kept every fourth.
    assert run.checkpoints == (25, 29, 33, 37)
    assert [(step.step, step.epoch) for step in run.steps] == [(i, i // 5) for i in range(25, 40)]
    assert run.checkpoint(25).solver.t == 25
    assert (run.settings.window, run.settings.total_steps) == ("all, resumed at epoch 5", 40)
    assert "bn/bn/mean" in run.parameters()


def test_the_constructors_rate_and_decay_whatever_the_schedule_did(trained):
    run = read_run(trained.base / "adamw" / "run")
    wanted = {"lr": 0.5, "beta1": 0.75, "beta2": 0.875, "eps": 0.125, "wd": 0.25}
    assert run.settings.hyperparameters == wanted
    assert [step.learning_rate for step in run.steps] == [0.5, 0.25, 0.125, 0.0625, 0.03125]
    assert run.settings.weight_decay == 0


def test_nothing_else_is_left_behind(trained):
    """Neither of these trainings nor of one that was killed before."""
    assert list(trained.base.glob("*/.*")) == []


def test_a_training_that_diverges_leaves_no_checkpoints(trained):
    assert "Cost is Nan" in trained.log
    assert not (trained.base / "diverged" / "run").exists()


def test_a_wrong_choice_does_not_stop_the_training(trained):
    assert (trained.base / "wrong choice" / "results.nnp").exists()
    assert "not recorded for nnabla-influence: keep: 'some'" in trained.log
