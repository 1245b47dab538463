from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnabla_influence.dataset import ColumnSpec, Dataset, open_dataset
from nnabla_influence.dataset import cache as cache_module
from nnabla_influence.dataset.cache import cache_home
from nnabla_influence.errors import DatasetError, OutputError
from tests.dataset.common import noise, save_image, write_csv
from tests.exact_trainings import Said
from tests.runs.changing import flipped

SPECS = [ColumnSpec("x", (1, 4, 4)), ColumnSpec("y", (1,), 10)]
N = 4


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """The names of the files that nnabla's loader was asked for."""
    from nnabla.utils import data_source_loader

    names: list[str] = []
    load_image = data_source_loader.load_image

    def counted(file, shape=None, normalize=False):
        names.append(os.path.basename(file.name))
        return load_image(file, shape, normalize)

    monkeypatch.setitem(data_source_loader._load_functions, ".png", counted)
    return names


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for k in range(N):
        save_image(tmp_path / "data" / f"{k}.png", noise(4, 4, seed=k))
    return write_csv(tmp_path / "data" / "x.csv", ["x", "y"], [[f"{k}.png", k] for k in range(N)])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def pixels(dataset: Dataset) -> np.ndarray:
    return np.rint(255 * dataset.batch(np.arange(len(dataset)))["x"][:, 0]).astype(np.uint8)


def images(*seeds: int) -> np.ndarray:
    return np.stack([noise(4, 4, seed=seed) for seed in seeds])


def test_each_file_is_decoded_once_and_never_again(data, home, loads):
    first = open_dataset(data, SPECS, cache_dir=home)
    # The first row twice: there the look-up is compared with the loader's own scaling.
    assert sorted(loads) == ["0.png", "0.png", "1.png", "2.png", "3.png"]
    loads.clear()
    second = open_dataset(data, SPECS, cache_dir=home)
    assert loads == []
    np.testing.assert_array_equal(pixels(second), images(0, 1, 2, 3))
    np.testing.assert_array_equal(pixels(first), images(0, 1, 2, 3))


def resized(data: Path) -> None:
    picture = data.parent / "2.png"
    modified = picture.stat().st_mtime_ns
    save_image(picture, noise(4, 4, seed=9), compress_level=0)
    os.utime(picture, ns=(modified, modified))


def rewritten(data: Path) -> None:
    picture = data.parent / "2.png"
    size, modified = picture.stat().st_size, picture.stat().st_mtime_ns
    save_image(picture, noise(4, 4, seed=9))
    assert picture.stat().st_size == size
    os.utime(picture, ns=(modified, modified + 1))


def set_back(data: Path) -> None:
    """Only the time of its last status change says so."""
    picture = data.parent / "2.png"
    status = picture.stat()
    time.sleep(0.02)  # the clock of the file system
    save_image(picture, noise(4, 4, seed=9))
    os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert picture.stat().st_size == status.st_size
    assert picture.stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.parametrize("change", [resized, rewritten, set_back])
def test_a_changed_file_is_noticed(data, home, change):
    before = open_dataset(data, SPECS, cache_dir=home)
    change(data)
    after = open_dataset(data, SPECS, cache_dir=home)
    np.testing.assert_array_equal(pixels(after), images(0, 1, 9, 3))
    # The one opened before still reads its file, which has lost its name.
    np.testing.assert_array_equal(pixels(before), images(0, 1, 2, 3))


def test_a_changed_csv_is_noticed(data, home):
    open_dataset(data, SPECS, cache_dir=home)
    status = data.stat()
    data.write_text("x,y\n3.png,0\n2.png,1\n1.png,9\n0.png,3\n")
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert data.stat().st_size == status.st_size
    changed = open_dataset(data, SPECS, cache_dir=home)
    np.testing.assert_array_equal(pixels(changed), images(3, 2, 1, 0))
    assert changed.batch(np.arange(N))["y"][:, 0].tolist() == [0, 1, 9, 3]


