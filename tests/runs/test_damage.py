"""A run folder that was damaged: the file is named, or nothing that is read has changed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from nnabla_influence.errors import RunError
from nnabla_influence.runs.checkpoint import Checkpoint, write_checkpoints
from nnabla_influence.runs.run import Run, RunSettings, Step, read_run, write_run
from nnabla_influence.solvers import SolverState
from tests.runs.changing import as_of_version_0_1_0, flipped

PARAMETERS = {"affine/W": np.arange(6, dtype=np.float32).reshape(2, 3)}
STATE = SolverState(3, {"m": {"affine/W": np.full((2, 3), 0.5, np.float32)}})
FILES = (
    *("final.h5", "solver_states.h5", "steps.csv"),
    *("checkpoints/layout.json", "checkpoints/0.npy", "checkpoints/2.npy"),
)


@pytest.fixture
def folder(tmp_path):
    def checkpoints(at):
        at.mkdir()
        write_checkpoints(at, [Checkpoint(step, PARAMETERS, STATE) for step in (0, 2)])

    write_run(
        tmp_path / "run",
        parameters=PARAMETERS,
        steps=[Step(i, 0, 0.1, ([i, i + 1],)) for i in range(3)],
        settings=RunSettings(n_rows=5),
        solver_state=STATE,
        checkpoints=checkpoints,
    )
    return tmp_path / "run"


def everything(folder) -> list:
    """All that is read of a run, to be compared."""
    run: Run = read_run(folder)
    checkpoints = [run.checkpoint(step) for step in run.checkpoints]
    read = [run.parameters()["affine/W"].tolist(), run.solver_state()]
    read += [(s.step, s.epoch, s.learning_rate, s.rows.tolist()) for s in run.steps]
    read += [(m.step, m.parameters["affine/W"].tolist(), m.solver) for m in checkpoints]
    return [_plain(item) for item in read]


def _plain(item):
    if isinstance(item, SolverState):
        return item.t, {k: v["affine/W"].tolist() for k, v in item.values.items()}
    return tuple(map(_plain, item)) if isinstance(item, tuple) else item


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_named_or_harmless(folder, name):
    wanted, path = everything(folder), folder / name
    whole = path.read_bytes()
    found = 0
    for bit in np.linspace(0, 8 * len(whole) - 1, 60).astype(int):
        flipped(path, bit)
        try:
            got = everything(folder)
        except RunError as error:
            message, got = str(error), wanted
            found += 1
        else:
            message = str(path)
        assert message.startswith(str(path))
        assert got == wanted
        path.write_bytes(whole)
    assert found > 30


def test_a_run_of_the_version_without_checksums_is_read(folder):
    wanted = everything(folder)
    as_of_version_0_1_0(folder)
    assert everything(folder) == wanted
    flipped(folder / "checkpoints" / "2.npy", -10)
    assert everything(folder) != wanted


def test_a_run_by_hand_is_read(folder, tmp_path):
    (tmp_path / "by hand").mkdir()
    for name in ("final.h5", "steps.csv"):
        shutil.copy(folder / name, tmp_path / "by hand")
    run = read_run(tmp_path / "by hand")
    assert run.parameters()["affine/W"].tolist() == PARAMETERS["affine/W"].tolist()
