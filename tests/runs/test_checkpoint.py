from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnabla_influence.errors import RunError
from nnabla_influence.runs.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_layout,
    write_checkpoints,
)
from nnabla_influence.solvers import SolverState
from tests.exact_trainings import equal


def checkpoint(step, t=None):
    rng = np.random.default_rng(step)
    shapes = {"affine/W": (3, 2), "bn/mean": (1, 2), "scale": ()}
    parameters = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    states = {
        kind: {"affine/W": rng.normal(size=(3, 2)).astype(np.float32)} for kind in ("mean", "var")
    }
    return Checkpoint(step, parameters, SolverState(step if t is None else t, states))


@pytest.fixture
def written(tmp_path):
    checkpoints = [checkpoint(7), checkpoint(9, t=2**31), checkpoint(10, t=1)]
    write_checkpoints(tmp_path, checkpoints)
    return tmp_path, checkpoints


def test_checkpoints_read_back_as_they_were_written(written):
    folder, checkpoints = written
    layout = read_layout(folder)
    assert list(layout.t_of) == [7, 9, 10]
    for expected in checkpoints:
        equal(read_checkpoint(folder, layout, expected.step), expected)
    assert {path.stat().st_size for path in folder.glob("*.npy")} == {layout.file_bytes}
    with pytest.raises(RunError, match=r"8.npy: .*step 8"):
        read_checkpoint(folder, layout, 8)


@given(
    value=hnp.arrays(
        np.float32,
        hnp.array_shapes(max_dims=3, max_side=4),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    name=st.text(min_size=1, max_size=8),
    t=st.integers(0, 2**32 - 2),
)
def test_any_name_shape_and_value(tmp_path_factory, value, name, t):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder, [Checkpoint(3, {name: value}, SolverState(t, {}))])
    found = read_checkpoint(folder, read_layout(folder), 3)
    assert np.array_equal(found.parameters[name], value)
    assert found.solver.t == t


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, _: path.unlink(), "missing"),
        (lambda path, _: path.write_bytes(path.read_bytes()[:-4]), "bytes"),
        (lambda path, n: np.save(path, np.zeros((n, 1), np.float32)), r"\(21, 1\)"),
        (lambda path, n: np.save(path, np.zeros(n, np.int32)), "int32"),
        (lambda path, n: path.write_bytes(b"no array".ljust(4 * n + 128)), ""),
        (lambda path, n: np.save(path, np.full(n, np.inf, np.float32)), "affine/W"),
    ],
)
def test_a_damaged_file_is_named(written, damage, message):
    folder, _ = written
    layout = dataclasses.replace(read_layout(folder), checksum_of={})  # as of version 0.1.0
    damage(folder / "9.npy", layout.size)
    with pytest.raises(RunError, match=rf"9.npy: .*{message}"):
        read_checkpoint(read_layout(folder) and folder, layout, 9)


@pytest.mark.parametrize(
    "change",
    [{"format_version": 2}, {"moments": 3}, {"arrays": [{"parameter": "w"}]}, {"seconds": None}],
)
def test_a_wrong_layout_is_named(written, change):
    path = written[0] / "layout.json"
    values = {**json.loads(path.read_text()), **change}
    del values["checksum"], values["checksums"]
    for text in (json.dumps(values), "{", "[]", ""):
        path.write_text(text)
        with pytest.raises(RunError, match=r"layout.json: "):
            read_layout(written[0])


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("parameters", "state", "message"),
    [
        ({"w": ONES.astype(float)}, {}, "step 4: parameter w is float64"),
        ({"w": ONES * np.inf}, {}, "step 4: parameter w is not finite"),
        ({"w": ONES}, {"m": {"w": ONES * np.nan}}, "solver state m of w is not finite"),
        ({"w": ONES}, {"m": {"v": ONES}}, "state m of v"),
    ],
)
def test_what_is_not_a_checkpoint(parameters, state, message):
    with pytest.raises(RunError, match=message):
        Checkpoint(4, parameters, SolverState(3, state))
