from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nnabla.utils.data_iterator import data_iterator_csv_dataset

from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.errors import DatasetError, OutputError, ScoreError
from nnabla_influence.ranking import (
    RESULT_COLUMNS,
    Orders,
    Ranking,
    Scores,
    Verdict,
    check_columns,
    read_ranking,
)
from nnabla_influence.ranking.scores import parsed_orders
from tests.dataset.common import noise, save_image, write_csv

N = 6
INFLUENCE = np.array([0.1, -2.5, 0.0, 1 / 3, -2.5, -1e-300])
ORDER = [1, 4, 5, 2, 0, 3]  # by hand: ascending, the tie 1, 4 by number


def scores(n: int = N, **more) -> Scores:
    influence = INFLUENCE if n == N else np.linspace(-1, 1, n)
    return Scores(influence=influence, times_seen=np.arange(n) % 3, **more)


def read_cells(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def by_nnabla(path: Path) -> dict[str, np.ndarray]:
    """All variables of a CSV as nnabla's data iterator gives them."""
    n_rows = len(read_cells(path)) - 1
    with data_iterator_csv_dataset(str(path), n_rows, shuffle=False) as iterator:
        return dict(zip(iterator.variables, iterator.next()))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A CSV with images and an array, in a folder of its own, with every kind of column."""
    folder = tmp_path / "data set"
    rows = []
    for k in range(N):
        save_image(folder / "画像" / f"{k}.png", noise(4, 4, seed=k))
        np.save(folder / f"{k}.npy", np.arange(3.0) + k)
        rows.append([f"画像\\{k}.png", f"note {k},\r\nmore", k % 3, k / 7, -k, f"./{k}.npy"])
    header = ["x:image", "#note", "y:label;猫", "v__0:a", "v__1", "z"]
    return write_csv(folder / "train.csv", header, rows)


def test_the_order_is_by_influence_then_by_number(project):
    ranking = Ranking(open_dataset(project, []), scores(loss=np.arange(N) / 2))
    assert ranking.order.tolist() == ORDER
    assert ranking.influence.tolist() == INFLUENCE[ORDER].tolist()
    assert len(ranking) == N
    rows = list(ranking)
    assert [row.datasource_index for row in rows] == ORDER
    assert [row.influence for row in rows] == INFLUENCE[ORDER].tolist()
    assert [row.times_seen for row in rows] == [1, 1, 2, 2, 0, 0]
    assert [row.loss for row in rows] == [0.5, 2.0, 2.5, 1.0, 0.0, 1.5]
    assert {row.predicted for row in rows} == {None}


def test_the_csv_has_every_column_in_order_and_the_results_behind(project):
    dataset = open_dataset(project, [])
    path = project.parent / "ranking.csv"
    own = scores(
        influence_std=np.full(N, 0.1),
        influence_se=np.arange(N) / 8,
        harmful_in=range(N),
        loss=-INFLUENCE,
        predicted=[3] * N,
        suggested_label=[1] * N,
        relabel_gain=INFLUENCE / 2,
    )
    Ranking(dataset, own).write(path)
    header, *rows = read_cells(path)
    given = read_cells(project)
    assert header == [*given[0], *RESULT_COLUMNS[:-1]]
    for row, index in zip(rows, ORDER):
        # The same folder: cells unchanged, even the backslash and the line end within a cell.
        assert row[:6] == given[index + 1]
        assert float(row[6]) == INFLUENCE[index]  # exactly
        assert row[7:12] == ["0.1", str(index / 8), *[str(index)] * 2, str(index % 3)]
        assert float(row[12]) == -INFLUENCE[index]
        assert row[13:15] == ["3", "1"]
        assert float(row[15]) == INFLUENCE[index] / 2
    for row in read_ranking(path):
        k = row.datasource_index
        assert (row.influence_se, row.harmful_in) == (k / 8, k)
        assert (row.suggested_label, row.relabel_gain) == (1, INFLUENCE[k] / 2)


def test_whole_numbers_are_written_as_such_and_huge_ones_shortly(tmp_path):
    dataset = open_dataset(write_csv(tmp_path / "x.csv", ["y"], [[0], [1]]), [])
    whole = Scores([-1.0, 2.5], predicted=[3.0, 7.0], loss=[1e300, 1.0])
    Ranking(dataset, whole).write(tmp_path / "r.csv")
    assert read_cells(tmp_path / "r.csv")[1:] == [
        ["0", "-1.0", "0", "1e+300", "3"],
        ["1", "2.5", "1", "1.0", "7"],
    ]


@pytest.mark.parametrize("where", [".", "..", "../out/deep", "画像", "../別"])
def test_nnabla_reads_the_ranking_as_a_dataset_with_the_same_values(project, where):
    folder = project.parent / where
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(os.path.abspath(folder / "ranking.csv"))
    Ranking(open_dataset(project, []), scores()).write(path)
    expected, seen = by_nnabla(project), by_nnabla(path)
    assert set(seen) == {*expected, "influence", "datasource_index", "times_seen"}
    for name, values in expected.items():
        np.testing.assert_array_equal(seen[name], values[ORDER])
    np.testing.assert_array_equal(seen["datasource_index"][:, 0], ORDER)
    np.testing.assert_array_equal(seen["influence"][:, 0], INFLUENCE[ORDER].astype(np.float32))


def test_paths_are_rewritten_with_forward_slashes_and_nothing_else_is(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    absolute = str(project.parent / "0.npy")
    path = write_csv(
        project.parent / "more.csv",
        ["x", "#comment", "name", "z", "y"],
        [
            ["画像\\0.png", "0.npy", "not a file", absolute, "1"],
            ["sub/../1.npy", "", "画像", "2.npy", " 0.5 "],
        ],
        line_end="\r\n",
    )
    (project.parent / "sub").mkdir()
    (project.parent / "1").write_text("a file whose name is a number")
    elsewhere.mkdir()
    Ranking(open_dataset(path, []), Scores([-1.0, 1.0])).write(elsewhere / "r.csv")
    _, first, second = read_cells(elsewhere / "r.csv")
    assert first[:5] == ["../data set/画像/0.png", "0.npy", "not a file", absolute, "1"]
    assert second[:5] == ["../data set/1.npy", "", "画像", "../data set/2.npy", " 0.5 "]


def test_paths_lead_there_through_a_linked_folder(project, tmp_path):
    (tmp_path / "deep" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "real")
    Ranking(open_dataset(project, []), scores()).write(tmp_path / "link" / "r.csv")
    for path in (tmp_path / "link" / "r.csv", tmp_path / "deep" / "real" / "r.csv"):
        np.testing.assert_array_equal(by_nnabla(path)["z"], by_nnabla(project)["z"][ORDER])
        # As a browser finds it: by the file system.
        assert (path.parent / read_cells(path)[1][0]).is_file()


def test_another_drive_gets_absolute_paths(project, tmp_path, monkeypatch):
    def other_drive(*_: object) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr("nnabla_influence.dataset.csv_output.os.path.relpath", other_drive)
    Ranking(open_dataset(project, []), scores()).write(tmp_path / "r.csv")
    assert read_cells(tmp_path / "r.csv")[1][0] == (project.parent / "画像" / "1.png").as_posix()


@pytest.mark.parametrize(
    ("csv_name", "header", "cells", "bom"),
    [
        ("x.csv", "y", ["1"], False),
        ("x.csv", "y", ["a.npy"], False),
        ("x.csv", "y:猫", ["1"], True),
        ("x.csv", "y", ["猫.npy"], True),
        ("猫/x.csv", "y", ["1", "2"], False),
        ("猫/x.csv", "y", ["1", "a.npy"], True),  # its path becomes Japanese
    ],
)
def test_a_bom_is_written_where_text_is_not_ascii(tmp_path, csv_name, header, cells, bom):
    path = tmp_path / "data" / csv_name
    path.parent.mkdir(parents=True)
    for name in ("a.npy", "猫.npy"):
        np.save(path.with_name(name), np.zeros(1))
    write_csv(path, [header], [[cell] for cell in cells], encoding="utf-8-sig")
    Ranking(open_dataset(path, []), Scores([1.0] * len(cells))).write(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes().startswith(b"\xef\xbb\xbf") == bom


PIECES = [*'a1,"\n\r é猫=', "\r\n", "\u2028", "\x85"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@st.composite
def tables(draw):
    width = draw(st.integers(1, 3))
    return draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=1, max_size=6))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.slow
@given(tables(), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_cells_and_numbers_come_back_exactly(tmp_path, table, data):
    header = [f"#c{i}" for i in range(len(table[0]))]
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([header, *table])
    source, out = tmp_path / "x.csv", tmp_path / "r.csv"
    source.write_bytes(text.getvalue().encode())
    columns = {
        name: data.draw(st.lists(FLOATS, min_size=len(table), max_size=len(table)))
        for name in ("influence", "influence_std", "loss", "predicted")
    }
    columns["influence"][0] = columns["influence"][0] or 1.0

    Ranking(open_dataset(source, []), Scores(**columns)).write(out)

    back = read_ranking(out)
    assert sorted(back.order.tolist()) == list(range(len(table)))
    for row in back:
        k = row.datasource_index
        assert back.cells(row.row)[: len(header)] == table[k]
        assert row.influence == columns["influence"][k]
        assert row.influence_std == columns["influence_std"][k]
        assert row.loss == columns["loss"][k]
        assert row.predicted == columns["predicted"][k]
        assert row.times_seen is None


def test_a_ranking_of_a_ranking_replaces_its_results(project, tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "out" / "second.csv"
    second.parent.mkdir()
    Ranking(open_dataset(project, []), scores(influence_std=np.ones(N), predicted=[7] * N)).write(
        first
    )
    again = np.array([5.0, 4.0, 3.0, 2.0, 1.0, -1.0])
    specs = [ColumnSpec("x", (1, 4, 4)), ColumnSpec("v", (2,))]
    Ranking(open_dataset(first, specs), Scores(again, times_seen=[1] * N)).write(second)
    header, *rows = read_cells(second)
    assert header == [*read_cells(project)[0], "influence", "datasource_index", "times_seen"]
    # datasource_index counts the rows of the CSV that was trained with: the first ranking.
    assert [row[-2] for row in rows] == ["5", "4", "3", "2", "1", "0"]
    np.testing.assert_array_equal(by_nnabla(second)["v"], by_nnabla(first)["v"][::-1])
    np.testing.assert_array_equal(by_nnabla(second)["x"], by_nnabla(first)["x"][::-1])


@pytest.mark.parametrize(
    ("orders", "label"),
    [
        (Orders("shuffled", 3), "shuffled"),
        (Orders("recorded exact", 1, "", Verdict("reliable")), "recorded exact / reliable"),
        (
            Orders("recorded exact", 1, "the run keeps checkpoints"),
            "recorded exact / the run keeps checkpoints",
        ),
        (
            Orders("recorded exact", 1, "so", Verdict("rough", "scores - large")),
            "recorded exact / so / rough - scores - large",
        ),
    ],
)
def test_the_orders_are_a_column_with_origin_reason_and_verdict_as_its_label(
    project, tmp_path, orders, label
):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    Ranking(open_dataset(project, []), scores(), orders=orders).write(first)
    header, *rows = read_cells(first)
    assert header[-1] == f"orders:{label}"
    assert {row[-1] for row in rows} == {str(orders.count)}
    assert by_nnabla(first)["orders"].tolist() == [[orders.count]] * N
    back = read_ranking(first)
    assert (back.orders, back.verdict) == (orders, orders.verdict)
    back.write(second)
    assert second.read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    "label", ["recorded / rough / good", "recorded / ", "recorded / rough, so"]
)
def test_a_header_that_somebody_changed_is_no_failure(label):
    assert parsed_orders(label, 1).origin == "recorded"


def test_a_ranking_that_a_spreadsheet_sorted_and_shortened_is_read(tmp_path):
    path = write_csv(
        tmp_path / "r.csv",
        ["y", "influence", "datasource_index", "times_seen"],
        [[1, 0.5, "7.0", "1"], [2, "-3E-01", 2, 1], [3, 0.1, 5, 0], [4, 0.1, 3, 0]],
        encoding="utf-8-sig",
        line_end="\r\n",
    )
    ranking = read_ranking(path)
    assert ranking.order.tolist() == [2, 3, 5, 7]
    assert ranking.influence.tolist() == [-0.3, 0.1, 0.1, 0.5]
    assert [ranking.dataset.cells(row.row)[0] for row in ranking] == ["2", "4", "3", "1"]


BOTH = ["influence", "datasource_index"]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["y", "datasource_index"], [1, 0], ": .* 'influence'"),
        (["y", "influence"], [1, 0], ": .* 'datasource_index'"),
        (BOTH, ["abc", 1], ", line 3, column 'influence': 'abc' "),
        (BOTH, ["nan", 1], ", line 3, column 'influence': 'nan' "),
        (BOTH, ["1", "1.5"], ", line 3, column 'datasource_index': '1.5' "),
        (BOTH, ["1", "9" * 20], f", line 3, column 'datasource_index': '{'9' * 20}' "),
        (BOTH, ["1", "-1"], ", line 3, column 'datasource_index': '-1' "),
        (BOTH, ["1", "inf"], ", line 3, column 'datasource_index': 'inf' "),
        (BOTH, ["1", "0"], ", line 3, column 'datasource_index': 0 "),
        ([*BOTH, "harmful_in"], ["1", "1", "1.5"], ", line 3, column 'harmful_in': '1.5' "),
        ([*BOTH, "influence_se"], ["1", "1", "-0.1"], ", line 3, column 'influence_se': '-0.1' "),
        ([*BOTH, "relabel_gain"], ["1", "1", ""], ", line 3, column 'relabel_gain': '' "),
    ],
)
def test_what_is_not_a_ranking_is_refused(tmp_path, header, row, message):
    path = write_csv(tmp_path / "r.csv", header, [["1", "0", "0"][: len(header)], row])
    with pytest.raises(DatasetError, match=f"^{re.escape(str(path))}{message}"):
        read_ranking(path)


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_ranking_with_other_separators_is_refused(tmp_path, separator, name):
    path = tmp_path / "r.csv"
    path.write_text(f"y,{','.join(BOTH)}\n1,0.5,0\n".replace(",", separator))
    with pytest.raises(DatasetError, match=rf"r\.csv: .* {name}"):
        read_ranking(path)


@pytest.mark.parametrize(
    "field",
    ["influence", "influence_std", "influence_se", "loss", "predicted", "relabel_gain"],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(field, value):
    columns = {"influence": np.ones(4), field: np.ones(4)}
    columns[field][2:] = value
    with pytest.raises(ScoreError, match=f"^{field} of datasource_index 2 is {value}"):
        Scores(**columns)


def test_scores_that_are_all_zero_are_refused():
    with pytest.raises(ScoreError, match="every influence is zero"):
        Scores(np.zeros(3), times_seen=np.ones(3))


def test_an_input_named_like_a_result_is_refused_before_anything_is_lost(tmp_path):
    path = write_csv(tmp_path / "x.csv", ["x", "loss"], [[1, 2]])
    dataset = open_dataset(path, [ColumnSpec("x", (1,)), ColumnSpec("loss", (1,))])
    message = "input 'loss'"
    with pytest.raises(DatasetError, match=message):
        check_columns(dataset)
    with pytest.raises(DatasetError, match=message):
        Ranking(dataset, Scores([1.0])).write(tmp_path / "r.csv")
    assert not (tmp_path / "r.csv").exists()


def test_the_dataset_itself_is_not_replaced(project):
    content = project.read_bytes()
    with pytest.raises(OutputError, match="is the same file as"):
        Ranking(open_dataset(project, []), scores()).write(project)
    assert project.read_bytes() == content


def test_only_a_ranking_is_replaced(project, tmp_path):
    out = tmp_path / "r.csv"
    ranking = Ranking(open_dataset(project, []), scores())
    for foreign in (b"x:image,y:label\n", b"name: Main\n", b"\x89PNG\r\n\x1a\n", b"\n"):
        out.write_bytes(foreign)
        with pytest.raises(OutputError, match="exists and is not a ranking"):
            ranking.write(out)
        assert out.read_bytes() == foreign
    out.unlink()
    ranking.write(out)
    written = out.read_bytes()
    semicolons = written.replace(b",", b";")
    for own in (
        b"",
        written,
        b"\xef\xbb\xbf" + written,
        semicolons,
        b'"influence","datasource_index"',
        b'"x\ny",influence,datasource_index\n',
    ):
        out.write_bytes(own)
        ranking.write(out)
        assert out.read_bytes() == written


def test_a_dataset_that_changed_meanwhile_is_refused(project, tmp_path):
    ranking = Ranking(open_dataset(project, []), scores())
    project.write_text("x\n1\n")
    with pytest.raises(DatasetError, match="has changed since it was opened"):
        ranking.write(tmp_path / "r.csv")
    assert not (tmp_path / "r.csv").exists()
