from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.curves import experiment, tasks
from nnabla_influence.curves.experiment import curve
from nnabla_influence.curves.plan import Training
from nnabla_influence.curves.problem import Problem
from nnabla_influence.errors import DatasetError, InfluenceError, OutputError
from tests.curves.projects import write_project

SMALL = {"seeds": [0, 1], "removed": [5, 9], "rankings": ["final", "random"], "device": "cpu"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("猫 curve"))


@pytest.fixture(scope="module")
def undisturbed(project):
    folder = project.model.parent / "undisturbed"
    curve(project.model, **project.csvs, output=folder, **SMALL)
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
    problem = Problem(str(project.model), *map(str, project.csvs.values()), device="cpu")
    folder.mkdir()
    run, scores = str(folder / "run"), str(folder / "scores.npy")
    tasks.train_seed(problem, seed, run)
    tasks.rank(problem, seed, ranking, run, scores)
    return tasks.retrain(problem, seed, protocol, run, scores, n)


@pytest.mark.parametrize(("seed", "ranking", "n"), [(0, "final", 9), (1, "random", 5)])
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


def test_every_seed_draws_another_training_and_the_same_one_each_time(undisturbed):
    with (undisturbed / "results.csv").open() as file:
        plain = {line["seed"]: line["loss"] for line in csv.DictReader(file) if line["n"] == "0"}

    assert len(plain) == len(set(plain.values())) == 2


def test_the_folder_has_what_repeats_the_figures(project, undisturbed):
    settings = json.loads((undisturbed / "settings.json").read_text("utf-8"))

    assert settings["plan"]["seeds"] == [0, 1]
    assert settings["plan"]["removed"] == [5, 9]
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


def test_the_second_call_does_nothing_twice(project, undisturbed, monkeypatch):
    before = (undisturbed / "results.csv").read_bytes()
    for name in ("train_seed", "rank", "retrain"):
        monkeypatch.setattr(f"nnabla_influence.curves.schedule.{name}", None)

    curve(project.model, **project.csvs, output=undisturbed, **SMALL)

    assert (undisturbed / "results.csv").read_bytes() == before


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_curve_that_was_stopped_goes_on_to_the_same_table(
    project, undisturbed, tmp_path, monkeypatch, after
):
    finished = experiment.Schedule.finished
    done = []

    def stop(self, task, result):
        finished(self, task, result)
        done.append(task.name)
        if len(done) == after:
            raise StoppedError

    monkeypatch.setattr(experiment.Schedule, "finished", stop)
    with pytest.raises(StoppedError):
        curve(project.model, **project.csvs, output=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out" / "results.csv").exists()

    curve(project.model, **project.csvs, output=tmp_path / "out", **SMALL)

    assert same_results(tmp_path / "out", undisturbed)
    assert len(done) == len(set(done)) == 2 * (1 + 2 + 1 + 2 * 2)


def test_more_numbers_of_rows_add_to_what_is_there(project, tmp_path, monkeypatch):
    settings = {**SMALL, "seeds": [0], "rankings": ["random"]}
    curve(project.model, **project.csvs, output=tmp_path / "out", **{**settings, "removed": [5]})
    first = (tmp_path / "out" / "results.csv").read_bytes().splitlines()
    done = []
    finished = experiment.Schedule.finished
    monkeypatch.setattr(
        experiment.Schedule,
        "finished",
        lambda self, task, result: (done.append(task.name), finished(self, task, result)),
    )

    curve(project.model, **project.csvs, output=tmp_path / "out", **settings)

    assert done == ["seed 0, batch size 6: 9 rows by random removed"]
    assert set(first) < set((tmp_path / "out" / "results.csv").read_bytes().splitlines())


def test_worker_processes_give_the_same_table(project, undisturbed, tmp_path):
    curve(project.model, **project.csvs, output=tmp_path / "out", jobs=2, **SMALL)

    assert same_results(tmp_path / "out", undisturbed)


def test_a_curve_that_was_killed_goes_on_to_the_same_table(project, undisturbed, tmp_path):
    out = tmp_path / "out"
    options = [*("-m", project.model), *("-o", out), *("-t", project.training)]
    options += [*("-v", project.validation), *("-e", project.test), *("-n", "5,9")]
    options += [*("--seeds", "0-1"), *("--rankings", "final,random"), *("--device", "cpu")]
    command = [sys.executable, "-m", "nnabla_influence", "curve", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("cells/*removed*.json"))) < 1:
        if len(list(out.glob("cells/*.json"))) >= 5:
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = set(out.glob("cells/*.json"))
    assert kept
    assert not (out / "results.csv").exists()

    completed = subprocess.run(command, capture_output=True, text=True, check=True)

    assert same_results(out, undisturbed)
    assert "cells are there already" in completed.stderr
    assert "no removal" in completed.stdout.lower()


