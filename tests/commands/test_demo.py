"""The demo on fewer digits and a shorter training; every figure it prints is counted again."""

from __future__ import annotations

import csv
import os
import re
import shlex
from pathlib import Path

import pytest

import nnabla_influence.commands.demonstration as demo
from network_defs.samples import Training, lenet, write_definition, write_digits
from nnabla_influence.commands.main import main
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import OutputError
from nnabla_influence.progress import SilentProgress

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """Let the demo take 310 digits and train one epoch; return the folder to run it in."""
    (tmp_path / "definitions").mkdir()
    write_definition(
        tmp_path / "definitions" / "lenet.nntxt",
        lenet((1, 28, 28), 10),
        Training(n_rows=310, epochs=1, learning_rate=0.05),
    )
    monkeypatch.setattr(demo, "network_defs_folder", lambda: tmp_path / "definitions")
    monkeypatch.setattr(
        demo,
        "write_digits",
        lambda folder, flipped: write_digits(
            folder, n_training=310, n_validation=60, flipped=flipped
        ),
    )
    folder = tmp_path / "work here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_demo_counts_what_it_finds(small: Path, capsys):
    main(["demo", "-o", "デモ 1"])
    out = capsys.readouterr().out
    folder = small / "デモ 1"
    assert {entry.name for entry in folder.iterdir()} == {
        "digits",
        "lenet.nntxt",
        "run",
        "influence.csv",
        "review.html",
    }
    ranked = read(folder / "influence.csv")
    wrong = [row["y:label"] != row["#true_label"] for row in ranked]
    assert (len(ranked), sum(wrong)) == (310, 31)
    assert "Data: 310 digits to train on, 31 of them with a wrong label, 60 right ones" in out
    assert "(chance: 10%;" in out
    said = re.findall(r"^ +(\d+) of the first +(\d+) +(\d+)% +\(by loss: \d+\)$", out, re.MULTILINE)
    assert [int(count) for _, count, _ in said] == [50, 100, 31]
    for found, count, percent in said:
        assert int(found) == sum(wrong[: int(count)])
        assert int(percent) == round(100 * int(found) / int(count))

    # The commands that it names at its end can be copied.
    shown = [line for line in out.splitlines() if line.startswith("  nnabla-influence ")]
    train, score, review, cleanse = (
        shlex.split(line.replace("RUN", "'デモ 1/run'"))[1:] for line in shown
    )
    assert train == ["train", "-m", "デモ 1/lenet.nntxt", "-o", "デモ 1/run"]
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


def test_a_folder_of_somebody_else_is_left_alone(small: Path):
    (small / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds mine\.txt"):
        next(demo.run_demo(small, device="cpu", progress=SilentProgress()))
    with pytest.raises(OutputError, match=r"mine\.txt"):
        next(demo.run_demo(small / "mine.txt", device="cpu", progress=SilentProgress()))
    assert os.listdir(small) == ["mine.txt"]
