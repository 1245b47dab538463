"""The examples run, and do what they say."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_projects import REPOSITORY

pytestmark = pytest.mark.slow


def run_example(name: str, *arguments: object) -> str:
    script = REPOSITORY / "examples" / f"{name}.py"
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("an example")


@pytest.fixture(scope="module")
def exact(folder: Path) -> str:
    return run_example("exact_scores", folder)


def test_exact_scores_find_more_wrong_labels_than_chance(exact: str, folder: Path) -> None:
    found = int(exact.splitlines()[-1].split()[0])
    assert found > 50  # of 100; 10 by chance
    assert (folder / "influence.csv").exists()


def test_acting_on_a_ranking_removes_and_relabels(exact: str, folder: Path) -> None:
    run_example("act_on_a_ranking", folder / "influence.csv", folder / "clean")
    with (folder / "clean" / "decisions.csv").open(newline="") as file:
        decisions = [row["decision"] for row in csv.DictReader(file)]
    assert len(decisions) == 20
    with (folder / "clean" / "clean.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3000 - decisions.count("remove")


def test_a_recorded_loop_is_scored(folder: Path) -> None:
    found = int(run_example("record_a_loop", folder / "loop").splitlines()[-1].split()[0])
    assert found > 30  # of 100; 10 by chance
