"""Which rows are removed, and the contents of the two files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nnabla.utils.data_iterator import data_iterator_csv_dataset

from nnabla_influence.cleansing import ClassChange, cleanse
from nnabla_influence.cleansing.decisions import ranking_id
from nnabla_influence.ranking import Orders, Verdict, read_ranking
from tests.cleansing.common import (
    INFLUENCE,
    LABELS,
    ORDER,
    N,
    read_cells,
    write_ranking,
    write_table,
    write_training_csv,
)
from tests.dataset.common import write_csv
from tests.dataset.test_records import TEXT

EMPTY = {"allow_empty_class": True}


@pytest.mark.parametrize(
    ("choice", "n_removed"),
    [
        ({"n": 1}, 1),
        ({"n": 4}, 4),
        ({"n": np.int64(2)}, 2),
        ({"n": 0.25}, 3),
        ({"n": 0.3}, 4),
        ({"below": 0}, 3),
        ({"below": -0.25}, 1),
        ({"below": 0.1}, 4),
        ({"below": -5.0}, 0),
    ],
)
def test_the_most_harmful_rows_are_removed(table, choice, n_removed):
    done = table.cleanse(**choice, allow_empty_class=True)
    left = [k for k in range(N) if k not in ORDER[:n_removed]]
    assert done.removed == tuple(ORDER[:n_removed])
    assert done.kept == tuple(left)
    header, *rows = read_cells(table.train)
    assert read_cells(table.output) == [header, *(rows[k] for k in left)]
    listed, id_ = read_cells(table.removed), ranking_id(table.ranking)
    if not n_removed:
        listed[0].pop()  # the ranking that it was made of
    assert listed == [
        ["datasource_index", "influence", "decision", "label_before", "label", "ranking", *header],
        *(
            [str(k), repr(float(INFLUENCE[k])), "remove", str(LABELS[k]), "", id_, *rows[k]]
            for k in ORDER[:n_removed]
        ),
    ]


def test_rows_of_equal_influence_are_removed_in_the_order_of_the_csv(table):
    write_ranking(table.train, table.ranking, np.array([1.0] * 6 + [-1.0] * 6))
    assert table.cleanse(n=3).removed == (6, 7, 8)


def test_decisions_remove_and_relabel(table):
    done = table.decide(
        "datasource_index,decision,label\n4,remove,\n7,keep,\n9,relabel,2\n2,relabel,0\n"
    )
    assert (done.removed, done.relabelled) == ((4,), {2: "0", 9: "2"})
    assert done.kept == tuple(k for k in range(N) if k != 4)
    header, *rows = read_cells(table.train)
    rows[9][1], rows[2][1] = "2", "0"
    assert read_cells(table.output) == [header, *rows[:4], *rows[5:]]
    assert [line[:5] for line in read_cells(table.removed)[1:]] == [
        ["2", "-0.25", "relabel", "2", "0"],
        ["9", "-1.5e-07", "relabel", "3", "2"],
        ["4", "0.0", "remove", "1", ""],
    ]
    assert done.classes == (
        ClassChange("0", rows=4, removed=0, relabelled=0, gained=1),
        ClassChange("1", rows=3, removed=1, relabelled=0, gained=0),
        ClassChange("2", rows=3, removed=0, relabelled=1, gained=1),
        ClassChange("3", rows=2, removed=0, relabelled=1, gained=0),
    )


@given(st.dictionaries(st.integers(0, N - 1), st.sampled_from([None, 0, 1, 2, 3])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_decisions_that_were_written_are_read_again(table, drawn):
    made = {k: new for k, new in drawn.items() if new != LABELS[k]}
    lines = [f"{k},{'remove,' if new is None else f'relabel,{new}'}" for k, new in made.items()]
    made.pop(0, None)  # something must be left
    lines = [line for line in lines if not line.startswith("0,")]
    table.output.unlink(missing_ok=True)
    (table.folder / "again.csv").unlink(missing_ok=True)
    done = table.decide("\n".join(["datasource_index,decision,label", *lines]), **EMPTY)
    assert set(done.removed) == {k for k, new in made.items() if new is None}
    assert done.relabelled == {k: str(new) for k, new in made.items() if new is not None}
    listed = table.removed.read_bytes()
    again = table.cleanse(decisions=table.removed, output=table.folder / "again.csv", **EMPTY)
    assert (again.removed, again.relabelled) == (done.removed, done.relabelled)
    assert list(again.relabelled) == list(done.relabelled)
    assert again.output.read_bytes() == table.output.read_bytes()
    if made:  # a list of no rows names the file that it was made with
        assert again.removed_list.read_bytes() == listed


# ------------------------------------------------------------------------- cells


@pytest.mark.parametrize("with_train", [True, False])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_kind_of_cell_stays_and_paths_are_right(tmp_path, with_train, line_end):
    train = write_training_csv(tmp_path / "data set", line_end=line_end)
    ranking, output = tmp_path / "rank" / "r.csv", tmp_path / "データ" / "clean.csv"
    ranking.parent.mkdir()
    output.parent.mkdir()
    write_ranking(train, ranking)
    cleanse(ranking, output=output, n=2, train=train if with_train else None)
    removed, left = ORDER[:2], [k for k in range(N) if k not in ORDER[:2]]
    header, *rows = read_cells(train)
    for row in rows:
        row[0] = "../data set/" + row[0].replace("\\", "/")
        row[5] = "../data set/" + row[5].removeprefix("./")
    assert read_cells(output) == [header, *(rows[k] for k in left)]
    assert [line[6:] for line in read_cells(output.with_name("clean.removed.csv"))] == [
        header,
        *(rows[k] for k in removed),
    ]
    # Judged by nnabla itself: it reads the same numbers as from the original.
    original, cleansed = by_nnabla(train, N), by_nnabla(output, len(left))
    for name in original:
        np.testing.assert_array_equal(cleansed[name], original[name][left])


def by_nnabla(path: Path, n_rows: int) -> dict[str, np.ndarray]:
    with data_iterator_csv_dataset(str(path), n_rows, shuffle=False) as iterator:
        return dict(zip(iterator.variables, iterator.next()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_with_the_training_csv_the_output_is_it_less_the_removed_lines(
    tmp_path, encoding, line_end
):
    train = write_training_csv(tmp_path, encoding=encoding, line_end=line_end)
    write_ranking(train, tmp_path / "r.csv")
    cleanse(tmp_path / "r.csv", output=tmp_path / "c.csv", below=-9.0, train=train)
    # With a byte-order mark, which spreadsheets need where a cell is not ASCII.
    bom = b"\xef\xbb\xbf"
    assert (tmp_path / "c.csv").read_bytes() == bom + train.read_bytes().removeprefix(bom)


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=5), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_removing_nothing_gives_every_cell_back(tmp_path, cells, with_train):
    rows = [[k, *texts, k / 3] for k, texts in enumerate(cells)]
    train = write_csv(tmp_path / "train.csv", ["y", "#a", "#b:\n,", "x"], rows, line_end="\r\n")
    influence = np.linspace(1, 0.5, len(rows))
    (tmp_path / "r.csv").unlink(missing_ok=True)
    write_ranking(train, tmp_path / "r.csv", influence)
    (tmp_path / "c.csv").unlink(missing_ok=True)
    done = cleanse(
        tmp_path / "r.csv",
        output=tmp_path / "c.csv",
        below=0.0,
        train=train if with_train else None,
    )
    assert read_cells(tmp_path / "c.csv") == read_cells(train)
    [line] = done.summary()
    assert f"{tmp_path / 'c.csv'}: all {len(rows)} rows" in line
    assert len(read_cells(tmp_path / "c.removed.csv")) == 1


def test_result_columns_of_the_training_csv_itself_stay_where_it_is_given(table):
    """A ranking was the training CSV: its result columns are columns of the dataset."""
    second = write_ranking(table.ranking, table.folder / "second.csv", INFLUENCE[::-1])
    done = cleanse(second, output=table.output, n=1, train=table.ranking)
    header, *rows = read_cells(table.ranking)
    gone = int(np.argmin(INFLUENCE[::-1]))
    assert read_cells(table.output) == [header, *rows[:gone], *rows[gone + 1 :]]
    # The list does not show them, so that it has one datasource_index: that of the removed row.
    own = [rows[4][1], "", ranking_id(second), *rows[4][:2]]
    assert read_cells(done.removed_list)[1] == ["4", "-0.75", "remove", *own]
    cleanse(second, output=table.output, n=1)
    assert read_cells(table.output)[0] == ["x", "y"]


def test_the_list_is_read_again_where_the_dataset_has_a_column_decision(table):
    write_csv(table.train, ["x", "y", "decision"], [[k, LABELS[k], 0] for k in range(N)])
    write_ranking(table.train, table.ranking)
    done = table.cleanse(n=1, train=table.train)
    again = table.folder / "again.csv"
    table.cleanse(decisions=done.removed_list, output=again, train=table.train)
    assert again.read_bytes() == table.output.read_bytes()
    assert read_cells(again)[0] == ["x", "y", "decision"]


# ------------------------------------------------------------------------ classes


def test_the_summary_shows_the_changes_of_the_classes(table):
    done = table.decide("datasource_index,decision,label\n4,remove,\n9,relabel,2\n")
    assert list(done.summary())[:-1] == [
        f"{table.output}: 11 of 12 rows; 1 removed, 1 relabelled (listed in {table.removed})",
        "class  rows  removed  relabelled  gained  left",
        "    1     3        1           0       0     2",
        "    2     3        0           0       1     4",
        "    3     2        0           1       0     1",
        "class 3 loses 1 of its 2 rows; review them before you train without them",
    ]


def test_removing_useful_rows_is_noted(table):
    lines = list(table.cleanse(n=5, **EMPTY).summary())
    assert lines[-1].startswith("2 of the removed rows are not harmful")


@pytest.mark.parametrize("word", ["rough", "reliable"])
def test_a_rough_ranking_is_noted(table, word):
    ranking = read_ranking(table.ranking)
    orders = Orders("recorded", 1, verdict=Verdict(word))
    dataclasses.replace(ranking, orders=orders).write(table.ranking.with_name("judged.csv"))
    table.ranking.with_name("judged.csv").replace(table.ranking)
    noted = [line for line in table.cleanse(n=1).summary() if "ranking is rough" in line]
    assert bool(noted) == (word == "rough")


def labelled(folder: Path, labels: list[object] | None = None, header: str = "y") -> Path:
    """A ranking of a table whose column of labels has any name."""
    train = write_table(folder / "t.csv", labels)
    train.write_text(train.read_text().replace("y", header, 1))
    return write_ranking(train, folder / "r.csv")


@pytest.mark.parametrize(
    ("labels", "header", "note"),
    [
        ([k / 2 for k in range(N)], "y", "the column 'y' holds numbers or text"),
        (None, "target", "no single column 'y'"),
    ],
)
def test_labels_that_are_not_classes_are_noted(tmp_path, labels, header, note):
    done = cleanse(labelled(tmp_path, labels, header), output=tmp_path / "c.csv", n=3)
    assert done.classes == ()
    assert note in list(done.summary())[-1]


@pytest.mark.parametrize("name", ["target", "target:colour"])
def test_the_label_column_has_any_name(tmp_path, name):
    ranking = labelled(tmp_path, header="target:colour")
    done = cleanse(ranking, output=tmp_path / "c.csv", n=1, label_column=name)
    assert [change.removed for change in done.classes] == [0, 0, 0, 1]


def test_a_class_is_the_same_however_it_is_written(tmp_path):
    ranking = labelled(tmp_path, ["1.0", *["1", "0"] * 5, "01"])
    decisions = tmp_path / "d.csv"
    decisions.write_text("datasource_index,decision,label\n2,relabel,1\n")
    done = cleanse(ranking, output=tmp_path / "c.csv", decisions=decisions)
    assert [(change.name, change.rows) for change in done.classes] == [("0", 5), ("1.0", 7)]
    assert done.relabelled == {2: "1.0"}  # as the CSV writes the class first


# ------------------------------------------------------- rankings from spreadsheets


def test_a_ranking_that_a_spreadsheet_saved_can_be_used_with_the_training_csv(table):
    """It has fewer digits, another order, columns in front; the cells are the training CSV's."""
    write_csv(table.train, ["x", "y"], [[f"{k / 8}00", LABELS[k]] for k in range(N)])
    rows = [
        [k, "remove" if k == 3 else "", f"{k / 8:g}", LABELS[k], f"{INFLUENCE[k]:.5E}", ""]
        for k in range(N)
    ]
    header = ["datasource_index", "Decision", "x", "y", "influence", "label"]
    saved = write_csv(table.folder / "s.csv", header, rows, encoding="utf-8-sig", line_end="\r\n")
    done = cleanse(saved, output=table.output, n=1, train=table.train)
    assert done.removed == (7,)
    assert read_cells(table.output)[1:3] == [["0.000", "0"], ["0.12500", "1"]]
    done = cleanse(saved, output=table.output, decisions=saved, train=table.train)
    assert done.removed == (3,)


def test_columns_that_were_added_behind_the_results_are_not_the_datasets(table):
    header, *rows = read_cells(table.ranking)
    rows = [[*row, "remove" if row[-2] == "7" else "", ""] for row in rows]
    marked = write_csv(table.folder / "marked.csv", [*header, "decision", "label"], rows)
    assert cleanse(marked, output=table.output, decisions=marked).removed == (7,)
    assert read_cells(table.output)[0] == ["x", "y"]
