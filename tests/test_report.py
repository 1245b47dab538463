"""The lines about a ranking that a person reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Orders, Ranking, Scores, Verdict
from nnabla_influence.report import summary


def ranking(folder: Path, header: str, rows: list[str], **scores) -> Ranking:
    path = folder / "training.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return Ranking(open_dataset(path, []), Scores(**{k: np.array(v) for k, v in scores.items()}))


def test_counts_and_the_most_harmful_rows_first(tmp_path):
    lines = summary(
        ranking(
            tmp_path,
            "x:image,y:label",
            ["0.png,0", "1.png,1", "2.png,2", "3.png,3"],
            influence=[0.5, -0.1234567, 0.0, -2.0],
            times_seen=[1, 2, 0, 1],
            loss=[0.1, 1.23456, 0.3, 4.0],
            predicted=[0.0, 7.0, 2.0, 3.0],
            influence_std=[0.1, 0.0456, 0.0, 0.25],
        ),
        "out/influence.csv",
    )
    assert list(lines) == [
        "out/influence.csv: 4 rows, the most harmful first; 2 harmful (influence below 0: without"
        " the row the validation rows do better), 1 helpful",
        "1 rows were not seen in the window, or the loss ignores them, so their influence is 0; a"
        " window of more epochs contains more rows",
        "The most harmful rows:",
        "  datasource_index 3  influence -2  +- 0.25  loss 4  predicted 3"
        "  (x:image=3.png y:label=3)",
        "  datasource_index 1  influence -0.123  +- 0.046  loss 1.23  predicted 7"
        "  (x:image=1.png y:label=1)",
    ]


def test_no_row_is_called_harmful_that_is_not(tmp_path):
    lines = list(summary(ranking(tmp_path, "y", ["5", "6"], influence=[1.0, 0.0]), "i.csv"))
    assert len(lines) == 1
    assert " 0 harmful " in lines[0]


def test_the_verdict_is_said(tmp_path):
    made = ranking(tmp_path, "y", ["0", "1"], influence=[-1.0, 1.0])
    orders = Orders("recorded", 1, verdict=Verdict("rough", "made by hand"))
    lines = list(summary(dataclasses.replace(made, orders=orders), "i.csv"))
    assert "rough (made by hand)" in lines[1]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\n\n "])
def test_a_row_is_one_line_that_begins_with_what_tells_it(tmp_path, line_break: str):
    """The label stands behind 64 pixels in the file; a cell may hold line breaks."""
    header = ",".join([*(f"x__{i}" for i in range(64)), "# note", "y:label"])
    rows = [",".join([*["0.5"] * 64, f'"two{line_break}lines"', str(i)]) for i in range(2)]
    lines = list(summary(ranking(tmp_path, header, rows, influence=[-1.0, 1.0]), "i.csv"))
    (cells,) = [line.split("(", 1)[1] for line in lines[2:]]
    assert cells.startswith("# note=two lines y:label=0 x__0=0.5 ")
    assert cells.endswith("...)")
    assert len(cells) < 70


def test_a_ranking_that_is_ranked_again_shows_its_new_scores_only(tmp_path):
    header = "y:label,influence,datasource_index,orders:recorded"
    again = ranking(tmp_path, header, ["5,-9,0,1", "6,9,1,1"], influence=[1.0, -1.0])
    assert list(summary(again, "i.csv"))[2] == "  datasource_index 1  influence -1  (y:label=6)"
