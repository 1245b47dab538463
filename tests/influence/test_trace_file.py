"""The file where a trace stands: read back to the bit, or not at all."""

from __future__ import annotations

import nnabla as nn
import numpy as np
import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.influence import trace_file
from nnabla_influence.influence.trace import Trace
from nnabla_influence.influence.trace_file import TraceFile


def vectors(**values: np.ndarray) -> dict[str, nn.NdArray]:
    return {name: nn.NdArray.from_numpy_array(value) for name, value in values.items()}


def some(seed: int = 0) -> tuple[Trace, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    influence = rng.normal(size=7) * 10.0 ** rng.integers(-30, 30, 7)
    trace = Trace(influence, rng.integers(0, 9, 7), 41, 0.7, growth=1.5)
    return trace, {
        name: rng.normal(size=5).astype(np.float32) * np.float32(1e-20) for name in ("u", "m", "r")
    }


def blank() -> dict[str, nn.NdArray]:
    return vectors(**{name: np.zeros(5, np.float32) for name in ("u", "m", "r")})


def test_what_was_saved_is_loaded_to_the_bit(japanese_path):
    trace, values = some()
    path = japanese_path / ".順位 1.csv.trace.npz"
    TraceFile(path, "print").save(trace, vectors(**values))
    found = blank()
    loaded = TraceFile(path, "print").load(found)
    assert loaded is not None
    assert loaded.influence.dtype == np.float64
    np.testing.assert_array_equal(loaded.influence, trace.influence)
    np.testing.assert_array_equal(loaded.times_seen, trace.times_seen)
    assert (loaded.n_steps, loaded.first_length) == (41, 0.7)
    assert loaded.growth == 1.5
    for name, value in values.items():
        np.testing.assert_array_equal(found[name].data, value)
    loaded.influence[3] += 1  # a trace goes on adding to it


def test_saving_again_replaces_and_leaves_nothing_else(tmp_path):
    file = TraceFile(tmp_path / "t.npz", "print")
    for seed in (0, 1):
        trace, values = some(seed)
        file.save(trace, vectors(**values))
    loaded = file.load(blank())
    np.testing.assert_array_equal(loaded.influence, some(1)[0].influence)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.npz"]
    file.remove()
    file.remove()
    assert list(tmp_path.iterdir()) == []
    assert file.load(blank()) is None


def test_another_fingerprint_is_not_loaded_and_moves_no_vector(tmp_path):
    trace, values = some()
    TraceFile(tmp_path / "t.npz", "one").save(trace, vectors(**values))
    found = blank()
    assert TraceFile(tmp_path / "t.npz", "other").load(found) is None
    assert not any(vector.data.any() for vector in found.values())


@pytest.mark.parametrize("length", [0, 700, -1])
def test_a_file_that_was_cut_counts_as_none(tmp_path, length: int):
    trace, values = some()
    path = tmp_path / "t.npz"
    TraceFile(path, "print").save(trace, vectors(**values))
    path.write_bytes(path.read_bytes()[:length])
    found = blank()
    assert TraceFile(path, "print").load(found) is None
    assert not any(vector.data.any() for vector in found.values())


@pytest.mark.slow
def test_any_turned_bit_is_noticed_or_harmless(tmp_path):
    """Zip's checksums guard the values."""
    trace, values = some()
    path = tmp_path / "t.npz"
    TraceFile(path, "print").save(trace, vectors(**values))
    content = path.read_bytes()
    noticed = 0
    directory = content.index(b"PK\1\2")
    places = [*range(0, directory, 29), *range(directory, len(content), 3)]
    for at in places:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        found = blank()
        loaded = TraceFile(path, "print").load(found)
        noticed += loaded is None
        if loaded is not None:
            np.testing.assert_array_equal(loaded.influence, trace.influence)
            np.testing.assert_array_equal(loaded.times_seen, trace.times_seen)
            for name, value in values.items():
                np.testing.assert_array_equal(found[name].data, value)
    assert noticed > len(places) / 3


def test_a_pickle_is_never_loaded(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, fingerprint=np.array([{"an": "object"}], dtype=object))
    assert TraceFile(path, "print").load(blank()) is None


def test_vectors_of_another_solver_are_not_there(tmp_path):
    trace, values = some()
    TraceFile(tmp_path / "t.npz", "print").save(trace, vectors(u=values["u"]))
    assert TraceFile(tmp_path / "t.npz", "print").load(blank()) is None


def test_it_is_saved_now_and_then(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(trace_file.time, "monotonic", lambda: now[0])
    trace, values = some()
    file = TraceFile(tmp_path / "t.npz", "print")
    seen = []
    for _ in range(50):
        now[0] += trace_file.SAVE_SECONDS / 4
        file.save_now_and_then(trace, vectors(**values))
        seen.append(file.path.exists())
        file.remove()
    assert seen == [(i + 1) % 4 == 0 for i in range(50)]


def test_a_folder_that_is_gone_is_named(tmp_path):
    trace, values = some()
    file = TraceFile(tmp_path / "gone" / "t.npz", "print")
    with pytest.raises(OutputError, match=r"gone.t\.npz: "):
        file.save(trace, vectors(**values))
