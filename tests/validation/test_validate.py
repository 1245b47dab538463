"""From definition, run and rankings to the result, against retraining in float64 JAX."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnabla_influence import Options, score, train
from nnabla_influence.cli import main
from nnabla_influence.errors import DatasetError, InfluenceError, OutputError, RunError
from nnabla_influence.run import read_run
from nnabla_influence.validation import Sample, validate
from tests.cases import CASES, write_csv
from tests.reference import Reference
from tests.small_projects import REPOSITORY, environment

CASE = {case.name: case for case in CASES}["mlp-softmax"]
N, BATCH, EPOCHS = 45, 8, 4
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class Project:
    folder: Path

    @property
    def net(self) -> Path:
        return self.folder / "net.nntxt"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def validate(self, **arguments):
        arguments = {"run": self.run, "scores": self.folder / "exact last.csv", **arguments}
        return validate(self.net, **arguments)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        values = np.loadtxt(self.folder / f"{name}.csv", delimiter=",", skiprows=1)
        return {"x": values[:, :5], "y": values[:, 5:]}

    def true_loss(self, first_epoch: int, left_out: Collection[int] = ()) -> float:
        """The mean validation loss, retrained in float64 from the steps.csv alone."""
        train, reference = self.arrays("training"), self.reference
        with (self.run / "steps.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        theta = reference.theta
        for line in lines:
            rows = np.array([int(row) for row in line["rows"].split()])
            gone = left_out if int(line["epoch"]) >= first_epoch else ()
            weights = np.array([row not in gone for row in rows]) / len(rows)
            batch = {k: v[rows] for k, v in train.items()}
            rate = float(line["learning_rate"])
            theta = reference.update(theta, batch, weights, rate, WEIGHT_DECAY)
        return float(reference.mean_loss(theta, self.arrays("validation")))

    @cached_property
    def reference(self) -> Reference:
        values: dict[str, np.ndarray] = {}
        with h5py.File(self.folder / "net.h5") as file:
            file.visititems(
                lambda name, item: (
                    values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        return Reference(CASE.losses, values, CASE.trainable(values))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Trained by nnabla_cli from given parameters, 5 batches of 8 of the 45 rows an epoch."""
    folder = tmp_path_factory.mktemp("検証 project")
    rng = np.random.default_rng(9)
    teacher = rng.normal(size=(5, 3))
    for part, n in (("training", N), ("validation", 30)):
        x = rng.normal(size=(n, 5)).astype(np.float32)
        y = (x @ teacher + rng.gumbel(size=(n, 3))).argmax(1)[:, None]
        write_csv(folder / f"{part}.csv", {"x": x, "y": y})
    CASE.save_definition(
        folder,
        batch_size=BATCH,
        weight_decay=WEIGHT_DECAY,
        iter_per_epoch=N // BATCH,
        max_epoch=EPOCHS,
    )
    start = folder / "net.h5"
    train(folder / "net.nntxt", folder / "run", parameters=start, window="all", keep="sqrt")
    for window in ("last", "all"):
        score(
            folder / "net.nntxt",
            run=folder / "run",
            output=folder / f"exact {window}.csv",
            options=Options(window=window, method="exact"),
        )
    return Project(folder)


@pytest.mark.parametrize(
    ("window", "first_epoch", "words"),
    [
        ("last", EPOCHS - 1, "redo the last epoch without it"),
        (2, EPOCHS - 2, "redo the last 2 epochs without it"),
        ("all", 0, "retrain without it"),
    ],
)
def test_agrees_with_retraining_in_float64(project: Project, window, first_epoch, words):
    got = project.validate(window=window, sample=Sample(rows=12, subsets=4))
    assert got.question.words == words
    assert (got.base.difference, got.base.noise) == (0, 0)
    before = project.true_loss(first_epoch)
    assert got.base.loss == pytest.approx(before, rel=1e-5)
    wanted = [project.true_loss(first_epoch, [row]) - before for row in got.rows]
    assert np.linalg.norm(got.row_changes - wanted) < 2e-3 * np.linalg.norm(wanted)
    subsets = [project.true_loss(first_epoch, rows) - before for rows in got.subsets]
    assert np.linalg.norm(got.subset_changes - subsets) < 2e-3 * np.linalg.norm(subsets)


