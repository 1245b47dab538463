"""A decoded cache that was damaged: found, and decoded again."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnabla_influence.dataset import ColumnSpec, open_dataset
from tests.dataset.common import noise, save_image, write_csv
from tests.exact_trainings import Said
from tests.runs.changing import flipped

SPECS = [ColumnSpec("x", (1, 4, 4)), ColumnSpec("y", (1,), 10)]
N = 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for k in range(N):
        save_image(tmp_path / "data" / f"{k}.png", noise(4, 4, seed=k))
    return write_csv(tmp_path / "data" / "x.csv", ["x", "y"], [[f"{k}.png", k] for k in range(N)])


def values(data: Path, home: Path, said: Said | None = None) -> dict[str, np.ndarray]:
    return open_dataset(data, SPECS, cache_dir=home, progress=said).batch(np.arange(N))


def test_every_flipped_bit_is_found_and_the_data_are_decoded_again(data, tmp_path):
    home = tmp_path / "cache"
    wanted = values(data, home)
    (entry,) = home.iterdir()
    files = [path for path in entry.iterdir() if path.suffix in (".npy", ".crc32")]
    assert len(files) == 4
    for path in files:
        whole = path.read_bytes()
        for bit in {*range(0, 8 * len(whole), 37), -1}:
            flipped(path, bit)
            said = Said()
            got = values(data, home, said)
            assert [line for line in said.lines if "is damaged" in line] == [
                f"{entry}: is damaged; decoding {data} again"
            ]
            for name, each in wanted.items():
                np.testing.assert_array_equal(got[name], each)
            assert path.read_bytes() == whole


def test_a_label_outside_the_classes_is_found_though_the_checksum_fits(data, tmp_path):
    home = tmp_path / "cache"
    wanted = values(data, home)
    (entry,) = home.iterdir()
    labels = np.load(entry / "1.npy")
    labels[2] = 7e6
    np.save(entry / "1.npy", labels)
    checksum = zlib.crc32((entry / "1.npy").read_bytes())
    (entry / "1.crc32").write_text(f"{checksum:08x}\n")
    np.testing.assert_array_equal(values(data, home)["y"], wanted["y"])


def test_where_only_the_content_says_it_a_changed_picture_is_found(data, tmp_path, monkeypatch):
    """As on Windows, where a program can set every time."""
    windows = SimpleNamespace(platform="win32")
    monkeypatch.setattr("nnabla_influence.dataset.scan.sys", windows)
    before = values(data, tmp_path / "cache")["x"]
    (data.parent / "2.png").touch()
    save_image(data.parent / "2.png", noise(4, 4, seed=9))
    after = values(data, tmp_path / "cache")["x"]
    assert np.flatnonzero((before != after).any(axis=(1, 2, 3))).tolist() == [2]


def test_the_content_of_files_is_read_once(data, tmp_path, monkeypatch):
    home = tmp_path / "cache"
    dataset = open_dataset(data, SPECS, cache_dir=home)
    contents = dataset.contents()
    assert list(contents) == ["x"]
    assert len(set(contents["x"])) == N
    monkeypatch.setattr("nnabla_influence.dataset.dataset.hash_contents", None)
    assert open_dataset(data, SPECS, cache_dir=home).contents() == contents
