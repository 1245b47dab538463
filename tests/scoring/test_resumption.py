"""A trace that was killed resumes to the same bytes; one of other settings does not."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence import Options
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence import trace_file
from nnabla_influence.influence.trace_file import fingerprint
from nnabla_influence.runs.steps import Step
from tests.exact_trainings import Said, Watched
from tests.runs.changing import with_new_checksums
from tests.scores import score
from tests.small_projects import REPOSITORY, environment

HIDDEN = ".influence.csv.trace.npz"
EXACT = Options(method="exact", window="all")


def content(path: Path) -> bytes:
    score_file = path.read_bytes()
    path.unlink()
    return score_file


def undisturbed(training: Watched, folder: Path, keep: str, options: Options, **more) -> bytes:
    output = folder / "influence.csv"
    more = {"run": training.run(keep), **more}
    score(training.definition, output=output, options=options, **more)
    assert [entry.name for entry in folder.iterdir()] == ["influence.csv"]
    return content(output)


# --------------------------------------------------------------------- killed

KILLED = """
import json, os, signal, sys
from nnabla_influence.influence import trace_file
from nnabla_influence.commands.main import main

trace_file.SAVE_SECONDS = 0.0
steps, during, arguments = json.loads(sys.argv[1])
save = trace_file.TraceFile.save

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def save_or_die(file, trace, vectors):
    if trace.n_steps == steps:
        if not during:
            kill()
        trace_file.np.savez = lambda file, **_: (file.write(b"PK half"), file.flush(), kill())
    save(file, trace, vectors)

trace_file.TraceFile.save = save_or_die
main(arguments)
"""


def killed(steps: int, during: bool, *arguments: object) -> None:
    """Run a command that SIGKILL ends after so many steps, maybe while it saves where it is."""
    words = json.dumps([steps, during, list(map(str, arguments))])
    finished = subprocess.run(
        [sys.executable, "-c", KILLED, words],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        timeout=60,
    )
    assert finished.returncode == -signal.SIGKILL, finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "keep", "method", "steps", "during"),
    [
        ("batchnorm", "sqrt", "exact", 7, False),
        ("adam", "all", "exact", 3, True),
        ("momentum", "final", "final", 11, False),
    ],
)
def test_killed_and_started_again_it_gives_the_same_bytes(
    trainings, tmp_path, name: str, keep: str, method: str, steps: int, during: bool
):
    training, output = trainings[name], tmp_path / "influence.csv"
    wanted = undisturbed(training, tmp_path, keep, dataclasses.replace(EXACT, method=method))
    killed(
        *(steps, during, "score", "-m", training.definition, "--run", training.run(keep)),
        *("-o", output, "--method", method, "--window", "all", "--device", "cpu"),
    )
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == [HIDDEN, f"{HIDDEN}.half"] if during else [HIDDEN]
    said = Said()
    options = dataclasses.replace(EXACT, method=method)
    arguments = {"run": training.run(keep), "options": options, "progress": said}
    score(training.definition, output=output, **arguments)
    assert f"Resumed after {steps - 1} steps from {HIDDEN}" in said.lines
    assert said.n_traced == training.n_steps - (steps - 1)
    assert content(output) == wanted
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------- interrupted, in this process


def interrupt(
    monkeypatch, training: Watched, output: Path, at: int, error=RuntimeError, **arguments
) -> Said:
    """Let a scoring fail after ``at`` steps, as if it was killed, and leave where it stood."""
    said = Said(at, error)
    with monkeypatch.context() as patched:
        patched.setattr(trace_file, "SAVE_SECONDS", 0.0)
        with pytest.raises(error):
            score(training.definition, output=output, progress=said, **arguments)
    assert not output.exists()
    return said


@pytest.mark.parametrize("keep", ["all", "sqrt"])
@pytest.mark.parametrize("at", [1, 4, 5, 12])
def test_every_step_can_be_resumed_from(trainings, tmp_path, monkeypatch, at: int, keep: str):
    training = trainings["momentum"]
    arguments = {"run": training.run(keep), "options": EXACT}
    wanted = undisturbed(training, tmp_path, keep, EXACT)
    output = tmp_path / "influence.csv"
    interrupt(monkeypatch, training, output, at, **arguments)
    said = Said()
    score(training.definition, output=output, progress=said, **arguments)
    assert said.n_traced == 12 - at
    assert content(output) == wanted
    assert list(tmp_path.iterdir()) == []


def change_validation(folder: Path, training: Watched) -> dict:
    lines = (training.folder / "valid.csv").read_text().splitlines()
    lines[3] = lines[3].replace("-", "")
    (folder / "valid.csv").write_text("\n".join(lines) + "\n")
    assert (folder / "valid.csv").read_bytes() != (training.folder / "valid.csv").read_bytes()
    return {"validation": folder / "valid.csv"}


def change_parameters(folder: Path, training: Watched) -> dict:
    shutil.copytree(training.run("all"), folder / "run")
    import h5py

    with h5py.File(folder / "run" / "final.h5", "r+") as file:
        file["out/affine/b"][...] += 1e-5
    with_new_checksums(folder / "run")
    return {"run": folder / "run"}


def other_options(**changes):
    return lambda folder, training: {"options": dataclasses.replace(EXACT, **changes)}


@pytest.mark.parametrize(
    "change",
    [
        other_options(window=2),
        other_options(method="final"),
        other_options(validation_rows=[0, 3]),
        other_options(chunk_size=3),
        change_validation,
        change_parameters,
        lambda folder, training: {"run": training.run("sqrt")},
    ],
    ids=["window", "method", "rows", "chunk", "validation", "parameters", "run"],
)
def test_a_trace_of_other_settings_is_not_resumed(trainings, tmp_path, monkeypatch, change):
    training = trainings["sgd"]
    (tmp_path / "inputs").mkdir()
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "influence.csv"
    arguments = {
        "run": training.run("all"),
        "options": EXACT,
        **change(tmp_path / "inputs", training),
    }
    wanted = score(training.definition, output=output, **arguments).scores.influence
    output.unlink()
    interrupt(monkeypatch, training, output, 3, run=training.run("all"), options=EXACT)
    assert (tmp_path / "out" / HIDDEN).exists()
    said = Said()
    got = score(training.definition, output=output, progress=said, **arguments)
    assert not any("Resumed" in line for line in said.lines)
    np.testing.assert_array_equal(got.scores.influence, wanted)
    assert [entry.name for entry in output.parent.iterdir()] == ["influence.csv"]


def test_a_trace_of_another_csv_is_not_resumed(trainings, tmp_path, monkeypatch):
    """Where no run.json has the CSV's hash."""
    training, output = trainings["sgd"], tmp_path / "influence.csv"
    run = tmp_path / "run"
    run.mkdir()
    for name in ("final.h5", "steps.csv"):
        shutil.copy(training.run("final") / name, run)
    options = dataclasses.replace(EXACT, method="final")
    interrupt(monkeypatch, training, output, 3, run=run, options=options)
    lines = training.training.read_text().splitlines()
    lines[1] = lines[1].replace("0.000", "0.900")
    (tmp_path / "other.csv").write_text("\n".join(lines) + "\n")
    said = Said()
    arguments = {"run": run, "train": tmp_path / "other.csv", "options": options}
    got = score(training.definition, output=output, progress=said, **arguments)
    assert said.n_traced == 12
    wanted = score(training.definition, **arguments)
    np.testing.assert_array_equal(got.scores.influence, wanted.scores.influence)


