"""From definition and CSV to ranking, against Algorithm 2 in float64 on the files alone."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from nnabla_influence import Options, train
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import (
    DatasetError,
    InfluenceError,
    ModelError,
    OutputError,
    RunError,
    ScoreError,
)
from nnabla_influence.files import file_hash
from nnabla_influence.ranking import Ranking
from nnabla_influence.runs.run import read_run
from nnabla_influence.runs.run_settings import write_settings
from nnabla_influence.runs.steps import write_steps
from nnabla_influence.scoring import inputs
from tests.cases import CASES, Case, write_csv
from tests.exact_trainings import Watched, arrays
from tests.influence.test_trainer import mlp
from tests.reference import MiniBatch, Reference
from tests.scores import score
from tests.whole_training import WholeTraining

BY_NAME = {case.name: case for case in CASES}
FINAL = Options(method="final")


class Project:
    """A folder with net.nntxt, training.csv, validation.csv and the recorded run."""

    def __init__(self, folder: Path, case: Case, weight_decay: float):
        self.folder, self.case, self.weight_decay = folder, case, weight_decay
        self.net, self.run = folder / "net.nntxt", folder / "run"

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Read a CSV with nothing but csv, NumPy and pillow."""
        with (self.folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        arrays = {}
        for column, shape in self.case.shapes.items():
            where = [
                i for i, cell in enumerate(header) if cell.split(":")[0].split("__")[0] == column
            ]
            values = [[self._value(row[i]) for i in where] for row in rows]
            arrays[column] = np.asarray(values, float).reshape(len(rows), *shape)
        return arrays

    def _value(self, cell: str):
        if cell.endswith(".png"):
            return np.asarray(Image.open(self.folder / cell), float) / 255
        return float(cell)

    def steps(self, epochs: int) -> list[MiniBatch]:
        with (self.run / "steps.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        first = max(int(line["epoch"]) for line in lines) - epochs + 1
        return [
            ([int(row) for row in line["rows"].split()], float(line["learning_rate"]))
            for line in lines
            if int(line["epoch"]) >= first
        ]

    def final_parameters(self) -> dict[str, np.ndarray]:
        values = {}
        with h5py.File(self.run / "final.h5") as file:
            file.visititems(
                lambda name, item: (
                    values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        return values

    def wanted(self, epochs: int, rows=None, relabelled=None) -> np.ndarray:
        parameters = self.final_parameters()
        reference = Reference(self.case.losses, parameters, self.case.trainable(parameters))
        validation = self.arrays("validation")
        if rows is not None:
            validation = {k: v[rows] for k, v in validation.items()}
        data = self.arrays("training")
        return reference.influence(
            self.steps(epochs), data, validation, self.weight_decay, relabelled
        )

    def score(self, **arguments) -> Ranking:
        return score(self.net, **{"run": self.run, "options": FINAL, **arguments})


def make_project(
    folder: Path,
    name: str,
    n: int,
    batch_size: int,
    *,
    images: bool = False,
    weight_decay: float = 0.0,
    **settings,
) -> Project:
    case = BY_NAME[name]
    for part, seed in (("training", 1), ("validation", 2)):
        arrays = case.inputs(n if part == "training" else 25, seed=seed)
        if images:
            _write_images(folder, part, arrays)
        else:
            write_csv(folder / f"{part}.csv", arrays)
    case.save_definition(
        folder,
        batch_size=batch_size,
        weight_decay=weight_decay,
        iter_per_epoch=n // batch_size,
        max_epoch=3,
        **settings,
    )
    train(folder / "net.nntxt", folder / "run", parameters=folder / "net.h5", window="all")
    return Project(folder, case, weight_decay)


def _write_images(folder: Path, part: str, arrays) -> None:
    (folder / part).mkdir()
    lines = ["x:image,y:label"]
    for number, (image, label) in enumerate(zip(arrays["x"], arrays["y"])):
        pixels = np.clip(128 + 60 * image[0], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / part / f"{number}.png")
        lines.append(f"{part}/{number}.png,{int(label[0])}")
    (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Project:
    """A table, N not divisible by B, weight decay and a falling learning rate."""
    folder = tmp_path_factory.mktemp("表 table")
    return make_project(
        folder, "mlp-softmax", 45, 8, weight_decay=0.02, lr_decay=0.9, lr_decay_interval=4
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Project:
    """PNGs, a CNN with BatchNormalization and Dropout."""
    return make_project(
        tmp_path_factory.mktemp("pictures"), "cnn-batchnorm-dropout", 40, 6, images=True
    )


@pytest.fixture(scope="module")
def regression(tmp_path_factory) -> Project:
    return make_project(tmp_path_factory.mktemp("regression"), "linear-squared", 30, 10)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("kind", ["table", "pictures", "regression"])
def test_agrees_with_float64_algorithm_2(kind: str, epochs: int, request):
    project: Project = request.getfixturevalue(kind)
    got = project.score(
        options=Options(method="final", running_statistics=True, window=epochs)
    ).scores.influence
    wanted = project.wanted(epochs)
    assert np.linalg.norm(got - wanted) < 1e-3 * np.linalg.norm(wanted)
    assert spearmanr(got, wanted).statistic > 0.999


def test_the_target_is_the_loss_of_the_chosen_validation_rows(table: Project):
    got = table.score(options=Options(method="final", validation_rows=[3, 17])).scores.influence
    wanted = table.wanted(1, rows=[3, 17])
    assert np.linalg.norm(got - wanted) < 1e-3 * np.linalg.norm(wanted)


def test_order_is_replayed_where_no_run_is_given(table: Project):
    """The replayed order and the trained parameters give the recorded run's scores."""
    recorded = table.score().scores
    replayed = score(table.net, parameters=table.run / "final.h5", options=FINAL).scores
    np.testing.assert_array_equal(replayed.influence, recorded.influence)
    np.testing.assert_array_equal(replayed.times_seen, recorded.times_seen)


def test_other_batch_size_gives_shuffled_trials_with_their_spread(table: Project):
    ranking = score(
        table.net,
        parameters=table.run / "final.h5",
        options=Options(batch_size=9, n_trials=4),
    )
    assert ranking.scores.influence_std is not None
    assert (ranking.scores.influence_std > 0).all()
    assert (ranking.scores.times_seen == 4).all()
    # Another order of the same rows: the scores agree, roughly.
    once = table.score().scores.times_seen == 1
    assert spearmanr(ranking.scores.influence[once], table.wanted(1)[once]).statistic > 0.9


def test_losses_and_predictions_are_those_of_the_final_parameters(table: Project):
    scores = table.score().scores
    parameters = table.final_parameters()
    reference = Reference(table.case.losses, parameters, table.case.trainable(parameters))
    arrays = table.arrays("training")
    np.testing.assert_allclose(
        scores.loss, reference.losses(reference.theta, arrays), rtol=1e-4, atol=1e-6
    )
    labels = np.arange(3.0)
    by_label = [
        np.asarray(
            reference.losses(reference.theta, {**arrays, "y": np.full_like(arrays["y"], label)})
        )
        for label in labels
    ]
    np.testing.assert_array_equal(scores.predicted, labels[np.argmin(by_label, axis=0)])


def test_a_whole_training_suggests_labels_and_a_last_epoch_none(table: Project):
    scores = table.score(options=Options(method="final", window="all")).scores
    parameters, arrays = table.final_parameters(), table.arrays("training")
    reference = Reference(table.case.losses, parameters, table.case.trainable(parameters))
    given, rows = arrays["y"][:, 0].astype(int), np.arange(45)

    def labelled(label):
        return {**arrays, "y": np.full_like(arrays["y"], label)}

    losses = np.stack([reference.losses(reference.theta, labelled(c)) for c in range(3)], axis=1)
    losses[rows, given] = np.inf
    np.testing.assert_array_equal(scores.suggested_label, losses.argmin(axis=1))
    influence = np.stack([table.wanted(3, relabelled=labelled(c)) for c in range(3)], axis=1)
    wanted = (influence - influence[rows, given][:, None])[rows, losses.argmin(axis=1)]
    got = scores.relabel_gain
    assert np.linalg.norm(got - wanted) < 1e-3 * np.linalg.norm(wanted)

    last = table.score().scores
    assert last.suggested_label is last.relabel_gain is None


def test_rows_that_the_window_never_saw_get_zero(table: Project):
    scores = table.score().scores
    steps = table.steps(1)
    seen = np.bincount(np.concatenate([rows for rows, _ in steps]), minlength=45)
    assert 0 in seen  # 5 batches of 8 cannot hold 45 rows
    np.testing.assert_array_equal(scores.times_seen, seen)
    np.testing.assert_array_equal(scores.influence == 0, seen == 0)


@pytest.mark.slow
def test_rows_with_a_label_below_0_are_ignored(tmp_path: Path):
    """They take part in each mini-batch, with a loss of 0, in training and in validation."""
    project = make_project(tmp_path, "mlp-softmax", 24, 8)
    for part in ("training", "validation"):
        path = tmp_path / f"{part}.csv"
        header, *lines = path.read_text().splitlines()
        assert header.endswith("y")
        lines[1::5] = [line.rpartition(",")[0] + ",-1" for line in lines[1::5]]
        path.write_text("\n".join([header, *lines]) + "\n")
    train(project.net, project.run, parameters=tmp_path / "net.h5", window="all", keep="all")
    own = project.case.losses

    def losses(parameters, inputs):
        labels = inputs["y"]
        return jnp.where(labels[:, 0] < 0, 0, own(parameters, {**inputs, "y": abs(labels)}))

    project.case = dataclasses.replace(project.case, losses=losses)
    ignored = project.arrays("training")["y"][:, 0] < 0
    for method in ("final", "exact"):
        got = project.score(options=Options(method=method, window="all")).scores
        assert (got.times_seen == 0).tolist() == ignored.tolist()
        assert (got.influence == 0).tolist() == ignored.tolist()
        assert not got.loss[ignored].any()
        assert not got.relabel_gain[ignored].any()
        if method == "final":
            wanted = project.wanted(3)
            assert np.linalg.norm(got.influence - wanted) < 1e-3 * np.linalg.norm(wanted)


def test_hand_written_run_without_settings(table: Project, tmp_path):
    """final.h5 and steps.csv alone: the model file names the solver."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("final.h5", "steps.csv"):
        (folder / name).write_bytes((table.run / name).read_bytes())
    np.testing.assert_array_equal(
        table.score(run=folder).scores.influence, table.score().scores.influence
    )


# --------------------------------------------------------------------- exact


def exact(training: Watched, run: Path, **options) -> Ranking:
    options = {"method": "exact", "window": "all", **options}
    return score(training.definition, run=run, options=Options(**options))


@pytest.mark.slow
def test_exact_scores_are_the_derivative_of_the_whole_training(trainings):
    """Through files and command; windows of all epochs and of the last ones."""
    training = trainings["momentum"]
    run = training.run("sqrt")
    definition = load_definition(training.definition)
    data, validation = arrays(training.training), arrays(training.folder / "valid.csv")
    whole = WholeTraining(
        *(mlp, training.seen_by_nnabla(0).parameters, definition.trainable),
        *(read_run(run).steps, data, validation, definition.solver),
    )
    by_epoch = whole.influence()
    # The sum over the epochs' contributions is the score of a window of them.
    for window in (1, 2, "all"):
        epochs = 3 if window == "all" else window
        wanted = by_epoch[3 - epochs :].sum(axis=0)
        got = exact(training, run, window=window).scores.influence
        assert np.linalg.norm(got - wanted) < 1e-3 * np.linalg.norm(wanted)
        assert spearmanr(got, wanted).statistic > 0.999


def test_permuted_rows_permute_the_scores(trainings, tmp_path):
    """A CSV in another order, with the run's row numbers to match: the same training."""
    training = trainings["momentum"]
    folder = shutil.copytree(training.run("all"), tmp_path / "run")
    order = np.random.default_rng(0).permutation(23)
    header, *lines = training.training.read_text().splitlines()
    other = tmp_path / "permuted.csv"
    other.write_text("\n".join([header, *(lines[row] for row in order)]) + "\n")
    place = np.argsort(order)
    run = read_run(training.run("all"))
    steps = [
        dataclasses.replace(step, batches=tuple(place[rows] for rows in step.batches))
        for step in run.steps
    ]
    write_steps(folder / "steps.csv", steps)
    write_settings(
        folder / "run.json", dataclasses.replace(run.settings, dataset_hash=file_hash(other))
    )
    options = Options(method="exact", window="all")
    got = score(training.definition, run=folder, train=other, options=options).scores
    wanted = exact(training, training.run("all")).scores
    np.testing.assert_array_equal(got.influence, wanted.influence[order])
    np.testing.assert_array_equal(got.times_seen, wanted.times_seen[order])


# --------------------------------------------------------------------- bad input


def test_learning_rate_zero_is_an_error(table: Project, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "final.h5").write_bytes((table.run / "final.h5").read_bytes())
    (folder / "steps.csv").write_text("step,epoch,learning_rate,rows\n0,0,0.0,1 2 3\n")
    with pytest.raises(ScoreError, match="learning rate"):
        table.score(run=folder)


def test_definition_without_parameters_or_run(table: Project):
    with pytest.raises(ModelError, match=r"net\.nntxt: .*parameters"):
        score(table.net)


def test_run_that_does_not_fit_the_data(table: Project, tmp_path):
    with pytest.raises(RunError, match=r"45 rows.*25"):
        table.score(train=table.folder / "validation.csv")


def test_validation_row_out_of_range(table: Project):
    with pytest.raises(DatasetError, match=r"validation\.csv: .*row 25"):
        table.score(options=Options(validation_rows=[25]))
    with pytest.raises(DatasetError, match=r"row 3 .*twice"):
        table.score(options=Options(validation_rows=[3, 1, 3]))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("method", "guess"),
        ("window", "first"),
        ("window", 0),
        ("window", True),
        ("chunk_size", 0),
        ("n_trials", 0),
        ("replay_budget", -1),
        ("validation_rows", []),
    ],
)
def test_a_wrong_option_is_named(option, value):
    with pytest.raises(InfluenceError, match=option):
        Options(**{option: value})


def test_run_and_parameters_exclude_each_other(table: Project):
    with pytest.raises(InfluenceError, match=r"run .*final\.h5"):
        table.score(parameters=table.run / "final.h5")


def test_ranking_in_place_of_the_dataset_is_refused_with_a_run(table: Project, tmp_path):
    folder = tmp_path / "run"  # without run.json: nothing says what it was recorded on
    folder.mkdir()
    for name in ("final.h5", "steps.csv"):
        (folder / name).write_bytes((table.run / name).read_bytes())
    table.score(output=tmp_path / "influence.csv")
    with pytest.raises(RunError, match=r"influence\.csv: is a ranking"):
        table.score(run=folder, train=tmp_path / "influence.csv")
    with pytest.raises(RunError, match=r"influence\.csv: is not the CSV"):
        table.score(train=tmp_path / "influence.csv")


def test_output_that_is_an_input_is_refused_before_the_work(table: Project, tmp_path):
    for name in ("training.csv", "validation.csv", "net.nntxt", "run/steps.csv", "run/run.json"):
        before = (table.folder / name).read_bytes()
        with pytest.raises(OutputError, match=name.rpartition("/")[2]):
            table.score(output=table.folder / name)
        assert (table.folder / name).read_bytes() == before
    ranking = tmp_path / "influence.csv"
    table.score(output=ranking)  # which another ranking may replace, if it is not read
    with pytest.raises(OutputError, match=r"influence\.csv: .*same file"):
        table.score(run=None, parameters=table.run / "final.h5", train=ranking, output=ranking)


def test_unwritable_output_is_refused_before_the_work(table: Project, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "load_definition", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(OutputError, match=r"influence\.csv"):
        table.score(output=tmp_path / "no" / "such" / "influence.csv")
