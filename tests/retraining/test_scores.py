"""Rankings and arrays: each row's score, and refusals of another CSV's."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.dataset import Dataset, open_dataset
from nnabla_influence.errors import DatasetError, ScoreError
from nnabla_influence.ranking import Ranking, Scores
from nnabla_influence.retraining.scores import read_scores

N = 12
SEEN = np.arange(N) % 3


@pytest.fixture
def train(tmp_path: Path) -> Dataset:
    (tmp_path / "images").mkdir()
    lines = ["x:image,y:label,# name"]
    for row in range(N):
        (tmp_path / "images" / f"{row}.png").write_bytes(b"")
        lines.append(f"images/{row}.png,{row % 3},row {row}")
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    return open_dataset(tmp_path / "train.csv", [])


@pytest.fixture
def ranking(train: Dataset, tmp_path: Path) -> Path:
    """A ranking in another folder, so that its paths are other ones."""
    path = tmp_path / "scored" / "influence.csv"
    path.parent.mkdir()
    scores = Scores(np.random.default_rng(0).normal(size=N), times_seen=SEEN)
    Ranking(train, scores).write(path)
    return path


def edit(path: Path, change) -> None:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    change(lines, lines[0].index("datasource_index"))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def test_scores_come_back_in_the_order_of_the_training_csv(train: Dataset, ranking: Path):
    assert "../images/" in ranking.read_text()
    scores, notes = read_scores(ranking, train, SEEN)
    np.testing.assert_array_equal(scores["influence"], np.random.default_rng(0).normal(size=N))
    assert notes == []


def test_names(train: Dataset, ranking: Path, tmp_path: Path):
    other = tmp_path / "influence.csv"
    other.write_text(ranking.read_text().replace("../images", "images"))
    third = ranking.with_name("third.csv")
    third.write_text(ranking.read_text())
    scores, _ = read_scores([ranking, other, third], train, SEEN)
    assert list(scores) == [str(ranking), str(other), "third"]
    scores, _ = read_scores({"mine": ranking, "twice": np.arange(N)}, train, SEEN)
    assert list(scores) == ["mine", "twice"]
    np.testing.assert_array_equal(scores["twice"], np.arange(N))


def test_a_ranking_of_another_window_is_noted(train: Dataset, ranking: Path):
    _, notes = read_scores(ranking, train, SEEN + 1)
    assert len(notes) == 1
    assert "influence.csv: was scored on another window" in notes[0]


def one_less(lines, index):
    del lines[3]


def other_numbers(lines, index):
    for line in lines[1:]:
        line[index] = str(int(line[index]) + 1)


def other_column(lines, index):
    lines[0][1] = "z:label"


def other_label(lines, index):
    lines[4][1] = "9"


def other_image(lines, index):
    lines[4][0], lines[5][0] = lines[5][0], lines[4][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_less, r"influence\.csv: .*11 rows.*train\.csv.* 12"),
        (other_numbers, r"influence\.csv: .*datasource_index 12.*train\.csv"),
        (other_column, r"influence\.csv: .*columns.*train\.csv"),
        (other_label, r"influence\.csv, line 5, column 'y:label': '9'"),
        (other_image, r"influence\.csv, line 5, column 'x:image': '../images/\d+\.png'"),
    ],
)
def test_a_ranking_of_another_csv(train: Dataset, ranking: Path, change, message: str):
    edit(ranking, change)
    with pytest.raises(DatasetError, match=message):
        read_scores(ranking, train, SEEN)


def test_what_is_not_a_score_of_each_row(train: Dataset):
    with pytest.raises(DatasetError, match=r"train\.csv"):
        read_scores(train.path, train, SEEN)
    with pytest.raises(ScoreError, match="-i"):
        read_scores([], train, SEEN)
    for values in (np.zeros(5), np.full(N, np.nan)):
        with pytest.raises(ScoreError, match=r"'mine'.* 12"):
            read_scores({"mine": values}, train, SEEN)
