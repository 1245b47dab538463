"""The demo on fewer digits and a shorter training."""

from __future__ import annotations

import csv
import os
import shlex
from pathlib import Path

import numpy as np
import pytest

import nnabla_influence.commands.demonstration as demo
from nnabla_influence.advice.trainings import Judged
from nnabla_influence.commands.main import build_parser, main
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import OutputError
from nnabla_influence.options import AdviceOptions
from nnabla_influence.progress import SilentProgress

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """Let the demo take 310 digits and train two epochs; return the folder to run it in."""
    monkeypatch.setattr(demo, "ROWS", {"n_training": 310, "n_validation": 60, "n_test": 80})
    monkeypatch.setattr(demo, "EPOCHS", 2)
    monkeypatch.setattr(demo, "OPTIONS", AdviceOptions(trainings=2, retrainings=2))
    monkeypatch.setattr(demo, "FRESH", range(100, 102))
    monkeypatch.setattr(demo, "JOBS", 1)
    folder = tmp_path / "work here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_demo_says_what_it_finds(small: Path, capsys):
    main(["demo", "-o", "デモ 1"])
    out = capsys.readouterr().out
    folder = small / "デモ 1"
    assert {entry.name for entry in folder.iterdir()} == {
        "digits",
        "lenet.nntxt",
        "run",
        "influence.csv",
        "review.html",
        "advice",
    }
    ranked = read(folder / "influence.csv")
    wrong = sum(row["y:label"] != row["#true_label"] for row in ranked)
    assert len(ranked) == 310
    assert f"Data: 310 digits to train on, {wrong} of them with a wrong label" in out

    # The commands that it names at its end can be copied.
    shown = [line for line in out.splitlines() if line.startswith("  nnabla-influence ")]
    parts = folder / "digits"
    names = {
        "RUN": folder / "run",
        "TRAIN.csv": parts / "training.csv",
        "VALIDATION.csv": parts / "validation.csv",
    }
    advise, _, train, score, review, cleanse = (
        [str(names.get(word, word)) for word in shlex.split(line)[1:]] for line in shown
    )
    assert advise[:3] == ["advise", "-m", "デモ 1/lenet.nntxt"]
    build_parser().parse_args(advise)
    assert train == ["train", "-m", "デモ 1/lenet.nntxt", "-o", str(folder / "run")]
    main(score)
    again = read(small / "influence.csv")
    assert [row["influence"] for row in again] == [row["influence"] for row in ranked]
    main(review)
    assert (small / "review.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    harmful = [row["datasource_index"] for row in again[:50]]
    decisions = "\n".join(["datasource_index,decision", *(f"{row},remove" for row in harmful)])
    (small / "decisions.csv").write_text(decisions)
    main(cleanse)
    assert len(read(small / "clean.csv")) == len(ranked) - 50
    # The folder can be moved as a whole.
    moved = folder.rename(small / "moved")
    definition = load_definition(moved / "lenet.nntxt")
    assert definition.training is not None
    assert definition.training.path.samefile(moved / "digits" / "training.csv")


def judged(n_right: int) -> list[Judged]:
    """Two trainings, each right in as many of 100 rows."""
    right = np.arange(100) < n_right
    return [Judged(right.astype(float), np.zeros(100), np.zeros(100))] * 2


@pytest.mark.parametrize(
    ("n_right", "said"),
    [(90, "ahead of"), (72, "not clearly different from"), (40, "behind")],
)
def test_the_demo_claims_only_what_it_measured(n_right: int, said: str):
    others = {demo.UNCHANGED: 60, demo.LOSS: 70, demo.RANDOM: 50}
    found = {name: judged(n) for name, n in {**others, demo.ADVICE: n_right}.items()}
    *table, last = demo.proof(found)
    assert f"  {n_right}.0% " in "".join(table)
    assert last.startswith(f"The advice is {said} the best of the others ({demo.LOSS}): ")
    assert f"{n_right - 70:+.1f} points" in last


def test_a_folder_of_somebody_else_is_left_alone(small: Path):
    (small / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds mine\.txt"):
        next(demo.run_demo(small, device="cpu", progress=SilentProgress()))
    with pytest.raises(OutputError, match=r"mine\.txt"):
        next(demo.run_demo(small / "mine.txt", device="cpu", progress=SilentProgress()))
    assert os.listdir(small) == ["mine.txt"]
