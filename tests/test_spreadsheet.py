"""What a spreadsheet makes of the files: LibreOffice opens them, and saves them again."""

from __future__ import annotations

import csv
import datetime
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from nnabla.utils.data_iterator import data_iterator_csv_dataset

from nnabla_influence.cleansing import cleanse
from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Orders, Ranking, Scores
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.review.workbook import write_workbook
from tests.dataset.common import noise, save_image, write_csv
from tests.programs import libreoffice

pytestmark = pytest.mark.slow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.*extension is not supported", "ignore:overflow encountered in cast"
    ),
]

# What its dialog proposes for a CSV with a byte-order mark: commas, UTF-8.
OPENED = "CSV:44,34,76,1"
# What a computer with decimal commas does without asking: semicolons.
SPLIT = "CSV:59,34,76,1"
# Saved as "Text CSV" with commas, the values as they are kept, not as they are shown.
KEPT = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false"

NAMES = [
    *("=1+1", "@SUM(1)", "-1+1", "+a", "=HYPERLINK(A1)", " =1", "\t=1", '"=1"', "a;=1;b"),
    *("画像/猫", "2020-01-01", "1-2", "007", "1e5", "TRUE", "12:30", "50%", "1,5"),
]
NOTES = [
    *("=1+1", '=HYPERLINK("http://example.com","x")', "-1+1", "+a1", "@SUM(1)", "\t=1", '"=1"'),
    *(
        "a;=1;b",
        'two\n"=1"',
        "猫",
        "1,5",
        "plain",
        "'=1",
        "a\tb",
        "-inf",
        "\uff1d1+1",
        "\uff0d1",
        "x",
    ),
]
NUMBERS = [
    *("-1.2345678901234567e-05", "0.30000000000000004", "007", "-0.0", "+7", "1e-300", "1e+300"),
    *("-1_000", " 5", ".5", "5.", "123456789012345678", "1", "-1.5e-3", "0.1", "1E5", "-2", "00"),
]
N = len(NAMES)
INFLUENCE = np.random.default_rng(0).normal(size=N) * 10.0 ** -np.arange(N)
REMOVED, RELABELLED = [3, 9], {1: "2", 8: "0"}


