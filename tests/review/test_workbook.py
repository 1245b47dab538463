"""The workbook, read back by another library: rows, pictures, lists to pick from."""

from __future__ import annotations

import io
import itertools
import zipfile

import numpy as np
import openpyxl
import pytest
from PIL import Image
from scipy import stats

from nnabla_influence.cleansing import Decision, cleanse
from nnabla_influence.cleansing.decisions import ranking_id
from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Orders, Ranking, Scores, Verdict
from nnabla_influence.review import workbook
from nnabla_influence.review.reviewed import Reviewed, read_reviewed
from nnabla_influence.review.workbook import write_workbook
from tests.dataset.common import noise, save_image, write_csv
from tests.review.common import write_trainings

# The bars of the scores are an extension that the library that reads it does not know.
pytestmark = pytest.mark.filterwarnings("ignore:.*extension is not supported")

N = 12
INFLUENCE = np.array([0.5, 0.1, -0.25, 3, 0, 0.125, 1 / 3, -1e-5, 2, -1.2345678901234e-7, 1, 0.75])
ORDER = [2, 7, 9, 4, 1, 5, 6, 0, 11, 10, 8, 3]  # by hand
LABELS = [0, 1, 2, 0, 1, 2, 0, 3, 1, 3, 2, 0]
PREDICTED = [0, 1, 0, 0, 1, 2, 0, 3, 2, 3, 2, 0]
NOTES = ["=1+1", "http://example.com/", "007", "7", "-3", "- x", "", "1-2", "2020-01-01", "TRUE"]
NAMES = "=zero,@one,two,猫"


@pytest.fixture
def reviewed(tmp_path) -> Reviewed:
    folder = tmp_path / "my データ"
    rows = []
    for k in range(N):
        name = "=" if k == 2 else ""
        save_image(folder / f"{name}画像{k}.png", noise(5 + k, 9, seed=k))
        save_image(folder / f"b{k}.png", noise(80, 100, 3, seed=k))
        note = NOTES[k] if k < len(NOTES) else "x" * 40_000
        rows.append([f"{name}画像{k}.png", f"b{k}.png", LABELS[k], k / 7, k, note])
    header = ["x", "b", "y:label", "decision", "w:rank", "#note"]
    dataset = open_dataset(write_csv(folder / "train.csv", header, rows), [])
    scores = Scores(
        INFLUENCE, times_seen=[k != 4 for k in range(N)], loss=np.arange(N) / 4, predicted=PREDICTED
    )
    orders = Orders("recorded", 1, verdict=Verdict("rough", "made by hand"))
    Ranking(dataset, scores, orders=orders).write(folder / "ranking.csv")
    return read_reviewed(folder / "ranking.csv", class_names=NAMES)


@pytest.fixture
def book(reviewed, tmp_path):
    write_workbook(reviewed, tmp_path / "review.xlsx", thumbnails=5)
    return openpyxl.load_workbook(tmp_path / "review.xlsx")


def table(sheet) -> list[dict[str, object]]:
    header, *rows = sheet.iter_rows(values_only=True)
    assert len(set(header)) == len(header)
    return [dict(zip(header, row)) for row in rows]


def column(sheet, name: str) -> list[object]:
    return [row[name] for row in table(sheet)]


def test_the_rows_are_in_order_of_harm(book, reviewed):
    sheet = book["Ranking"]
    assert [cell.value for cell in sheet[1]] == [
        *("picture x", "picture b", "decision", "label", "rank", "influence", "effect", "given"),
        *("given name", "predicted", "predicted name", "differs", "loss", "times_seen"),
        *("datasource_index", "ranking", "file x", "file b", "decision (feature)"),
        *("rank (feature)", "#note"),
    ]
    rows = table(sheet)
    assert [row["rank"] for row in rows] == list(range(1, N + 1))
    assert [row["datasource_index"] for row in rows] == ORDER
    np.testing.assert_allclose([row["influence"] for row in rows], INFLUENCE[ORDER], rtol=1e-15)
    assert [row["given"] for row in rows] == [LABELS[k] for k in ORDER]
    assert [row["predicted"] for row in rows] == [PREDICTED[k] for k in ORDER]
    assert [row["loss"] for row in rows] == [k / 4 for k in ORDER]
    np.testing.assert_allclose([row["decision (feature)"] for row in rows], np.array(ORDER) / 7)
    assert [row["effect"] for row in rows] == ["harmful"] * 3 + ["not judged"] + ["helpful"] * 8
    assert [row["datasource_index"] for row in rows if row["differs"] == "differs"] == [2, 8]
    assert rows[1]["given name"] == "猫"
    assert {row["ranking"] for row in rows} == {ranking_id(reviewed.path)}
    assert {row["decision"] for row in rows} == {row["label"] for row in rows} == {None}