def test_what_is_superseded_is_removed_and_what_is_not_stays(data, home, loads):
    other = write_csv(data.parent / "other.csv", ["x", "y"], [["0.png", 1]])
    open_dataset(other, SPECS, cache_dir=home)
    open_dataset(data, SPECS[:1], cache_dir=home)
    for k in range(3):
        data.write_text(f"x,y\n0.png,{k}\n")
        open_dataset(data, SPECS, cache_dir=home)
        assert len(list(home.iterdir())) == 3
    loads.clear()
    open_dataset(other, SPECS, cache_dir=home)
    assert loads == []


def test_strangers_in_the_cache_folder_stay(data, home):
    # Somebody's home folder, say: old, hidden, or with a file of the same name.
    strangers = [home / ".ssh", home / "mine", home / ".mine.abc.tmp"]
    long_ago = time.time() - 1e6
    for stranger in strangers:
        stranger.mkdir(parents=True)
        (stranger / "source.txt").write_text("/no/such/file")
        os.utime(stranger, (long_ago, long_ago))
    open_dataset(data, SPECS, cache_dir=home)
    assert all((stranger / "source.txt").exists() for stranger in strangers)


@pytest.mark.parametrize(
    "other",
    [
        {"normalize": False},
        {"columns": [ColumnSpec("x", (3, 4, 4)), ColumnSpec("y", (1,), 10)]},
        {"columns": [ColumnSpec("x", (1, 4, 4)), ColumnSpec("y", (1,))]},
    ],
)
def test_other_questions_to_the_same_csv_do_not_share_an_answer(data, home, other):
    asked = {"columns": SPECS, "cache_dir": home}
    first = open_dataset(data, **asked).batch(np.arange(N))
    second = open_dataset(data, **{**asked, **other}).batch(np.arange(N))
    again = open_dataset(data, **asked)
    assert len(list(home.iterdir())) == 2
    for name, values in again.batch(np.arange(N)).items():
        np.testing.assert_array_equal(values, first[name])
    if "normalize" in other:
        np.testing.assert_allclose(second["x"], 255 * first["x"], rtol=1e-6)


def test_labels_are_checked_again_for_a_network_with_fewer_classes(data, home):
    open_dataset(data, SPECS, cache_dir=home)
    with pytest.raises(DatasetError, match="datasource_index 2, column 'y': '2' holds 2"):
        open_dataset(data, [ColumnSpec("y", (1,), 2)], cache_dir=home)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_nothing(data, home, monkeypatch, error, threads):
    monkeypatch.setattr("nnabla_influence.dataset.decoder._THREADS_FROM_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    from nnabla.utils import data_source_loader

    def interrupted(file, shape=None, normalize=False):
        if file.name.endswith("2.png"):
            raise error
        return data_source_loader.load_image(file, shape, normalize)

    monkeypatch.setitem(data_source_loader._load_functions, ".png", interrupted)
    # Whatever is no KeyboardInterrupt is a file that cannot be decoded.
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else DatasetError):
        open_dataset(data, SPECS, cache_dir=home)
    assert list(home.iterdir()) == []


