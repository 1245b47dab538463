"""The cache that a definition names: what nnabla itself hands out from it is the yardstick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nnabla.utils.create_cache import CreateCache
from nnabla.utils.data_iterator import data_iterator_cache, data_iterator_csv_dataset
from PIL import Image

from network_defs.samples import Training, lenet, write_definition, write_digits
from nnabla_influence import Options, score
from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.definition import load_definition
from nnabla_influence.nnabla_cli.caches import cached_order, reads_cached_pixels
from nnabla_influence.nnabla_cli.training import train
from tests.small_projects import edit, write_images

pytestmark = pytest.mark.slow


def write_levels(folder: Path) -> Path:
    """Write a dataset of two images that hold every level from 0 to 255."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for number, pixels in enumerate((levels, levels.T)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    path = folder / "data.csv"
    path.write_text("x:image,y:label\n0.png,0\n1.png,1\n")
    return path


def prepare(csv_path: Path, cache: Path, *, normalize: bool) -> None:
    """Make a cache as the Console does before a training, or one of floats."""
    cache.mkdir()
    CreateCache(str(csv_path), rng=np.random.RandomState(0), shuffle=False).create(
        str(cache), normalize=normalize
    )


def from_cache(cache: Path) -> np.ndarray:
    with data_iterator_cache(str(cache), 2, shuffle=False, normalize=True) as iterator:
        return np.asarray(iterator.next()[0], np.float32)


def test_prepared_caches_give_the_very_bits_that_nnabla_trains_from(tmp_path):
    path = write_levels(tmp_path)
    prepare(path, tmp_path / "cache", normalize=False)
    specs, rows = [ColumnSpec("x", (1, 16, 16))], np.arange(2)
    by_cache = open_dataset(path, specs, by_cache=True).batch(rows)["x"]
    assert np.array_equal(by_cache, from_cache(tmp_path / "cache"))
    with data_iterator_csv_dataset(str(path), 2, shuffle=False, normalize=True) as iterator:
        by_csv = np.asarray(iterator.next()[0], np.float32)
    assert np.array_equal(open_dataset(path, specs).batch(rows)["x"], by_csv)
    assert 100 < np.count_nonzero(by_csv[0] != by_cache[0]) < 150  # so it is a difference


@pytest.mark.parametrize(
    ("holds", "explicitly", "overwrite", "expected"),
    [
        ("pixels", True, False, True),
        ("nothing", True, False, True),  # nnabla_cli prepares it then
        ("pixels", False, False, True),
        ("floats", False, False, False),
        ("pixels", False, True, False),  # made again while it trains
        ("nothing", False, False, False),
    ],
)
def test_which_caches_hold_pixels(tmp_path, holds, explicitly, overwrite, expected):
    definition = write_images(tmp_path)
    if holds != "nothing":
        prepare(tmp_path / "training.csv", tmp_path / "cache", normalize=holds == "floats")

    def change(proto):
        proto.dataset[0].cache_dir = "cache"
        proto.dataset[0].create_cache_explicitly = explicitly
        proto.dataset[0].overwrite_cache = overwrite

    edit(definition, change)
    loaded = load_definition(definition)
    assert reads_cached_pixels(loaded, loaded.training, loaded.training.path) is expected
    # has none
    assert not reads_cached_pixels(loaded, loaded.validation, loaded.validation.path)


@pytest.mark.parametrize(
    ("uri", "cache_dir", "now"),
    [
        (r"C:\data\training.csv", r"C:\data\training.cache", "project/training.cache"),
        ("C:/data/training.csv", r"C:\data\training.cache", "project/training.cache"),
        ("/nnc/data/training.csv", "/nnc/data/training.cache", "project/training.cache"),
        (r"C:\sets\a\7\index.csv", r"C:\caches\a\7.cache", "../../../caches/a/7.cache"),
        ("data/training.csv", "data/training.cache", "project/training.cache"),
    ],
    ids=["Windows", "Windows, slashes", "elsewhere", "NNCD", "relative"],
)
def test_a_project_that_was_moved_is_read_from_the_cache_beside_its_csv(
    tmp_path, uri, cache_dir, now
):
    """Where the Console put it beside the CSV; nnabla's own reading of it is the yardstick."""
    project = tmp_path / "new" / "home" / "project"
    project.mkdir(parents=True)
    csv = write_levels(project)
    csv.write_text(csv.read_text() + "1.png,0\n0.png,1\n" * 20)
    cache = project / now.replace("project", ".")
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.mkdir()
    CreateCache(str(csv), rng=np.random.RandomState(0), shuffle=True).create(
        str(cache), normalize=False
    )
    (tmp_path / "model").mkdir()
    definition = write_images(tmp_path / "model")

    def change(proto):
        proto.dataset[0].uri, proto.dataset[0].cache_dir = uri, cache_dir
        proto.dataset[0].shuffle = True
        proto.dataset[0].create_cache_explicitly = True

    edit(definition, change)
    loaded = load_definition(definition)
    rows = cached_order(loaded, loaded.training, 42, csv)
    with data_iterator_cache(
        str(cache), 42, shuffle=True, rng=np.random.RandomState(0)
    ) as iterator:
        drawn = iterator.next()
    labels = np.loadtxt(csv, delimiter=",", skiprows=1, usecols=1)
    assert np.array_equal(labels[rows], drawn[1].ravel())
    assert sorted(rows) == list(range(42))

    def implicitly(proto):
        proto.dataset[0].create_cache_explicitly = False

    edit(definition, implicitly)
    loaded = load_definition(definition)
    assert reads_cached_pixels(loaded, loaded.training, csv)
    assert not reads_cached_pixels(loaded, loaded.training, tmp_path / "alone" / "training.csv")


def test_a_training_from_a_prepared_cache_is_traced_exactly(tmp_path):
    """As every training of the Console is; its steps are replayed to the bit, or refused."""
    data = write_digits(tmp_path, n_training=40, n_validation=10)
    definition = tmp_path / "lenet.nntxt"
    write_definition(
        definition, lenet((1, 28, 28), 10), Training(n_rows=40, epochs=4, batch_size=8)
    )

    def change(proto):
        for dataset, path in zip(proto.dataset, (data.training_csv, data.validation_csv)):
            dataset.uri = str(path)
            dataset.cache_dir = str(tmp_path / f"{dataset.name} cache")
            dataset.create_cache_explicitly = True

    edit(definition, change)
    train(definition, tmp_path / "run", window="all", keep="sqrt", device="cpu")
    options = Options(method="exact", window="all")
    assert len(score(definition, run=tmp_path / "run", options=options, device="cpu")) == 40