def test_texts_stay_texts(book):
    sheet = book["Ranking"]
    by_index = dict(zip(ORDER, column(sheet, "#note")))
    expected = ["'=1+1", NOTES[1], "007", 7, -3, "'- x", None, "1-2", "2020-01-01", "TRUE"]
    assert [by_index[k] for k in range(len(NOTES))] == expected
    assert column(sheet, "file x")[0] == "./=画像2.png"
    assert set(column(sheet, "given name")) == {"'=zero", "'@one", "two", "猫"}
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f" or cell.hyperlink]
    long = by_index[N - 1]
    assert len(long) == 32_767
    assert long.endswith("xx ... (cut here: a cell holds no more)")


def test_a_picture_lies_wholly_in_a_cell_of_its_row(book, reviewed):
    sheet = book["Ranking"]
    indices = column(sheet, "datasource_index")
    assert len(sheet._images) == 2 * 5
    shown = set()
    for image in sheet._images:
        anchor = image.anchor
        begin, end = anchor._from, anchor.to
        assert (begin.row, begin.col) == (end.row, end.col)
        assert min(begin.rowOff, begin.colOff) > 0
        assert anchor.editAs in (None, "twoCell")  # both: it moves, and is hidden, with its cell
        index = indices[begin.row - 1]
        pixels = Image.open(io.BytesIO(image._data()))
        name = ["=画像2.png" if index == 2 else f"画像{index}.png", f"b{index}.png"][begin.col]
        source = Image.open(reviewed.path.parent / name)
        if begin.col == 0:  # a small one as it is
            assert pixels.mode == source.mode == "L"
            np.testing.assert_array_equal(np.asarray(pixels), np.asarray(source))
        else:
            assert pixels.size == (64, 51)
            small = np.asarray(source.resize((64, 51), Image.Resampling.LANCZOS), float)
            assert np.abs(np.asarray(pixels) - small).mean() < 4
        assert sheet.row_dimensions[begin.row + 1].height in (None, 51)
        shown.add((index, begin.col))
    assert sheet.sheet_format.defaultRowHeight == 51  # 68 pixels
    assert shown == set(itertools.product(ORDER[:5], (0, 1)))


