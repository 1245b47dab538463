"""Decisions that a program writes are read as those of a reviewer."""

from __future__ import annotations

import pytest

from nnabla_influence.cleansing import Decision, cleanse, write_decisions
from nnabla_influence.cleansing.decisions import ranking_id
from nnabla_influence.errors import DatasetError, OutputError
from tests.cleansing.common import INFLUENCE, read_cells, write_ranking, write_training_csv

MADE = {9: Decision("relabel", "2"), 4: Decision("keep"), 7: Decision("remove")}


def test_what_is_written_is_what_cleanse_reads(table):
    path = table.folder / "decisions.csv"
    for made in ({}, MADE):  # An earlier one is replaced.
        write_decisions(path, table.ranking, made)
    header, *lines = read_cells(path)
    id_ = ranking_id(table.ranking)
    assert header == [
        *("datasource_index", "influence", "decision", "label_before", "label", "ranking"),
        *("x", "y"),
    ]
    assert [line[:6] for line in lines] == [
        ["7", "-0.75", "remove", "3", "", id_],
        ["9", "-1.5e-07", "relabel", "3", "2", id_],
        ["4", "0.0", "keep", "1", "", id_],
    ]
    done = table.cleanse(decisions=path, allow_empty_class=True)
    assert (done.removed, done.relabelled, done.notes) == ((7,), {9: "2"}, ())
    # What cleanse lists is of the same form, without the rows that are kept.
    assert read_cells(done.removed_list) == [header, *lines[:2]]


def test_paths_are_right_from_the_folder_of_the_decisions(tmp_path):
    ranking = write_ranking(write_training_csv(tmp_path), tmp_path / "r.csv")
    (tmp_path / "advice").mkdir()
    write_decisions(tmp_path / "advice" / "d.csv", ranking, MADE)
    cells = [line[6] for line in read_cells(tmp_path / "advice" / "d.csv")]
    assert cells == ["x:image", *(f"../画像/{k}.png" for k in (7, 9, 4))]


def test_decisions_about_another_ranking_are_refused(table):
    write_decisions(table.folder / "d.csv", table.ranking, MADE)
    other = write_ranking(table.train, table.folder / "other.csv", INFLUENCE + 1)
    with pytest.raises(DatasetError, match="line 2, column 'ranking'"):
        cleanse(other, output=table.output, decisions=table.folder / "d.csv")


def test_no_other_file_is_replaced(table):
    for path in (table.ranking, table.train):
        before = path.read_bytes()
        with pytest.raises(OutputError, match=f"^{path}"):
            write_decisions(path, table.ranking, MADE)
        assert path.read_bytes() == before