def test_the_test_csv_has_no_part_in_any_ranking(project, undisturbed, tmp_path):
    other = tmp_path / "other.csv"
    lines = project.test.read_text().splitlines()
    other.write_text("\n".join([lines[0], *lines[5:40]]) + "\n")

    curve(project.model, **{**project.csvs, "test": other}, output=tmp_path / "out", **SMALL)

    for path in (undisturbed / "scores").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / "scores" / path.name).read_bytes()
    assert table(tmp_path / "out") != table(undisturbed)


def test_each_seed_may_have_its_own_csvs(project, undisturbed, tmp_path):
    lines = project.training.read_text().splitlines()
    (tmp_path / "training0.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "training1.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    own = {**project.csvs, "training": tmp_path / "training{seed}.csv"}
    settings = {**SMALL, "rankings": ["random"], "removed": [5]}

    computed = curve(project.model, **own, output=tmp_path / "out", **settings)

    with (undisturbed / "results.csv").open() as file:
        shared = {line["seed"]: line["loss"] for line in csv.DictReader(file) if line["n"] == "0"}
    losses = {str(cell.seed): repr(cell.loss) for cell in computed.cells if cell.n == 0}
    assert losses["0"] == shared["0"]
    assert losses["1"] != shared["1"]


def test_csvs_of_other_lengths_are_refused(project, tmp_path):
    lines = project.training.read_text().splitlines()
    (tmp_path / "training0.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "training1.csv").write_text("\n".join(lines[:-1]) + "\n")
    own = {**project.csvs, "training": tmp_path / "training{seed}.csv"}

    with pytest.raises(DatasetError, match=r"training1.csv: has 59 rows, and that of seed 0 has"):
        curve(project.model, **own, output=tmp_path / "out", **SMALL)


def test_other_data_in_the_same_folder_are_refused_and_nothing_is_lost(
    project, undisturbed, tmp_path
):
    before = (undisturbed / "results.csv").read_bytes()
    other = tmp_path / "other.csv"
    other.write_text(project.training.read_text().replace(",0", ",1", 1))

    with pytest.raises(OutputError, match="was computed from another definition, other data"):
        curve(project.model, **{**project.csvs, "training": other}, output=undisturbed, **SMALL)

    assert (undisturbed / "results.csv").read_bytes() == before


def test_more_rows_than_there_are_are_refused_and_nothing_is_left(project, tmp_path):
    with pytest.raises(InfluenceError, match="60 rows cannot be removed from a training CSV of 60"):
        curve(project.model, **project.csvs, output=tmp_path / "out", **{**SMALL, "removed": [60]})

    assert os.listdir(tmp_path) == []


def test_what_fails_is_told_and_what_succeeds_is_kept(project, tmp_path, monkeypatch):
    said = []

    class Progress(experiment.SilentProgress):
        def say(self, message):
            said.append(message)

    def fails(problem, seed, ranking, run, output):
        if ranking == "final" and seed == 1:
            raise InfluenceError("the trace diverges")
        return tasks.rank(problem, seed, ranking, run, output)

    monkeypatch.setattr("nnabla_influence.curves.schedule.rank", fails)
    with pytest.raises(InfluenceError, match=r"3 of 16 tasks failed, .*scores by final: the trace"):
        curve(project.model, **project.csvs, output=tmp_path / "out", progress=Progress(), **SMALL)

    assert sum(line.startswith("Failed: seed 1, batch size 6: ") for line in said) == 3
    assert not (tmp_path / "out" / "results.csv").exists()
    monkeypatch.undo()
    curve(project.model, **project.csvs, output=tmp_path / "out", **SMALL)
    assert (tmp_path / "out" / "runs").exists() is False


def test_trainings_are_named_for_files():
    assert Training(3, 32).key == "seed3-batch32"