def test_a_ranking_of_several_trainings(tmp_path):
    write_workbook(read_reviewed(write_trainings(tmp_path)), tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert column(book["Ranking"], "influence_se") == [0.125] * 6
    assert column(book["Ranking"], "harmful_in") == [4, 5, 3, 0, 1, 0]
    assert column(book["Ranking"], "suggested") == [2, 0, 1, 3, 0, 0]
    assert column(book["Ranking"], "relabel_gain") == [0.5, 0.25, 0.125, 0.125, -0.5, 0]
    assert "influence_se, harmful_in" in [line[0].value for line in book["Read me"]]


def test_proposals_are_beside_decisions_that_stay_empty(tmp_path):
    reviewed = read_reviewed(write_trainings(tmp_path))
    proposals = {0: Decision("relabel", "2.0"), 1: Decision("remove")}
    write_workbook(reviewed, tmp_path / "r.xlsx", proposals=proposals)
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    titles = [cell.value for cell in book["Ranking"][1]]
    assert titles[:4] == ["decision", "label", "proposed", "proposed label"]
    assert column(book["Ranking"], "proposed") == ["relabel", "remove", *[None] * 4]
    assert column(book["Ranking"], "proposed label") == [2, *[None] * 5]
    output = tmp_path / "clean.csv"
    assert not cleanse(reviewed.path, output=output, decisions=tmp_path / "r.xlsx").removed
    # Copied over the decisions, they are accepted.
    for line in book["Ranking"].iter_rows(min_row=2, max_col=4):
        line[0].value, line[1].value = line[2].value, line[3].value
    book.save(tmp_path / "r.xlsx")
    done = cleanse(reviewed.path, output=output, decisions=tmp_path / "r.xlsx")
    assert (done.removed, done.relabelled) == ((1,), {0: "2.0"})


def test_decisions_and_labels_are_picked_from_lists(book):
    sheet = book["Ranking"]
    lists = {str(v.sqref): v for v in sheet.data_validations.dataValidation}
    assert lists["C2:C13"].formula1 == '"keep,remove,relabel"'
    assert lists["D2:D13"].formula1 == "Classes!$A$2:$A$5"
    assert {v.type for v in lists.values()} == {"list"}
    assert [row[0].value for row in book["Classes"]["A2:A5"]] == [0, 1, 2, 3]


def test_the_classes_are_summed_up(book):
    rows = table(book["Classes"])
    for row, value in zip(rows, range(4)):
        own = [k for k in range(N) if LABELS[k] == value]
        assert row["rows"] == len(own)
        assert row["harmful"] == sum(INFLUENCE[k] < 0 for k in own)
        assert row["helpful"] == sum(INFLUENCE[k] > 0 for k in own)
        assert row["predicted otherwise"] == sum(PREDICTED[k] != value for k in own)
        assert row["sum of influence"] == pytest.approx(sum(INFLUENCE[k] for k in own))
        assert row["lowest influence"] == pytest.approx(min(INFLUENCE[k] for k in own))
    assert [row["name"] for row in rows] == ["'=zero", "'@one", "two", "猫"]


def test_the_groups_are_summed_up(reviewed, tmp_path):
    grouped = read_reviewed(reviewed.path, group_by="x")
    write_workbook(grouped, tmp_path / "g.xlsx", thumbnails=0)
    (row,) = table(openpyxl.load_workbook(tmp_path / "g.xlsx")["Groups"])
    assert row["folder of x"] == "."
    assert (row["rows"], row["harmful"]) == (N, sum(INFLUENCE < 0))
    assert row["sum of influence"] == pytest.approx(INFLUENCE.sum())
    judged = np.delete(INFLUENCE, 4)
    low, high = stats.t.interval(0.95, N - 2, judged.mean(), stats.sem(judged))
    assert (row["95 % from"], row["95 % to"]) == pytest.approx((low, high), abs=1e-3)


def test_a_class_that_is_only_predicted_is_not_offered(tmp_path):
    path = write_csv(tmp_path / "x.csv", ["x", "y"], [[1, 0], [2, 3]])
    scores = Scores([1.0, -1.0], predicted=[2, 3])
    Ranking(open_dataset(path, []), scores).write(tmp_path / "r.csv")
    write_workbook(read_reviewed(tmp_path / "r.csv"), tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert [row["class"] for row in table(book["Classes"])] == [0, 3, 2]
    lists = [v.formula1 for v in book["Ranking"].data_validations.dataValidation]
    assert "Classes!$A$2:$A$3" in lists


def test_the_same_ranking_gives_the_same_bytes(reviewed, tmp_path):
    for name in ("1.xlsx", "2.xlsx"):
        write_workbook(reviewed, tmp_path / name, thumbnails=3)
    assert (tmp_path / "1.xlsx").read_bytes() == (tmp_path / "2.xlsx").read_bytes()


def test_without_thumbnails_there_is_no_place_for_them(reviewed, tmp_path):
    write_workbook(reviewed, tmp_path / "review.xlsx", thumbnails=0)
    sheet = openpyxl.load_workbook(tmp_path / "review.xlsx")["Ranking"]
    assert [sheet["A1"].value, sheet["B1"].value, sheet.freeze_panes] == ["decision", "label", "C2"]
    assert not any("media" in n for n in zipfile.ZipFile(tmp_path / "review.xlsx").namelist())


class Said:
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)

    stage = workbook.SilentProgress.stage


def test_what_is_missing_is_said(reviewed, tmp_path, monkeypatch):
    (reviewed.path.parent / "b7.png").unlink()
    monkeypatch.setattr(workbook, "MOST_ROWS", 10)
    monkeypatch.setattr("nnabla_influence.review.sheet.MOST_FEATURES", 1)
    said = Said()
    write_workbook(reviewed, tmp_path / "review.xlsx", thumbnails=3, progress=said)
    book = openpyxl.load_workbook(tmp_path / "review.xlsx")
    assert column(book["Ranking"], "datasource_index") == ORDER[:10]
    assert book["Ranking"]["B3"].value == "cannot be shown"
    assert "rank (feature)" not in [cell.value for cell in book["Ranking"][1]]
    notes = [right for left, right in book["Read me"].iter_rows(values_only=True) if left == "Note"]
    assert said.lines == [f"{tmp_path / 'review.xlsx'}: {note}" for note in notes]
    assert len(notes) == 3
    assert all(name in note for name, note in zip(("b7.png", "1 more", "2 least"), notes))


def test_a_table_without_classes_has_neither_their_sheet_nor_pictures(tmp_path):
    rows = [[0.5, "=", "0.25"], [1.5, "b", "0.75"]]
    path = write_csv(tmp_path / "x.csv", ["v__0:length", "#c", "y"], rows)
    Ranking(open_dataset(path, []), Scores([1.0, -1.0])).write(tmp_path / "r.csv")
    write_workbook(read_reviewed(tmp_path / "r.csv"), tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert book.sheetnames == ["Ranking", "Read me"]
    rows = table(book["Ranking"])
    assert {row.pop("ranking") for row in rows} == {ranking_id(tmp_path / "r.csv")}
    assert [list(row.values()) for row in rows] == [
        [None, None, 1, -1, "harmful", 0.75, 1, 1.5, "b"],
        [None, None, 2, 1, "helpful", 0.25, 0, 0.5, "'="],
    ]
