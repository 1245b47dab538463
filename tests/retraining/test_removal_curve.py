from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.device import cpu_device
from nnabla_influence.errors import DatasetError, InfluenceError, OutputError
from nnabla_influence.files import file_hash
from nnabla_influence.options import CurveOptions
from nnabla_influence.progress import SilentProgress
from nnabla_influence.retraining import removal_curve, tasks
from nnabla_influence.retraining.inputs import Config
from nnabla_influence.retraining.removal_curve import curve
from nnabla_influence.retraining.schedule import CurveSchedule
from tests.retraining.projects import write_project

pytestmark = pytest.mark.slow

SMALL = {"seeds": [0, 1], "removed": [5, 9], "rankings": ["final", "random"]}


def small(project, output: Path, *, csvs=(), device="cpu", jobs=1, progress=None, **options):
    """Compute a curve of two seeds, unless the options say something else."""
    return curve(
        project.model,
        **{**project.csvs, **dict(csvs)},
        output=output,
        options=CurveOptions(**{**SMALL, **options}),
        device=device,
        jobs=jobs,
        progress=progress,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("猫 curve"))


@pytest.fixture(scope="module")
def undisturbed(project):
    folder = project.model.parent / "undisturbed"
    small(project, folder)
    return folder


def table(folder: Path) -> bytes:
    """The bytes of results.csv but for the last column, the seconds."""
    lines = (folder / "results.csv").read_bytes().splitlines()
    return b"\n".join(line.rpartition(b",")[0] for line in lines)


def same_results(one: Path, other: Path) -> bool:
    names = ("summary.csv", "detection.csv")
    return table(one) == table(other) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def by_hand(project, folder: Path, seed: int, ranking: str, n: int, protocol: str):
    """Train, rank and retrain without a plan, a store or an executor."""
    config = Config(str(project.model), *map(str, project.csvs.values()), device="cpu")
    folder.mkdir()
    run, scores = str(folder / "run"), str(folder / "scores.npy")
    tasks.train_seed(config, seed, run)
    tasks.rank(config, seed, ranking, run, scores)
    return tasks.retrain(config, seed, protocol, run, scores, n)


@pytest.mark.parametrize(("seed", "ranking", "n"), [(1, "final", 9)])
def test_a_line_is_what_its_tasks_give_when_they_are_called_by_hand(
    project, undisturbed, tmp_path, seed, ranking, n
):
    expected = by_hand(project, tmp_path / "hand", seed, ranking, n, "all")
    with (undisturbed / "results.csv").open() as file:
        (line,) = (
            line
            for line in csv.DictReader(file)
            if (line["seed"], line["ranking"], line["n"]) == (str(seed), ranking, str(n))
        )

    assert float(line["accuracy"]) == expected.accuracy
    assert float(line["loss"]) == expected.loss
    assert (line["protocol"], line["batch_size"]) == ("all", "6")


def test_the_folder_has_what_repeats_the_figures(project, undisturbed):
    settings = json.loads((undisturbed / "settings.json").read_text("utf-8"))

    assert settings["plan"]["seeds"] == [0, 1]
    assert settings["plan"]["removed"] == [5, 9]
    assert (settings["solver"]["name"], settings["epochs"]) == ("Sgd", 3)
    assert settings["hashes"]["1"]["test"] == file_hash(project.test)
    assert (undisturbed / "model.nntxt").read_bytes() == project.model.read_bytes()
    assert settings["training"] == str(project.training)
    assert set(settings["versions"]) >= {"nnabla", "nnabla_influence", "numpy"}
    assert not (undisturbed / "runs").exists()
    assert {path.suffix for path in (undisturbed / "figures").iterdir()} == {".png", ".svg"}


