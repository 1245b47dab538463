from __future__ import annotations

import configparser
import json
from types import SimpleNamespace

import nnabla as nn
import numpy as np
import pytest
from nnabla.config import nnabla_config
from nnabla.utils import callback as nnabla_callback

from nnabla_influence import nnabla_cli_callback
from nnabla_influence.errors import RunError
from nnabla_influence.runs.nnabla_cli_recorder import _SafeStepLog
from nnabla_influence.runs.run import read_run
from tests.training_data import (
    CALLBACK,
    CASES,
    check_by_hand,
    final_of,
    run_nnabla_cli,
    trained_cases,
    write_project,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trained_cases(tmp_path_factory.getbasetemp())


def same_parameters(one, other):
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", CASES)
def test_the_training_is_to_the_bit_that_without_the_callback(trained, name):
    case = trained[name]
    recorded = read_run(case.outdir / "run").parameters()
    assert same_parameters(recorded, final_of(case.outdir))
    assert same_parameters(recorded, final_of(case.plain))
    assert not (case.plain / "run").exists()


@pytest.mark.parametrize("name", CASES)
def test_rows_rates_and_decay_alone_lead_from_the_first_to_the_final_parameters(trained, name):
    case = trained[name]
    run = read_run(case.outdir / "run")
    check_by_hand(run, case.project.x, case.project.y, case.first, "affine/affine")


def test_the_settings_say_what_was_trained(trained):
    case = trained["falling rate"]
    settings = read_run(case.outdir / "run").settings
    assert (settings.solver, settings.network, settings.window) == ("Sgd", "Main", "all")
    assert settings.hyperparameters == {"lr": float(np.float32(0.1))}
    assert settings.weight_decay == float(np.float32(0.02))
    assert settings.definition == str(case.project.definition)
    assert settings.dataset == str(case.project.csv)
    assert settings.recorded_by == "nnabla_cli"


def two_optimizers(proto):
    proto.optimizer.add().CopyFrom(proto.optimizer[0])
    proto.optimizer[1].name = "Other"


def two_datasets(proto):
    proto.optimizer[0].dataset_name.append("Validation")


def part_of_the_iterations(proto):
    proto.optimizer[0].start_iter = 2


def implicit_cache(folder):
    def edit(proto):
        proto.dataset[0].cache_dir = str(folder / "cache")

    return edit


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Further trainings in one process, with the default window: project, output and log."""
    base = tmp_path_factory.mktemp("odd")
    options = {
        "from parameters": {},
        "two optimizers": {"edit": two_optimizers},
        "two datasets": {"edit": two_datasets},
        "part": {"edit": part_of_the_iterations},
        "no epoch": {"max_epoch": 0},
        "folder in use": {},
        "makes a cache": {"n": 23, "batch_size": 5, "edit": implicit_cache(base)},
        "finds the cache": {"n": 23, "batch_size": 5, "edit": implicit_cache(base)},
    }
    projects = {name: write_project(base / name, **more) for name, more in options.items()}
    jobs = {
        name: {"config": str(project.definition), "outdir": str(base / name / "out")}
        for name, project in projects.items()
    }
    start = {"affine/affine/W": np.ones((3, 1)), "affine/affine/b": np.zeros(1)}
    jobs["from parameters"]["param"] = write_h5(base / "start.h5", start)
    (base / "folder in use" / "out" / "run").mkdir(parents=True)
    (base / "folder in use" / "out" / "run" / "thesis.tex").touch()
    log = run_nnabla_cli(base, list(jobs.values()))
    return SimpleNamespace(base=base, projects=projects, start=start, log=log)


def write_h5(path, parameters):
    with nn.parameter_scope("", scope={}):
        for name, value in parameters.items():
            variable = nn.Variable.from_numpy_array(value.astype(np.float32), need_grad=True)
            nn.parameter.set_parameter(name, variable)
        nn.save_parameters(str(path))
    return str(path)


def test_a_training_from_given_parameters_and_the_default_window(odd):
    outdir = odd.base / "from parameters" / "out"
    run = read_run(outdir / "run")
    assert [step.epoch for step in run.steps] == [1] * 5 + [2] * 5
    assert run.settings.window == "last 2 epochs"
    assert same_parameters(run.parameters(), final_of(outdir))


@pytest.mark.parametrize("name", ["makes a cache", "finds the cache"])
def test_a_cache_folder(odd, name):
    outdir = odd.base / name / "out"
    run = read_run(outdir / "run")
    fed = json.loads((outdir / "fed.json").read_text())[4:]
    assert np.array_equal([step.rows for step in run.steps], fed)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("two optimizers", "2 optimizers"),
        ("two datasets", "2 datasets"),
        ("part", "some iterations"),
        ("no epoch", "no solver update"),
        ("folder in use", "run: holds thesis.tex"),
    ],
)
def test_what_is_not_recorded_is_trained_all_the_same(odd, name, reason):
    outdir = odd.base / name / "out"
    assert (outdir / "results.nnp").exists()
    assert not (outdir / "run" / "final.h5").exists()
    assert any(
        "This training is not recorded for nnabla-influence: " in line and reason in line
        for line in odd.log.splitlines()
    )


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_failure_ends_the_log_and_not_the_training(caplog):
    recording = _SafeStepLog(5, None)
    recording.batch(np.array([7]))
    recording.zeroed()
    recording.decayed(0.1)
    recording.updated(0.1)
    assert isinstance(recording.failure, RunError)
    (message,) = messages(caplog)
    assert "not recorded for nnabla-influence: row 7 " in message


def test_a_wrong_window_does_not_stop_the_training(caplog, monkeypatch):
    monkeypatch.setenv(nnabla_cli_callback.WINDOW_VARIABLE, "some")
    nnabla_cli_callback.update_status(SimpleNamespace(resume=False, outdir="out", config="net"))
    (message,) = messages(caplog)
    assert "not recorded for nnabla-influence: window: 'some'" in message


def test_other_callback_modules_are_called_on(monkeypatch):
    called = []
    other = SimpleNamespace(__name__="console", update_status=lambda *state: called.append(state))
    without = SimpleNamespace(__name__="images")
    monkeypatch.setattr(nnabla_callback, "callback_list", [nnabla_cli_callback, without, other])
    nnabla_callback.update_status(("epoch.current", 1))
    nnabla_callback.update_status("processing", True, 3.5)
    assert called == [(("epoch.current", 1), False, None), ("processing", True, 3.5)]


def test_the_configuration_takes_over_what_is_there(tmp_path, monkeypatch):
    (tmp_path / "own.conf").write_text("[LOG]\nlog_console_level = WARNING\n")
    monkeypatch.setenv("NNABLA_CONFIG_FILE_PATH", str(tmp_path / "own.conf"))
    monkeypatch.setattr(nnabla_config, "get", lambda section, key: "[console, images]")
    nnabla_cli_callback.write_configuration(tmp_path / "nnabla.conf")
    written = configparser.RawConfigParser()
    written.read(tmp_path / "nnabla.conf")
    assert written.get("LOG", "log_console_level") == "WARNING"
    assert written.get("CALLBACK", "util_callback_module") == f"[{CALLBACK},console,images]"
