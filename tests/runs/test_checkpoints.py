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
from nnabla_influence.runs.checkpoints import read_checkpoint, read_layout, write_checkpoints
from nnabla_influence.solvers import SolverState


def checkpoint(step, t=None, seed=0):
    rng = np.random.default_rng([step, seed])
    shapes = {"affine/W": (3, 2), "bn/mean": (1, 2), "scale": ()}
    parameters = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    states = {
        kind: {"affine/W": rng.normal(size=(3, 2)).astype(np.float32)} for kind in ("mean", "var")
    }
    return Checkpoint(step, parameters, SolverState(step if t is None else t, states))


def without_checksums(layout):
    """The layout as of a run of version 0.1.0."""
    return dataclasses.replace(layout, checksums=())


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


def test_moments_read_back_as_they_were_written(written):
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


def test_a_missing_file_is_named(written):
    folder, _ = written
    (folder / "9.npy").unlink()
    with pytest.raises(RunError, match=r"9.npy: is missing; train again"):
        read_layout(folder)


def test_a_file_that_is_cut_short(written):
    folder, _ = written
    (folder / "9.npy").write_bytes((folder / "9.npy").read_bytes()[:-4])
    with pytest.raises(RunError, match=r"9.npy: has \d+ bytes, and \d+ would fit layout.json"):
        read_layout(folder)


def test_a_folder_without_a_layout_as_a_killed_training_leaves_it(written):
    folder, _ = written
    (folder / "layout.json").unlink()
    with pytest.raises(RunError, match=r"layout.json: is not a readable layout .*No such file"):
        read_layout(folder)


def test_another_array_of_the_same_length(written):
    folder, _ = written
    layout = without_checksums(read_layout(folder))
    np.save(folder / "9.npy", np.zeros((layout.size, 1), np.float32))
    with pytest.raises(RunError, match=r"9.npy: holds float32 of shape \(21, 1\), not the float32"):
        read_checkpoint(folder, layout, 9)
    np.save(folder / "9.npy", np.zeros(layout.size, np.int32))
    with pytest.raises(RunError, match=r"9.npy: holds int32 of shape"):
        read_checkpoint(folder, layout, 9)
    (folder / "9.npy").write_bytes(b"no array".ljust(layout.file_bytes))
    with pytest.raises(RunError, match=r"9.npy: cannot be read \("):
        read_checkpoint(folder, layout, 9)


def test_values_that_are_not_finite(written):
    folder, _ = written
    layout = without_checksums(read_layout(folder))
    values = np.load(folder / "9.npy")
    values[0] = np.inf
    np.save(folder / "9.npy", values)
    with pytest.raises(
        RunError, match=r"9.npy: the checkpoint before step 9: parameter affine/W is n"
    ):
        read_checkpoint(folder, layout, 9)


def test_a_moment_that_was_not_kept(written):
    folder, _ = written
    with pytest.raises(RunError, match=r"8.npy: no checkpoint was kept before step 8"):
        read_checkpoint(folder, read_layout(folder), 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2 is unknown, this program reads 1"),
        ({"moments": [[9, 1], [7, 1]]}, "the checkpoints are not in the order of their steps"),
        ({"moments": [[7, -1]]}, "the checkpoints are not in the order of their steps"),
        ({"moments": 3}, "is not a readable layout of checkpoints"),
        ({"arrays": [{"parameter": "w"}]}, r"is not a readable layout of checkpoints \('state'\)"),
        ({"arrays": [{"parameter": "w", "state": "", "shape": [-1]}]}, r"\[-1\] is not the shape"),
        ({"arrays": [{"parameter": 3, "state": "", "shape": []}]}, "3, '' are not names"),
        ({"seconds": None}, "is not a readable layout of checkpoints"),
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
    with pytest.raises(RunError, match=r"layout.json: is not a readable layout of checkpoints"):
        read_layout(written[0])