def test_each_ranking_answers_its_own_question_best(project: Project):
    names = ["exact last", "exact all"]
    rankings = [project.folder / f"{name}.csv" for name in names]
    sample = Sample(rows=None, subsets=30)
    for window, own, other in (("last", *names), ("all", *reversed(names))):
        got = project.validate(window=window, scores=rankings, sample=sample)
        rows, subsets = got.row_agreements, got.subset_agreements
        assert rows[own].slope == pytest.approx(1, abs=0.1)
        assert abs(rows[other].slope - 1) > 0.5
        assert rows[own].kendall_tau > rows[other].kendall_tau
        assert subsets[own].lds > subsets[other].lds
        assert any(f"{other}.csv: was scored on another window" in note for note in got.notes)
        assert not any(f"{own}.csv" in note for note in got.notes)


def test_rows_that_the_window_never_saw_are_not_sampled(project: Project):
    got = project.validate(sample=Sample(subsets=0))
    with (project.run / "steps.csv").open(newline="") as file:
        last = [line for line in csv.DictReader(file) if int(line["epoch"]) == EPOCHS - 1]
    seen = {int(row) for line in last for row in line["rows"].split()}
    assert len(seen) < N
    assert set(got.rows) == seen
    note = f"{N - len(seen)} rows are not seen in the window"
    assert any(note in line for line in got.table())


def test_validation_rows_ask_about_their_loss_alone(project: Project):
    got = project.validate(validation_rows=[7], sample=Sample(rows=2, subsets=0))
    theta = read_run(project.run).parameters()
    reference = Reference(CASE.losses, theta, CASE.trainable(theta))
    validation = {k: v[[7]] for k, v in project.arrays("validation").items()}
    assert got.base.loss == pytest.approx(
        float(reference.mean_loss(reference.theta, validation)), rel=1e-4
    )


def test_scores_in_memory(project: Project, tmp_path: Path):
    """What a script calls: the truth itself as the scores, and reversed."""
    truth = project.validate(sample=Sample(subsets=0))
    scores = np.zeros(N)
    scores[truth.rows] = truth.row_changes
    got = project.validate(
        scores={"truth": scores, "reversed": -scores}, sample=Sample(rows=20, subsets=0)
    )
    assert got.row_agreements["truth"].kendall_tau == pytest.approx(1)
    assert got.row_agreements["reversed"].kendall_tau == pytest.approx(-1)


def test_a_run_that_the_retraining_does_not_reproduce(project: Project, tmp_path: Path):
    """final.h5 that is a bit off: said, and the redone training is compared with."""
    shutil.copytree(project.run, tmp_path / "run")
    with h5py.File(tmp_path / "run" / "final.h5", "r+") as file:
        file["out/affine/b"][0] += 0.25
    exact = project.validate(sample=Sample(rows=3, subsets=0))
    got = project.validate(run=tmp_path / "run", sample=Sample(rows=3, subsets=0))
    assert got.base.difference == pytest.approx(0.25, rel=1e-6)
    assert got.base.noise == 0
    assert got.base.final_loss != got.base.loss == exact.base.loss
    np.testing.assert_array_equal(got.row_changes, exact.row_changes)
    assert "does NOT give the run's final parameters: they differ by up to 0.25" in got.base.words


# --------------------------------------------------------------------- the command


def command(capsys, *arguments: object) -> tuple[int, str, str]:
    code: object = 0
    try:
        main(["validate", *map(str, arguments)])
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    return (1, out, err + code) if isinstance(code, str) else (int(code or 0), out, err)


def test_the_command_writes_the_folder_and_prints_the_table(project, tmp_path, capsys):
    output = tmp_path / "結果"
    words = ["-m", project.net, "--run", project.run, "-i", project.folder / "exact last.csv"]
    more = ["--rows", 10, "--subsets", 6, "--leave", 3, "--seed", 4, "--window", 2]
    code, out, _ = command(capsys, *words, "-o", output, *more, "--device", "cpu")
    assert code == 0
    wanted = project.validate(sample=Sample(10, 6, 3, 4), window=2)
    assert out.splitlines() == list(wanted.table())
    assert {entry.name for entry in tmp_path.iterdir()} == {"結果"}
    assert {p.name for p in output.iterdir()} == {
        "result.json",
        "scatter.png",
        "subsets.csv",
        "truth.csv",
    }
    result = json.loads((output / "result.json").read_text("utf-8"))
    assert result["settings"]["command"].startswith("nnabla-influence validate -m ")
    assert result["settings"]["sample"] == {
        "rows": 10,
        "subsets": 6,
        "leave": 3,
        "seed": 4,
        "retest": True,
    }
    assert result["question"] == "redo the last 2 epochs without it"