@dataclass(frozen=True)
class Opened:
    """The files, and what LibreOffice made of them."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / name.replace("_", ".")


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Opened:
    folder = tmp_path_factory.mktemp("spread") / "my データ"
    folder.mkdir()
    rows = []
    for k, (name, note, number) in enumerate(zip(NAMES, NOTES, NUMBERS)):
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / f"{name}.npy", np.full(3, k + 0.5))
        save_image(folder / f"{k}.png", noise(6, 6, seed=k))
        rows.append([f"{name}.npy", f"{k}.png", number, f"{k % 3:03}", note])
    header = ["x", "画", "v", "y:label;犬;猫;鳥", "#note"]
    train = write_csv(folder / "train.csv", header, rows)
    scores = Scores(INFLUENCE, times_seen=[1] * N, loss=abs(INFLUENCE), predicted=[0] * N)
    Ranking(open_dataset(train, []), scores, orders=Orders("recorded", 1)).write(
        folder / "ranking.csv"
    )
    reviewed = read_reviewed(folder / "ranking.csv")
    write_workbook(reviewed, folder / "review.xlsx", thumbnails=4)
    fill_in(folder / "review.xlsx", folder / "decided.xlsx")
    write_random_notes(folder)

    for target, opening in (("opened", OPENED), ("split", SPLIT)):
        names = ["notes.csv", "careless.csv", *(["ranking.csv"] if target == "opened" else [])]
        convert(folder, "xlsx", *names, folder / target, f"--infilter={opening}")
    convert(folder, KEPT, "decided.xlsx", "opened/ranking.xlsx", folder / "kept")
    return Opened(folder)


def convert(folder: Path, form: str, *names_and_target: object) -> None:
    *names, target = [n for n in names_and_target if not str(n).startswith("--")]
    options = [n for n in names_and_target if str(n).startswith("--")]
    subprocess.run(
        [
            libreoffice(),
            f"-env:UserInstallation={(folder.parent / 'profile').as_uri()}",
            *("--headless", "--norestore", *options, "--convert-to", form, "--outdir", target),
            *(folder / name for name in names),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )


def write_random_notes(folder: Path) -> None:
    """Write many cells as a ranking has them, and as they would be if nothing were done."""
    draw = random.Random(0)
    notes = [
        "".join(draw.choices("=+-@1A\t\n;,\"' .\uff1d猫", k=draw.randint(1, 9))) for _ in range(600)
    ]
    rows = [[k, note] for k, note in enumerate([*NOTES, *notes])]
    write_csv(folder / "careless.csv", ["y", "#note"], rows, encoding="utf-8-sig")
    dataset = open_dataset(folder / "careless.csv", [])
    Ranking(dataset, Scores(np.arange(1.0, len(rows) + 1))).write(folder / "notes.csv")


def formulas(path: Path) -> list[str]:
    sheet = openpyxl.load_workbook(path).active
    return [c.value for row in sheet.iter_rows() for c in row if c.data_type == "f"]


def fill_in(source: Path, target: Path) -> None:
    """Decide as a reviewer would, in the cells of the sheet."""
    book = openpyxl.load_workbook(source)
    sheet = book["Ranking"]
    place = {cell.value: cell.column for cell in sheet[1]}
    for line in range(2, sheet.max_row + 1):
        index = sheet.cell(line, place["datasource_index"]).value
        if index in REMOVED:
            sheet.cell(line, place["decision"]).value = "remove"
        elif index in RELABELLED:
            sheet.cell(line, place["decision"]).value = "relabel"
            sheet.cell(line, place["label"]).value = int(RELABELLED[index])
    book.save(target)


def read_cells(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def by_nnabla(path: Path) -> dict[str, np.ndarray]:
    with data_iterator_csv_dataset(str(path), N, shuffle=False) as iterator:
        return dict(zip(iterator.variables, iterator.next()))


def kept_in_csv(value: float) -> object:
    """LibreOffice writes a CSV with 15 digits, and never more than 20 behind the point."""
    return pytest.approx(value, rel=5e-15, abs=5.1e-21)


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


@pytest.mark.parametrize(("separator", "run"), [("opened", "=1+1"), ("split", "=1")])
def test_no_note_is_run_though_it_would_be(opened, separator, run):
    careless = formulas(opened.folder / separator / "careless.xlsx")
    assert run in careless
    assert len(careless) > 10
    assert formulas(opened.folder / separator / "notes.xlsx") == []


def test_the_ranking_is_opened_with_its_values_and_without_formulas(opened):
    sheet = openpyxl.load_workbook(opened.folder / "opened/ranking.xlsx").active
    header, *rows = read_cells(opened.folder / "ranking.csv")
    assert [cell.value for cell in sheet[1]] == header
    assert sheet.max_row == 1 + N
    for row, cells in zip(rows, sheet.iter_rows(min_row=2)):
        for cell, found in zip(row, cells):
            assert found.data_type != "f"
            if isinstance(found.value, (int, float)):  # a spreadsheet keeps 15 digits
                assert found.value == pytest.approx(float(cell), rel=5e-15, abs=0)
            else:
                assert not is_number(cell)
                assert not isinstance(found.value, datetime.date)
                assert found.value == cell


def test_saved_as_csv_again_it_is_the_same_dataset_for_nnabla(opened):
    again = opened.folder / "again.csv"  # where the relative paths are right
    again.write_bytes((opened.folder / "kept/ranking.csv").read_bytes())
    expected = by_nnabla(opened.folder / "ranking.csv")
    order = np.argsort(INFLUENCE)
    np.testing.assert_array_equal(expected["x"][:, 0], order + 0.5)
    seen = by_nnabla(again)
    assert list(seen) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(seen[name], values, rtol=2e-7, atol=5e-21)  # of 32 bits
    header, *rows = read_cells(opened.folder / "ranking.csv")
    assert read_cells(again)[0] == header
    for row, saved in zip(rows, read_cells(again)[1:]):
        for cell, other in zip(row, saved):
            assert other == cell or float(other) == kept_in_csv(float(cell))


@pytest.mark.parametrize("saved", ["decided.xlsx", "kept/decided.csv"])
def test_decisions_that_were_filled_in_are_done(opened, saved):
    decisions, output = opened.folder / saved, opened.folder / "clean.csv"
    train = opened.folder / "train.csv"
    done = cleanse(opened.folder / "ranking.csv", output=output, decisions=decisions, train=train)
    assert sorted(done.removed) == REMOVED
    expected = read_cells(train)
    for index, label in RELABELLED.items():
        expected[1 + index][3] = f"{int(label):03}"  # as the training CSV writes the class
    assert read_cells(output) == [r for k, r in enumerate(expected) if k - 1 not in REMOVED]
