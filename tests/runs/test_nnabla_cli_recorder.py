"""What nnabla_cli's trainings keep, against what nnabla itself saves of them on the way."""

from __future__ import annotations

from types import SimpleNamespace

import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.runs.run import read_run
from tests.exact_trainings import RECORDED, Watched, equal, watched_trainings
from tests.training_data import final_of, run_nnabla_cli, write_project

# 20 rows in batches of 4 are 5 mini-batches an epoch: 20 updates in 8 epochs of 2 summed each.
ADAM = {"batch_norm": True, "max_epoch": 8, "update_interval": 2, "weight_decay": 0.01}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return watched_trainings(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Further trainings in one process; some are noted after each iteration."""
    base = tmp_path_factory.mktemp("kept")
    adam = write_project(base / "adam", solver=S.Adam(0.05), **ADAM).definition
    momentum = {"solver": S.Momentum(0.05), "batch_norm": True}
    begun = write_project(base / "begun", max_epoch=5, **momentum).definition
    longer = write_project(base / "resumed", max_epoch=8, **momentum).definition
    diverging = write_project(base / "diverged", solver=S.Sgd(1e20)).definition
    jobs = {}

    def job(name, config, keep, window="all", noted=None, **more):
        variables = {"NNABLA_INFLUENCE_KEEP": keep, "NNABLA_INFLUENCE_WINDOW": window}
        outdir = base / more.pop("outdir", name)
        jobs[name] = {"config": str(config), "outdir": str(outdir), "variables": variables, **more}
        if noted is not None:
            (base / noted / "states").mkdir()
            jobs[name]["noted"] = str(base / noted / "states")

    job("plain", adam, "all", noted="adam", recorded=False)
    job("sqrt", adam, "sqrt")
    job("sqrt, last", adam, "sqrt", "last")
    job("all, 2", adam, "all", "2")
    job("begun", begun, "sqrt")
    job("resumed", longer, "sqrt", noted="resumed", resume=True, outdir="begun")
    job("wrong choice", adam, "some")
    job("diverged", diverging, "all")
    leftover = base / "sqrt" / ".run.nnabla_influence_aaaaaaaa.tmp"  # of a killed training
    leftover.mkdir(parents=True)
    log = run_nnabla_cli(base, list(jobs.values()))
    return SimpleNamespace(base=base, log=log)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["all", "sqrt", "final"])
@pytest.mark.parametrize("name", RECORDED)
def test_every_checkpoint_is_what_nnabla_saved_and_keeping_changes_nothing(watched, name, keep):
    training = watched[name]
    run = read_run(training.run(keep))
    assert run.settings.keep == keep
    assert [step.step for step in run.steps] == list(range(training.n_steps))
    spacing = {"all": 1, "sqrt": int(np.ceil(np.sqrt(training.n_steps)))}.get(keep, 10**9)
    kept = () if keep == "final" else range(0, training.n_steps, spacing)
    assert run.checkpoints == tuple(kept)
    for number in run.checkpoints:
        equal(run.checkpoint(number), training.seen_by_nnabla(number))
    equal(run.final_checkpoint(), training.seen_by_nnabla(training.n_steps))
    plain = final_of(training.plain)
    for found in (final_of(training.folder / keep), run.parameters()):
        assert set(found) == set(plain)
        assert all(np.array_equal(found[key], plain[key]) for key in plain)


@pytest.mark.parametrize(
    ("name", "first", "checkpoints"),
    [
        ("sqrt", 0, (0, 5, 10, 15)),
        # The last epoch's mini-batches, 35 to 39, end the updates 17, 18 and 19.
        ("sqrt, last", 17, (17, 19)),
        ("all, 2", 15, (15, 16, 17, 18, 19)),
    ],
)
def test_the_window_and_its_checkpoints(trained, name, first, checkpoints):
    run = read_run(trained.base / name / "run")
    assert run.checkpoints == checkpoints
    assert [step.step for step in run.steps] == list(range(first, 20))
    for number in run.checkpoints:
        seen = Watched(trained.base / "adam", 2, 8).seen_by_nnabla(number)
        equal(run.checkpoint(number), seen)


def test_a_resumed_training_keeps_from_where_it_was_resumed(trained):
    run = read_run(trained.base / "begun" / "run")
    # Fifteen steps, kept every fourth.
    assert run.checkpoints == (25, 29, 33, 37)
    for number in run.checkpoints:
        equal(
            run.checkpoint(number),
            Watched(trained.base / "resumed", 1, 8).seen_by_nnabla(number),
        )
    assert [(step.step, step.epoch) for step in run.steps] == [(i, i // 5) for i in range(25, 40)]
    assert (run.settings.window, run.settings.total_steps) == ("all, resumed at epoch 5", 40)
    assert "bn/bn/mean" in run.parameters()


def test_the_constructors_rate_and_decay_whatever_the_schedule_did(watched):
    run = read_run(watched["adamw"].run("all"))
    wanted = {"lr": 0.05, "beta1": 0.75, "beta2": 0.875, "eps": 1e-4, "wd": 0.01}
    assert run.settings.hyperparameters == pytest.approx(wanted)
    rates = [0.05 * 0.8 ** (i // 2) for i in range(12)]
    assert [step.learning_rate for step in run.steps] == pytest.approx(rates)
    assert run.settings.weight_decay == 0


def test_nothing_else_is_left_behind(trained):
    """Neither of these trainings nor of one that was killed before."""
    assert list(trained.base.glob("*/.*")) == []


def test_a_training_that_diverges_or_cannot_be_recorded(trained):
    assert "Cost is Nan" in trained.log
    assert not (trained.base / "diverged" / "run").exists()
    assert (trained.base / "wrong choice" / "results.nnp").exists()
    assert "not recorded for nnabla-influence: keep: 'some'" in trained.log