KILLED = """
import os, signal, sys
from nnabla_influence.validation import Sample, validate
from nnabla_influence.validation.journal import Journal
add = Journal.add
def killed(self, key, loss):
    add(self, key, loss)
    if len(self.done) == 7:
        os.kill(os.getpid(), getattr(signal, sys.argv[5]))
Journal.add = killed
validate(sys.argv[1], run=sys.argv[2], scores=sys.argv[3], output=sys.argv[4],
         sample=Sample(rows=10, subsets=5))
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_an_interrupted_validation_goes_on(project, tmp_path, monkeypatch, end):
    from nnabla_influence.validation.retraining import Retraining

    ranking = project.folder / "exact last.csv"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, project.net, project.run, ranking, tmp_path / "out", end],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
    )
    assert killed.returncode != 0
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.partial"}
    sample = Sample(rows=10, subsets=5)
    project.validate(output=tmp_path / "whole", sample=sample)
    calls, without = [], Retraining.without
    monkeypatch.setattr(
        Retraining, "without", lambda self, *key: calls.append(key) or without(self, *key)
    )
    project.validate(output=tmp_path / "out", sample=sample)
    assert len(calls) == 2 * 15 - 7
    assert {entry.name for entry in tmp_path.iterdir()} == {"out", "whole"}
    for name in ("result.json", "truth.csv", "subsets.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_commands_import_neither_scipy_nor_matplotlib():
    code = (
        "import sys; from nnabla_influence.cli import main, build_parser\n"
        "import nnabla_influence.scoring, nnabla_influence.training\n"
        "build_parser().parse_args(['validate', '-m', 'a', '--run', 'b', '-i', 'c', '-o', 'd'])\n"
        "assert 'matplotlib' not in sys.modules\n"
        "assert not [m for m in sys.modules if m.startswith('nnabla_influence.validation')]\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=environment(PYTHONPATH=str(REPOSITORY)), check=True
    )


# --------------------------------------------------------------------- bad input


@pytest.mark.parametrize("leave", ["0", "1.5", "nan", "-3", "a"])
def test_leave_out_of_range_is_wrong_usage(project, tmp_path, capsys, leave):
    words = ["-m", project.net, "--run", project.run, "-i", project.folder / "exact last.csv"]
    code, _, err = command(capsys, *words, "-o", tmp_path / "out", f"--leave={leave}")
    assert code == 2
    assert "whole number from 1" in err or "nor a fraction between 0 and 1" in err


def test_a_run_without_moments(project: Project, tmp_path: Path):
    shutil.copytree(project.run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    run = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    (tmp_path / "run" / "run.json").write_text(json.dumps({**run, "keep": "final"}), "utf-8")
    with pytest.raises(RunError, match=r"keeps no parameters from before step 15.*--keep sqrt"):
        project.validate(run=tmp_path / "run", output=tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"sample": Sample(rows=46)}, InfluenceError, "46 rows were asked .* saw 32 only"),
        ({"sample": Sample(leave=0.001)}, InfluenceError, "leave 0.001 of the 32 rows .* no row"),
        ({"window": 9}, RunError, "a window of 9 epochs was asked for"),
        ({"window": "first"}, InfluenceError, "window 'first' is not last"),
        ({"validation_rows": [30]}, DatasetError, "has no row 30; its 30 rows"),
        ({"scores": "gone.csv"}, DatasetError, r"gone\.csv: does not exist"),
    ],
)
def test_bad_input_leaves_nothing_behind(project, tmp_path, arguments, kind, message):
    with pytest.raises(kind, match=message):
        project.validate(output=tmp_path / "out", **arguments)
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_told_before_the_work(project, tmp_path):
    (tmp_path / "out").write_text("kept")
    with pytest.raises(OutputError, match="out: is a file; give the name of a folder"):
        validate("no such model", run="no run", scores="none", output=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "kept"