def test_a_failure_that_would_come_again_leaves_nothing(trainings, tmp_path, monkeypatch):
    training = trainings["sgd"]
    arguments = {"run": training.run("all"), "options": EXACT}
    interrupt(monkeypatch, training, tmp_path / "a.csv", 5, ScoreError, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_be_saved_the_trace_goes_on(trainings, tmp_path, monkeypatch):
    """A ranking may have a name so long that nothing longer can be written beside it."""
    training, output = trainings["sgd"], tmp_path / ("順" * 80 + ".csv")
    monkeypatch.setattr(trace_file, "SAVE_SECONDS", 0.0)
    said = Said()
    arguments = {"run": training.run("all"), "options": EXACT, "progress": said}
    score(training.definition, output=output, **arguments)
    assert list(tmp_path.iterdir()) == [output]
    (line,) = [line for line in said.lines if "cannot be" in line]
    assert "File name too long" in line


# --------------------------------------------------------------------- fingerprints

ROWS = np.arange(5000)
BASE = ("text", 0.1, {"a": np.ones(3, np.float32)}, [Step(0, 0, 0.1, (ROWS,))])


@pytest.mark.parametrize(
    "other",
    [
        ("texT", *BASE[1:]),
        ("text", np.nextafter(0.1, 1), *BASE[2:]),
        (*BASE[:2], {"b": np.ones(3, np.float32)}, BASE[3]),
        (*BASE[:2], {"a": np.array([1, 1, 1.0000001], np.float32)}, BASE[3]),
        (*BASE[:2], {"a": np.ones((3, 1), np.float32)}, BASE[3]),
        (*BASE[:3], [Step(1, 0, 0.1, (ROWS,))]),
        (*BASE[:3], [Step(0, 0, 0.2, (ROWS,))]),
        (*BASE[:3], [Step(0, 0, 0.1, (np.roll(ROWS, 1),))]),
        (*BASE[:3], [Step(0, 0, 0.1, (ROWS[:2500], ROWS[2500:]))]),
        (*BASE[:3], [Step(0, 0, 0.1, (np.where(ROWS == 2500, 0, ROWS),))]),
        (*BASE, None),
    ],
)
def test_a_fingerprint_differs_with_every_part(other):
    assert fingerprint(*BASE) == fingerprint(*BASE)
    assert fingerprint(*other) != fingerprint(*BASE)