def test_known_flips_are_counted(project, undisturbed):
    with (undisturbed / "detection.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["k"] == "9"]
    for line in lines:
        name = f"seed{line['seed']}-batch6-{line['ranking']}.npy"
        worst = np.argsort(np.load(undisturbed / "scores" / name), kind="stable")[:9]
        assert int(line["found"]) == project.flipped[worst].sum()
    assert len(lines) == 4


def test_the_second_call_computes_nothing_even_where_the_device_has_another_name(
    project, undisturbed, monkeypatch
):
    before = (undisturbed / "results.csv").read_bytes()
    for name in ("train_seed", "rank", "retrain"):
        monkeypatch.setattr(f"nnabla_influence.retraining.schedule.{name}", None)
    monkeypatch.setattr(removal_curve, "choose_device", lambda name: cpu_device("no GPU"))

    small(project, undisturbed, device="auto")

    assert (undisturbed / "results.csv").read_bytes() == before


def test_more_numbers_of_rows_add_to_what_is_there(project, tmp_path, monkeypatch):
    settings = {"seeds": [0], "rankings": ["random"]}
    small(project, tmp_path / "out", removed=[5], **settings)
    first = (tmp_path / "out" / "results.csv").read_bytes().splitlines()
    done = []
    finished = CurveSchedule.finished
    monkeypatch.setattr(
        CurveSchedule,
        "finished",
        lambda self, task, result: (done.append(task.name), finished(self, task, result)),
    )

    small(project, tmp_path / "out", **settings)

    assert done == ["seed 0, batch size 6: 9 rows by random removed"]
    assert set(first) < set((tmp_path / "out" / "results.csv").read_bytes().splitlines())


def test_worker_processes_give_the_same_table(project, undisturbed, tmp_path):
    small(project, tmp_path / "out", jobs=2)

    assert same_results(tmp_path / "out", undisturbed)


KILLED = """
import os, signal, sys
from nnabla_influence.commands.main import main
from nnabla_influence.retraining import removal_curve
from nnabla_influence.retraining.schedule import CurveSchedule
finished = CurveSchedule.finished
def killed(self, task, result):
    finished(self, task, result)
    if self.n_finished:
        os.kill(os.getpid(), signal.SIGKILL)
def killed_drawing(folder, *_):
    (folder / "accuracy_all.png").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv.pop(1) == "drawing":
    removal_curve.write_figures = killed_drawing
else:
    CurveSchedule.finished = killed
main(sys.argv[1:])
"""


def test_a_curve_that_was_killed_goes_on_to_the_same_table(project, undisturbed, tmp_path):
    out = tmp_path / "out"
    options = [*("-m", project.model), *("-o", out), *("-t", project.training)]
    options += [*("-v", project.validation), *("-e", project.test), *("-n", "5,9")]
    options += [*("--seeds", "0-1"), *("--rankings", "final,random"), *("--device", "cpu")]
    words = ["curve", *map(str, options)]
    for when in ("training", "drawing"):
        command = [sys.executable, "-c", KILLED, when, *words]
        killed = subprocess.run(command, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert list(out.glob("cells/seed*.json"))
        assert (out / "results.csv").exists() == (when == "drawing")
    assert list(out.rglob("*.nnabla_influence_*"))

    command = [sys.executable, "-m", "nnabla_influence", *words]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr

    assert same_results(out, undisturbed)
    assert not list(out.rglob("*.nnabla_influence_*"))
    assert "retrainings are already finished" in completed.stderr
    assert "no removal" in completed.stdout.lower()


def test_the_test_csv_has_no_part_in_any_ranking(project, undisturbed, tmp_path):
    other = tmp_path / "other.csv"
    lines = project.test.read_text().splitlines()
    other.write_text("\n".join([lines[0], *lines[5:40]]) + "\n")

    small(project, tmp_path / "out", csvs={"test": other})

    for path in (undisturbed / "scores").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / "scores" / path.name).read_bytes()
    assert table(tmp_path / "out") != table(undisturbed)


def test_each_seed_may_have_its_own_csvs(project, undisturbed, tmp_path):
    lines = project.training.read_text().splitlines()
    (tmp_path / "training0.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "training1.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    own = {"train": tmp_path / "training{seed}.csv"}

    computed = small(project, tmp_path / "out", csvs=own, rankings=["random"], removed=[5])

    with (undisturbed / "results.csv").open() as file:
        shared = {line["seed"]: line["loss"] for line in csv.DictReader(file) if line["n"] == "0"}
    plain = computed.results[computed.results["n"] == 0]
    losses = {str(seed): repr(float(loss)) for seed, loss in zip(plain["seed"], plain["loss"])}
    assert losses["0"] == shared["0"]
    assert losses["1"] != shared["1"]


def test_csvs_of_other_lengths_are_refused(project, tmp_path):
    lines = project.training.read_text().splitlines()
    for seed in (0, 1):
        (tmp_path / f"training{seed}.csv").write_text("\n".join(lines[: 61 - seed]) + "\n")
    with pytest.raises(DatasetError, match=r"training1\.csv: has 59 rows"):
        small(project, tmp_path / "out", csvs={"train": tmp_path / "training{seed}.csv"})


def test_other_data_in_the_same_folder_are_refused_and_nothing_is_lost(
    project, undisturbed, tmp_path
):
    before = (undisturbed / "results.csv").read_bytes()
    other = tmp_path / "other.csv"
    other.write_text(project.training.read_text().replace(",0", ",1", 1))

    with pytest.raises(OutputError, match=r"seed0.*\.json"):
        small(project, undisturbed, csvs={"train": other})

    assert (undisturbed / "results.csv").read_bytes() == before


def test_a_refusal_leaves_nothing_behind(project, tmp_path):
    with pytest.raises(InfluenceError, match="60 rows"):
        small(project, tmp_path / "out", removed=[60])
    assert os.listdir(tmp_path) == []


def test_what_fails_is_told_and_what_succeeds_is_kept(project, tmp_path, monkeypatch):
    said = []

    class Progress(SilentProgress):
        def say(self, message):
            said.append(message)

    def fails(config, seed, ranking, run, output):
        if ranking == "final" and seed == 1:
            raise InfluenceError("the trace diverges")
        return tasks.rank(config, seed, ranking, run, output)

    monkeypatch.setattr("nnabla_influence.retraining.schedule.rank", fails)
    with pytest.raises(InfluenceError, match=r"3 of 16 tasks failed, .*scores by final: the trace"):
        small(project, tmp_path / "out", progress=Progress())

    assert sum(line.startswith("Failed: seed 1, batch size 6: ") for line in said) == 3
    assert not (tmp_path / "out" / "results.csv").exists()
    monkeypatch.undo()
    small(project, tmp_path / "out")
    assert (tmp_path / "out" / "runs").exists() is False


def test_a_file_that_changes_meanwhile_is_noticed(project, tmp_path, monkeypatch):
    test = tmp_path / "test.csv"
    test.write_bytes(project.test.read_bytes())
    finished = CurveSchedule.finished

    def then_changed(self, task, result):
        finished(self, task, result)
        if "nothing removed" in task.name:
            test.write_text("\n".join(project.test.read_text().splitlines()[:4]) + "\n")

    monkeypatch.setattr(CurveSchedule, "finished", then_changed)
    with pytest.raises(InfluenceError, match=r"test\.csv: has changed"):
        small(project, tmp_path / "out", csvs={"test": test}, seeds=[0], rankings=["random"])

    assert not (tmp_path / "out" / "results.csv").exists()


def test_damaged_scores_are_made_again(project, tmp_path):
    settings = {"seeds": [0], "rankings": ["loss"]}
    small(project, tmp_path / "out", **settings)
    first = table(tmp_path / "out")
    (scores,) = (tmp_path / "out" / "scores").iterdir()
    before = scores.read_bytes()
    np.save(scores, np.zeros(60))

    small(project, tmp_path / "out", **settings)

    assert scores.read_bytes() == before
    assert table(tmp_path / "out") == first
