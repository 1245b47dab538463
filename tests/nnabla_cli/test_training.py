from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nnabla as nn
import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.errors import (
    DatasetError,
    DeviceError,
    ModelError,
    OutputError,
    RunError,
    UnsupportedError,
)
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.runs.run import describe_kept as kept
from tests.exact_trainings import Said
from tests.test_lifeline import wait_until
from tests.training_data import final_of, parameters_of, trained_cases, write_project

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NNABLA_INFLUENCE_CACHE", str(tmp_path_factory.getbasetemp() / "decoded"))


def nnabla_cli(arguments, cwd):
    """The unmodified nnabla_cli train, as a user calls it."""
    outdir = cwd / "unmodified"
    outdir.mkdir()
    subprocess.run(
        [sys.executable, "-m", "nnabla.utils.cli.cli", "train", *arguments, "-o", str(outdir)],
        cwd=cwd,
        check=True,
        capture_output=True,
    )
    (path,) = outdir.glob("results_current_*.nnp")
    return parameters_of(path)


def relative_uris(proto):
    for dataset in proto.dataset:
        dataset.uri = os.path.basename(dataset.uri)


def test_it_gives_what_the_unmodified_nnabla_cli_gives_to_the_bit(tmp_path, monkeypatch):
    folder = tmp_path / "学習 data"
    project = write_project(
        folder,
        n=23,
        batch_size=5,
        batch_norm=True,
        solver=S.Momentum(0.02),
        weight_decay=0.01,
        lr_decay=0.9,
        edit=relative_uris,
    )
    with nn.parameter_scope("", scope={}):
        start = nn.Variable.from_numpy_array(np.ones((3, 1), np.float32), need_grad=True)
        nn.parameter.set_parameter("affine/affine/W", start)
        nn.save_parameters(str(folder / "start.h5"))
    # nnabla_cli finds relative datasets from the current folder only, this from the file's as well.
    expected = nnabla_cli(["-c", "net.nntxt", "-p", "start.h5"], folder)
    monkeypatch.chdir(tmp_path)
    said = Said()
    before = list(nn.get_parameters(grad_only=False))
    run = train(
        "学習 data/net.nntxt",
        "my run",
        parameters="学習 data/start.h5",
        device="cpu",
        window="all",
        progress=said,
    )
    assert list(nn.get_parameters(grad_only=False)) == before
    found = run.parameters()
    assert set(found) == set(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert run.settings.definition == str(project.definition)
    assert run.settings.dataset == str(project.csv)
    assert run.settings.solver == "Momentum"
    assert [step.step for step in run.steps] == list(range(12))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my run", "学習 data"]
    assert sorted(path.name for path in (tmp_path / "my run").iterdir()) == [
        "checkpoints",
        "final.h5",
        "nnabla_cli",
        "run.json",
        "solver_states.h5",
        "steps.csv",
    ]
    own = tmp_path / "my run" / "nnabla_cli"
    assert {"log.txt", "monitoring_report.yml", "results.nnp"} <= {p.name for p in own.iterdir()}
    assert "Training" in said.stages
    said.lines.remove("Training 学習 data/net.nntxt on CPU (as asked for)")
    checkpoints, monitor = said.lines
    assert checkpoints.startswith(
        "Checkpoints: final 21 kB, sqrt 21 kB (3), all 23 kB (12); keeping sqrt; exact"
    )
    assert "'valid_error'" in monitor


def test_an_nnp_is_trained_and_a_run_replaced(tmp_path, tmp_path_factory):
    plain = trained_cases(tmp_path_factory.getbasetemp())["plain"]
    # As nnabla_cli, it begins anew: the parameters in the .nnp are those of the end.
    (model,) = plain.plain.glob("results_current_*.nnp")
    shutil.copytree(plain.outdir / "run", tmp_path / "run")
    run = train(model, tmp_path / "run", device="cpu", window=1)
    expected = final_of(plain.plain)
    assert all(np.array_equal(run.parameters()[name], expected[name]) for name in expected)
    assert run.settings.definition == str(model)
    assert [step.epoch for step in run.steps] == [3] * 5
    assert (tmp_path / "run" / "nnabla_cli" / model.name).exists()


def test_checkpoints_are_kept_and_their_cost_is_reported_before(tmp_path):
    definition = write_project(
        tmp_path / "project", solver=S.Adam(0.05), max_epoch=4, update_interval=2
    ).definition
    said = Said()
    run = train(
        definition, tmp_path / "run", device="cpu", window="last", keep="all", progress=said
    )
    # The last epoch's mini-batches, 15 to 19, end the updates 7, 8 and 9; a checkpoint is the four
    # parameters and Adam's two states of each.
    assert run.checkpoints == (7, 8, 9)
    assert run.settings.keep == "all"
    assert run.seconds_keeping > 0
    (first,) = (line for line in said.lines if line.startswith("Checkpoints: "))
    assert re.search(r"final 15 kB, sqrt 15 kB \(2\), all 15 kB \(3\); .*176 by", first)
    sizes = {path.stat().st_size for path in (run.folder / "checkpoints").glob("*.npy")}
    assert sizes == {176}
    # The reported size of the final state is right.
    written = [(run.folder / name).stat().st_size for name in ("final.h5", "solver_states.h5")]
    assert sum(written) == pytest.approx(14_672, rel=0.1)
    assert re.fullmatch(r"checkpoints: all \(3\), \d+ kB, written in \d.\d\d s", kept(run))
    assert [path.name for path in run.folder.glob(".*")] == []


def test_what_does_not_fit_the_disk_is_refused_before_the_training(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=15_100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    definition = write_project(
        tmp_path / "project", solver=S.Adam(0.05), max_epoch=4, update_interval=2
    ).definition
    message = r"out: --keep all needs 15 kB .*15 kB .*--keep sqrt"
    refused(tmp_path, OutputError, message, definition=definition, keep="all", window=1)


def refused(tmp_path, error, message, *, definition=None, **options):
    """Train and check that one line says why not, and that nothing is left."""
    if definition is None:
        definition = write_project(tmp_path / "project").definition
    (tmp_path / "out").mkdir(exist_ok=True)
    with pytest.raises(error, match=message) as caught:
        train(definition, tmp_path / "out" / "run", **{"device": "cpu", **options})
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_nnabla_cli_fails_at_is_said_in_its_words(tmp_path):
    """A column of text that the network does not read: nnabla_cli takes its cells for files."""
    project = write_project(tmp_path / "project")
    header, *rows = project.csv.read_text(encoding="utf-8").splitlines()
    lines = [f"{header},note", *(f"{row},hello" for row in rows)]
    project.csv.write_text("\n".join(lines) + "\n", encoding="utf-8")
    message = r"net.nntxt: nnabla_cli did not finish .*hello"
    refused(tmp_path, RunError, message, definition=project.definition)


def without_initialiser(proto):
    """As `nnabla.utils.save` writes it; the bias keeps its own."""
    for variable in proto.network[0].variable:
        if variable.name == "affine/affine/W":
            variable.ClearField("initializer")


def test_weights_that_would_start_at_0_are_refused(tmp_path):
    project = write_project(tmp_path, edit=without_initialiser)
    with pytest.raises(ModelError, match=r"net\.nntxt: the parameter 'affine/affine/W' .* -p"):
        train(project.definition, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    with nn.parameter_scope("", scope={}):
        for name in ("W", "b"):  # the bias alone does not do
            value = np.ones((3, 1) if name == "W" else (1,), np.float32)
            start = nn.Variable.from_numpy_array(value, need_grad=True)
            nn.parameter.set_parameter(f"affine/affine/{name}", start)
        nn.save_parameters(str(tmp_path / "start.h5"))
        nn.parameter.pop_parameter("affine/affine/W")
        nn.save_parameters(str(tmp_path / "bias.h5"))
    with pytest.raises(ModelError, match=r"net\.nntxt: the parameter 'affine/affine/W'"):
        train(project.definition, tmp_path / "run", parameters=tmp_path / "bias.h5", device="cpu")
    train(project.definition, tmp_path / "run", parameters=tmp_path / "start.h5", device="cpu")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("affine/affine/W", (4, 1), r"'affine/affine/W' .*\(4, 1\).*\(3, 1\)"),
        ("other/W", (3, 1), "affine/affine/W"),
    ],
)
def test_start_parameters_of_another_network_are_refused(tmp_path, name, shape, message):
    """nnabla_cli ignores them without a word."""
    with nn.parameter_scope("", scope={}):
        wrong = nn.Variable.from_numpy_array(np.ones(shape, np.float32), need_grad=True)
        nn.parameter.set_parameter(name, wrong)
        nn.save_parameters(str(tmp_path / "wrong.h5"))
    message = rf"wrong.h5: .*{message}"
    refused(tmp_path, ModelError, message, parameters=tmp_path / "wrong.h5")


def no_uri(proto):
    proto.dataset[1].uri = " "


def elsewhere(proto):
    proto.dataset[1].uri = r"C:\data\valid.csv"


def two_datasets(proto):
    proto.optimizer[0].dataset_name.append("Validation")


def no_dataset(proto):
    del proto.optimizer[0].dataset_name[:]


def one_batch(proto):
    proto.training_config.iter_per_epoch = 1


@pytest.mark.parametrize(
    ("project", "error", "message"),
    [
        ({"edit": no_uri}, ModelError, r"net.nntxt: .*'Validation'"),
        ({"edit": elsewhere}, DatasetError, r"^C:\\data\\valid\.csv: .* another machine"),
        ({"edit": no_dataset}, ModelError, r"net.nntxt: .*training dataset"),
        ({"edit": two_datasets}, UnsupportedError, r"2 datasets"),
        ({"max_epoch": 0}, ModelError, r"max_epoch 0"),
        ({"update_interval": 16}, ModelError, r"max_epoch 3"),
        ({"n": 7, "batch_size": 8, "edit": one_batch}, DatasetError, r"train\.csv: .*7.* 8 "),
    ],
)
def test_definitions_that_are_refused_before_the_training(tmp_path, project, error, message):
    definition = write_project(tmp_path / "project", **project).definition
    refused(tmp_path, error, message, definition=definition)


@pytest.mark.parametrize("name", ["train.csv", "valid.csv"])
def test_a_missing_or_faulty_csv_is_reported_before_the_training(tmp_path, name):
    definition = write_project(tmp_path / "project").definition
    path = tmp_path / "project" / name
    lines = path.read_text().splitlines()
    lines[2] = lines[2].rsplit(",", 1)[0] + ",many"
    path.write_text("\n".join(lines))
    refused(tmp_path, DatasetError, rf"{name}, line 3.*y.*many", definition=definition)
    path.unlink()
    refused(tmp_path, DatasetError, rf"{name}: ", definition=definition)


def test_one_batch_of_all_rows_is_trained_and_equal_validation_is_reported(tmp_path):
    def equal(proto):
        proto.dataset[1].uri = proto.dataset[0].uri

    definition = write_project(tmp_path / "project", n=8, batch_size=8, edit=equal).definition
    said = Said()
    run = train(definition, tmp_path / "run", device="cpu", window="all", progress=said)
    assert sorted(run.steps[0].rows) == list(range(8))
    assert any("are the training rows" in line for line in said.lines)


def test_wrong_arguments(tmp_path):
    refused(tmp_path, ModelError, r"nowhere.nntxt: ", definition="nowhere.nntxt")
    refused(tmp_path, ModelError, r"nowhere.h5: ", parameters="nowhere.h5")
    refused(tmp_path, DeviceError, r"'gpu'", device="gpu")
    refused(tmp_path, RunError, r"window: 0", window=0)
    refused(tmp_path, RunError, r"keep: 'some'", keep="some")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("Training Completed.", "not recorded: .*callback module"),
        (
            "[Level 99]: This training is not recorded for nnabla-influence: disk full\n"
            "Training Completed.",
            "not recorded: disk full",
        ),
        (
            "[Level 99]: epoch 6 of 9 cost=1e9\n[Level 99]: Cost is Nan\nTraining Incompleted.",
            "net.nntxt: .*epoch 7 .*learning rate",
        ),
        ("", "no output"),
        ("Segmentation fault", "Segmentation fault"),
        (
            "[nnabla][CRITICAL]: Shape does not match between data x and variable y.\n"
            "Traceback (most recent call last):\n  File x\nValueError: could not broadcast\n\nbye",
            ": Shape does not match .* variable y.; ValueError: could not broadcast$",
        ),
    ],
)
def test_every_end_of_nnabla_cli_is_one_line(tmp_path, monkeypatch, output, message):
    # A program that says this in the place of nnabla_cli, which cannot be made to.
    stand_in = tmp_path / "python"
    (tmp_path / "output").write_text(output)
    stand_in.write_text(f"#!/bin/sh\ncat '{tmp_path / 'output'}'\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    refused(tmp_path, RunError, message)


def children(pid):
    """The processes that a process started (Linux)."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_training_that_is_stopped_leaves_nothing_and_no_process(tmp_path):
    (tmp_path / "tmp").mkdir()
    definition = write_project(tmp_path / "project", max_epoch=10_000_000).definition
    script = """if True:
        import sys
        from nnabla_influence.nnabla_cli.training import train
        train(*sys.argv[1:], window="all", keep="sqrt")
    """
    parents = {}
    beside = tmp_path / "stopped"  # the folders' names up to the colon: not theirs to remove
    beside.mkdir()
    for stop in (signal.SIGKILL, signal.SIGINT):
        (tmp_path / f"stopped:{stop.name}").mkdir()
        parents[stop] = subprocess.Popen(
            [
                sys.executable,
                "-c",
                script,
                str(definition),
                str(tmp_path / f"stopped:{stop.name}" / "run"),
            ],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "TMPDIR": str(tmp_path / "tmp"),
            },
            stderr=subprocess.DEVNULL,
        )
    try:
        for stop, parent in parents.items():
            folder = tmp_path / f"stopped:{stop.name}"
            wait_until(
                lambda folder=folder: list(folder.glob(".run*/nnabla_cli/monitoring_report.yml")),
                60,
            )
            assert list(folder.glob(".run*/.recorded.*.tmp/0.npy"))
            (child,) = children(parent.pid)
            parent.send_signal(stop)
            assert parent.wait(20) != 0
            wait_until(lambda child=child: not is_alive(child), 60)
            wait_until(lambda folder=folder: not list(folder.iterdir()), 60)
    finally:
        for parent in parents.values():
            parent.kill()  # for a test that failed
    wait_until(lambda: not list((tmp_path / "tmp").iterdir()), 60)
    assert beside.is_dir()