KILLED = """
    import os, signal, sys
    from nnabla.utils import data_source_loader
    from nnabla_influence.dataset import ColumnSpec, open_dataset
    from pathlib import Path

    def killed(file, shape=None, normalize=False):
        if file.name.endswith("2.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return data_source_loader.load_image(file, shape, normalize)

    data_source_loader._load_functions[".png"] = killed
    specs = [ColumnSpec("x", (1, 4, 4)), ColumnSpec("y", (1,), 10)]
    open_dataset(sys.argv[1], specs, cache_dir=Path(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_nothing_that_is_taken_for_an_entry(data, home):
    arguments = [sys.executable, "-c", textwrap.dedent(KILLED), str(data), str(home)]
    assert subprocess.run(arguments, capture_output=True).returncode == -9
    (left,) = home.iterdir()
    dataset = open_dataset(data, SPECS, cache_dir=home)
    np.testing.assert_array_equal(pixels(dataset), images(0, 1, 2, 3))
    assert not left.exists()
    # Of another entry it might be of a process that still works; after a day it is not.
    other = home / f".{'0' * 20}-{'0' * 20}{left.name[42:]}"
    other.mkdir()
    open_dataset(data, SPECS[:1], cache_dir=home)
    assert other.exists()
    yesterday = time.time() - 25 * 3600
    os.utime(other, (yesterday, yesterday))
    open_dataset(data, SPECS[1:], cache_dir=home)
    assert not other.exists()


def test_two_processes_that_finish_at_once_do_not_fail(data, home, monkeypatch):
    # The other one's entry appears between looking and renaming.
    real = cache_module.replacing_folder

    def overtaken(path, mode):
        monkeypatch.setattr(cache_module, "replacing_folder", real)
        open_dataset(data, SPECS, cache_dir=home)
        raise OutputError(f"{path}: cannot be written (Directory not empty)")

    monkeypatch.setattr(cache_module, "replacing_folder", overtaken)
    np.testing.assert_array_equal(
        pixels(open_dataset(data, SPECS, cache_dir=home)), images(0, 1, 2, 3)
    )


def test_a_cache_that_cannot_be_written_is_replaced_for_this_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    said = Said()
    dataset = open_dataset(data, SPECS, cache_dir=blocked, progress=said)
    np.testing.assert_array_equal(pixels(dataset), images(0, 1, 2, 3))
    assert re.match(f"{blocked}: .*NNABLA_INFLUENCE_CACHE", said.lines[0])
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    del dataset
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_is_said_in_one_line(data, home, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnabla_influence.dataset.store.npy.write_array_header_1_0", full)
    with pytest.raises(OutputError, match=r"cache: .*No space left on device"):
        open_dataset(data, SPECS, cache_dir=home)
    assert list(home.iterdir()) == []


def test_a_csv_that_changes_while_it_is_read_is_refused(data, home, monkeypatch):
    def meddling(folder: Path) -> bool:  # called between the two readings
        data.write_text(data.read_text().replace("3.png,3", "3.png,4"))
        folder.mkdir()
        return True

    monkeypatch.setattr("nnabla_influence.dataset.dataset.usable_folder", meddling)
    with pytest.raises(DatasetError, match="changed while it was read"):
        open_dataset(data, SPECS, cache_dir=home)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"NNABLA_INFLUENCE_CACHE": "/a/b"}, "/a/b"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/nnabla-influence"),
        ("linux", {}, "/home/me/.cache/nnabla-influence"),
        ("darwin", {}, "/home/me/Library/Caches/nnabla-influence"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "/x/nnabla-influence"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/nnabla-influence/Cache"),
    ],
)
def test_the_cache_lies_where_the_platform_keeps_such_things(
    monkeypatch, platform, environment, expected
):
    for name in ("NNABLA_INFLUENCE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("nnabla_influence.dataset.cache.sys.platform", platform)
    assert cache_home() == Path(expected)


def peak(folder: Path, n_rows: int) -> int:
    """Bytes that opening, gathering every row and reading every cell need at most."""
    rows = [[f"{k % 20}.png", *[f"{k}.123456"] * 100] for k in range(n_rows)]
    path = write_csv(folder / f"{n_rows}.csv", ["x", *(f"z__{i}" for i in range(100))], rows)
    del rows
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    specs = [ColumnSpec("x", (1, 64, 64)), ColumnSpec("z", (100,))]
    dataset = open_dataset(path, specs, cache_dir=folder / "cache")
    for start in range(0, n_rows, 20):
        dataset.batch(np.arange(start, start + 20))
    for _ in dataset.iter_cells():
        pass
    return tracemalloc.get_traced_memory()[1] - before


def test_memory_does_not_grow_with_the_data(tmp_path, monkeypatch):
    # Small blocks, so that few rows fill many of them.
    monkeypatch.setattr("nnabla_influence.dataset.records._BLOCK", 1 << 14)
    monkeypatch.setattr("nnabla_influence.dataset.store._WRITE_BYTES", 1 << 14)
    for k in range(20):
        save_image(tmp_path / f"{k}.png", noise(64, 64, seed=k))
    tracemalloc.start()
    try:
        peak(tmp_path, 20)  # what is imported and made once
        few, many = peak(tmp_path, 100), peak(tmp_path, 600)
    finally:
        tracemalloc.stop()
    decoded = 500 * (64 * 64 + 4 * 100)
    text = 500 * 11 * 100
    assert many - few < (decoded + text) / 50


@pytest.mark.skipif(sys.platform == "win32", reason="the folder lies in the user's profile")
@pytest.mark.parametrize("planted", ["writable", "another user's", "a link"])
def test_what_another_user_can_write_is_not_read(data, home, loads, monkeypatch, planted):
    open_dataset(data, SPECS, cache_dir=home)
    (entry,) = home.iterdir()
    assert entry.stat().st_mode & 0o777 == 0o700
    assert home.stat().st_mode & 0o777 == 0o700
    # The pictures of another one, in an entry that is whole.
    elsewhere = home.with_name("elsewhere")
    entry.rename(elsewhere)
    if planted == "writable":
        elsewhere.rename(entry)
        entry.chmod(0o777)
    elif planted == "a link":
        entry.symlink_to(elsewhere)
    else:
        elsewhere.rename(entry)
        real = os.lstat

        def owned_by_another(path):
            status = list(real(path))
            status[4] += path == entry
            return os.stat_result(status)

        monkeypatch.setattr(cache_module.os, "lstat", owned_by_another)
    loads.clear()
    if planted == "writable":
        assert len(open_dataset(data, SPECS, cache_dir=home)) == N
        assert entry.stat().st_mode & 0o777 == 0o700
    else:  # it cannot be replaced, or is the same user's in truth
        with contextlib.suppress(OutputError):
            open_dataset(data, SPECS, cache_dir=home)
    assert loads


@pytest.mark.skipif(sys.platform == "win32", reason="the folder lies in the user's profile")
def test_an_entry_that_cannot_be_replaced_is_not_read_either(data, home, monkeypatch):
    open_dataset(data, SPECS, cache_dir=home)
    (entry,) = home.iterdir()
    entry.chmod(0o777)

    def of_another(path, mode):  # as in a folder such as /tmp
        raise OutputError(f"{path}: cannot be written (Operation not permitted)")

    monkeypatch.setattr(cache_module, "replacing_folder", of_another)
    with pytest.raises(OutputError, match="other users can change it"):
        open_dataset(data, SPECS, cache_dir=home)


def test_each_user_has_entries_of_their_own(data, home, monkeypatch):
    """In a folder that several share, none stands in another's way."""
    open_dataset(data, SPECS, cache_dir=home)
    real = cache_module.owner()
    monkeypatch.setattr("nnabla_influence.dataset.dataset.owner", lambda: real + 1)
    open_dataset(data, SPECS, cache_dir=home)
    assert len(list(home.iterdir())) == 2


