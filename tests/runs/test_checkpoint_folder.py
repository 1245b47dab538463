from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnabla_influence.errors import RunError
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.checkpoint_folder import read_checkpoint, read_layout, write_checkpoints
from nnabla_influence.solvers import SolverState


def checkpoint(step, t=None, seed=0):
    rng = np.random.default_rng([step, seed])
    shapes = {"affine/W": (3, 2), "bn/mean": (1, 2), "scale": ()}
    parameters = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    states = {
        kind: {"affine/W": rng.normal(size=(3, 2)).astype(np.float32)} for kind in ("mean", "var")
    }
    return Checkpoint(step, parameters, SolverState(step if t is None else t, states))


def same(one, other):
    assert (one.step, one.solver.t) == (other.step, other.solver.t)
    for found, wanted in [
        (one.parameters, other.parameters),
        *((one.solver.values[kind], other.solver.values[kind]) for kind in ("mean", "var")),
    ]:
        assert set(found) == set(wanted)
        for name, value in found.items():
            assert value.dtype == np.float32
            assert value.shape == wanted[name].shape
            assert np.array_equal(value, wanted[name])
    assert set(one.solver.values) == set(other.solver.values)


@pytest.fixture
def written(tmp_path):
    checkpoints = [checkpoint(7), checkpoint(9, t=2**31), checkpoint(10, t=1)]
    write_checkpoints(tmp_path, checkpoints)
    return tmp_path, checkpoints


def test_checkpoints_read_back_as_they_were_written(written):
    folder, checkpoints = written
    layout = read_layout(folder)
    assert [step for step, _ in layout.checkpoints] == [7, 9, 10]
    for expected in checkpoints:
        same(read_checkpoint(folder, layout, expected.step), expected)
    assert {path.stat().st_size for path in folder.glob("*.npy")} == {layout.file_bytes}


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


def read(folder, layout):
    read_layout(folder)
    read_checkpoint(folder, layout, 9)


def cut_short(path, _):
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        (lambda path, _: path.unlink(), "9.npy", "missing"),
        (cut_short, "9.npy", "bytes"),
        (lambda path, _: path.unlink(), "layout.json", "No such file"),
        (lambda path, n: np.save(path, np.zeros((n, 1), np.float32)), "9.npy", r"\(21, 1\)"),
        (lambda path, n: np.save(path, np.zeros(n, np.int32)), "9.npy", "int32"),
        (lambda path, n: path.write_bytes(b"no array".ljust(4 * n + 128)), "9.npy", "cannot be re"),
        (lambda path, n: np.save(path, np.full(n, np.inf, np.float32)), "9.npy", "affine/W is not"),
    ],
)
def test_a_damaged_file_is_named(written, damage, name, message):
    folder, _ = written
    layout = dataclasses.replace(read_layout(folder), checksums=())  # as of version 0.1.0
    damage(folder / name, layout.size)
    with pytest.raises(RunError, match=rf"{name}: .*{message}"):
        read(folder, layout)


def test_a_checkpoint_that_was_not_kept(written):
    folder, _ = written
    with pytest.raises(RunError, match=r"8.npy: .*step 8"):
        read_checkpoint(folder, read_layout(folder), 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"moments": [[9, 1], [7, 1]]}, "order"),
        ({"moments": [[7, -1]]}, "order"),
        ({"moments": 3}, "readable"),
        ({"arrays": [{"parameter": "w"}]}, "'state'"),
        ({"arrays": [{"parameter": "w", "state": "", "shape": [-1]}]}, r"\[-1\]"),
        ({"arrays": [{"parameter": 3, "state": "", "shape": []}]}, "3, ''"),
        ({"seconds": None}, "readable"),
    ],
)
def test_a_wrong_layout_is_named(written, change, message):
    path = written[0] / "layout.json"
    values = {**json.loads(path.read_text()), **change}
    del values["checksum"], values["checksums"]
    path.write_text(json.dumps(values))
    with pytest.raises(RunError, match=rf"layout.json: .*{message}"):
        read_layout(written[0])


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_layout_that_is_no_json_object(written, text):
    (written[0] / "layout.json").write_text(text)
    with pytest.raises(RunError, match=r"layout.json: .*readable"):
        read_layout(written[0])


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("step", "parameters", "state", "message"),
    [
        (-1, {"w": ONES}, {}, "step -1"),
        (4, {}, {}, "step 4 .*no parameters"),
        (4, {"w": ONES.astype(float)}, {}, "step 4: parameter w is float64"),
        (4, {"w": ONES * np.inf}, {}, "step 4: parameter w is not finite"),
        (4, {"w": ONES}, {"m": {"w": ONES * np.nan}}, "solver state m of w is not finite"),
        (4, {"w": ONES}, {"m": {"v": ONES}}, "state m of v"),
    ],
)
def test_what_is_not_a_checkpoint(step, parameters, state, message):
    with pytest.raises(RunError, match=message):
        Checkpoint(step, parameters, SolverState(3, state))