# --------------------------------------------------------------------- damaged


def values(data: Path, home: Path, said: Said | None = None) -> dict[str, np.ndarray]:
    return open_dataset(data, SPECS, cache_dir=home, progress=said).batch(np.arange(N))


def test_every_flipped_bit_is_found_and_the_data_are_decoded_again(data, home):
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


def test_a_label_outside_the_classes_is_found_though_the_checksum_fits(data, home):
    wanted = values(data, home)
    (entry,) = home.iterdir()
    labels = np.load(entry / "1.npy")
    labels[2] = 7e6
    np.save(entry / "1.npy", labels)
    checksum = zlib.crc32((entry / "1.npy").read_bytes())
    (entry / "1.crc32").write_text(f"{checksum:08x}\n")
    np.testing.assert_array_equal(values(data, home)["y"], wanted["y"])


def test_where_only_the_content_says_it_a_changed_picture_is_found(data, home, monkeypatch):
    """As on Windows, where a program can set every time."""
    windows = SimpleNamespace(platform="win32")
    monkeypatch.setattr("nnabla_influence.dataset.scan.sys", windows)
    before = values(data, home)["x"]
    (data.parent / "2.png").touch()
    save_image(data.parent / "2.png", noise(4, 4, seed=9))
    after = values(data, home)["x"]
    assert np.flatnonzero((before != after).any(axis=(1, 2, 3))).tolist() == [2]


def test_the_content_of_files_is_read_once(data, home, monkeypatch):
    dataset = open_dataset(data, SPECS, cache_dir=home)
    contents = dataset.contents()
    assert list(contents) == ["x"]
    assert len(set(contents["x"])) == N
    monkeypatch.setattr("nnabla_influence.dataset.dataset.hash_contents", None)
    assert open_dataset(data, SPECS, cache_dir=home).contents() == contents
