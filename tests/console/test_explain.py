"""The plugins that explain an evaluated row, in both Consoles, and "Cleanse dataset" after it."""

from __future__ import annotations

import csv
import random
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnabla_influence import lifeline
from nnabla_influence.cleansing.decisions import ranking_id
from nnabla_influence.console import attribution, explain
from nnabla_influence.console.evaluated_row import RESULT
from nnabla_influence.review.reviewed import read_reviewed
from tests.console import nncd
from tests.console.scripts import in_process, make_model, names_in
from tests.small_projects import edit, write_images, write_table

pytestmark = pytest.mark.slow

gradcam = partial(attribution.main, method="gradcam")
lime = partial(attribution.main, method="lime")


def evaluate(validation: Path, folder: Path) -> None:
    """Leave what an evaluation does: the rows in the order of a shuffled cache, with outputs."""
    with validation.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    random.Random(0).shuffle(rows)
    rows = [[str(validation.parent / c) if ".png" in c else c for c in row] for row in rows]
    with (folder / RESULT).open("w", encoding="utf-8", newline="") as file:
        outputs = ["y'__0", "y'__1"]
        csv.writer(file, lineterminator="\n").writerows(
            [[*header, *outputs], *([*row, "0.5", "0.5"] for row in rows)]
        )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder with results.nnp, a classifier of grey pictures, and its evaluation."""
    folder = tmp_path_factory.mktemp("数字 project")
    net = write_images(folder)
    edit(net, lambda proto: [setattr(d, "uri", str(folder / d.uri)) for d in proto.dataset])
    make_model(net)
    evaluate(folder / "validation.csv", folder)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    net = write_table(folder)
    edit(net, lambda proto: [setattr(d, "uri", str(folder / d.uri)) for d in proto.dataset])
    make_model(net)
    evaluate(folder / "validation.csv", folder)
    return folder


def evaluated(folder: Path, row: int) -> list[str]:
    """Return the cells of a row of the evaluation, from 0."""
    with (folder / RESULT).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1 + row]


@pytest.fixture
def job(tmp_path: Path, monkeypatch):
    """Make a job of NNCD of a folder."""
    monkeypatch.setattr(lifeline, "end_with_application", lambda _: None)
    monkeypatch.delenv("SERVER_PORT", raising=False)

    def make(folder: Path) -> Path:
        job = nncd.job_folder(tmp_path / "home")
        shutil.copy(folder / "results.nnp", job / nncd.EVALUATED)
        shutil.copy(folder / RESULT, job)
        return job

    return make


def shows(picture: Path, of: Path) -> bool:
    """Whether a picture of 6 pixels a side is there, enlarged."""
    large = np.kron(np.asarray(Image.open(of)), np.ones((9, 9), np.uint8))
    shown = np.asarray(Image.open(picture).convert("L"))[2:56]
    windows = np.lib.stride_tricks.sliding_window_view(shown, large.shape)[0]
    return bool((windows == large).all(axis=(1, 2)).any())


def test_nncd_explains_the_picture_that_was_clicked(pictures, job, monkeypatch, caplog):
    job = job(pictures)
    call = nncd.call(nncd.EXPLAIN, job, image="5,0", device="cpu")
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        code, lines = in_process(explain.main, caplog, *call.command[3:])
    assert (code, lines[-1]) == (0, "Explain completed successfully."), lines
    assert nncd.shown(call.folder) == [call.picture]
    folder = call.folder / "explanation"
    assert names_in(folder) == {"explain.csv", "explain.html", "import"}
    file, label = evaluated(pictures, 5)[:2]
    (said,) = (line for line in lines if line.startswith(f"Index 6 of {RESULT}, given {label}"))
    (predicted,) = re.findall(r"predicted ([0-9]+)", said)
    classes = {label, predicted}
    assert {c for c in "012" if any(f"Grad-CAM of class {c}: layer" in x for x in lines)} == classes
    assert shows(call.picture, Path(file))
    worst = [row.datasource_index for row in read_reviewed(folder / "explain.csv")[:5]]
    assert all(shows(call.picture, pictures / f"training{row}.png") for row in worst[:2])
    (imported,) = server.imported
    assert imported.name == "explain-3-7.csv"
    assert nncd.refused_by_the_page(imported) is None

    # What the page exports names the ranking, which is not that of any other plugin.
    decisions = job / "decisions.csv"
    of = ranking_id(folder / "explain.csv")
    decisions.write_text(f"datasource_index,decision,label,ranking\n3,remove,,{of}\n")
    shutil.copy(job / nncd.EVALUATED, job / nncd.MODEL)
    _, code, lines = nncd.clean(job, caplog)
    assert (code, "run SGD Influence first" in lines[-1]) == (1, True)
    cleansed, code, lines = nncd.clean(job, caplog, decisions=str(decisions))
    assert code == 0, lines
    made = (cleansed.folder / "dataset" / "cleansed.csv").read_text("utf-8").splitlines()
    assert len(made) == 1 + 11


@pytest.mark.parametrize(
    ("plugin", "main", "said"),
    [
        (nncd.GRADCAM, gradcam, "Grad-CAM of class 2: layer "),
        (nncd.LIME, lime, "LIME of class 2: 1000 samples, seed 0, R² "),
    ],
    ids=["gradcam", "lime"],
)
def test_nncd_shows_what_speaks_for_a_class(pictures, job, caplog, plugin, main, said: str):
    call = nncd.call(plugin, job(pictures), image="5,0", device="cpu", classes="2")
    code, lines = in_process(main, caplog, *call.command[3:])
    assert code == 0, lines
    assert nncd.shown(call.folder) == [call.picture]
    assert names_in(call.folder) == {call.picture.name, "plugin_log.txt"}
    assert any(line.startswith(said) for line in lines), lines
    assert shows(call.picture, Path(evaluated(pictures, 5)[0]))


def test_nncd_explains_a_row_of_a_table_by_its_index(table, job, caplog):
    job = job(table)
    for plugin, main, word in (
        (nncd.EXPLAIN_TABLE, explain.main, "without its strongest opponents"),
        (nncd.LIME_TABLE, lime, "LIME of class "),
    ):
        call = nncd.call(plugin, job, index="4", device="cpu", output=plugin.id[:8])
        code, lines = in_process(main, caplog, *call.command[3:])
        assert code == 0, lines
        label = f"{float(evaluated(table, 3)[-3]):g}"
        assert any(line.startswith(f"Index 4 of {RESULT}, given {label}") for line in lines), lines
        assert any(word in line for line in lines)
        assert nncd.shown(call.folder) == [call.picture]


# ------------------------------------------------------------------------------ Windows NNC


@pytest.fixture
def results(pictures, tmp_path, monkeypatch) -> Path:
    """A folder with the results of a training, as the working folder."""
    for name in ("results.nnp", RESULT):
        shutil.copy(pictures / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_windows_nnc_explains_the_picture_of_the_selected_cell(results, caplog):
    file, label = evaluated(results, 7)[:2]
    code, lines = in_process(explain.main, caplog, "-im", file, "-d", "cpu")
    assert code == 0, lines
    assert names_in(results) == {"results.nnp", RESULT, "explain.csv", "explain.html"}
    assert any(line.startswith(f"Index 8 of {RESULT}, given {label}") for line in lines)
    assert len(read_reviewed("explain.csv")) == 12
    text = Path("explain.html").read_text("utf-8")
    assert ranking_id("explain.csv")[1:] in text


def test_windows_nnc_writes_a_picture_of_a_class(results, caplog):
    file = evaluated(results, 7)[0]
    code, lines = in_process(gradcam, caplog, "-im", file, "-d", "cpu")
    assert code == 0, lines
    with Image.open("explain_gradcam.png") as picture:
        assert picture.height == 300
    assert names_in(results) == {"results.nnp", RESULT, "explain_gradcam.png"}


@pytest.mark.parametrize(
    ("main", "arguments", "code", "named"),
    [
        (explain.main, [], 1, "give index"),
        (explain.main, ["-i2", "0"], 1, "the first row has index 1"),
        (explain.main, ["-i2", "13"], 1, "has no row 12"),
        (explain.main, ["-im", "other.png"], 1, "is in no row of output_result.csv"),
        (explain.main, ["-im", "twice.png", "-i", "twice.csv"], 1, "rows of index 1, 3 of twice"),
        (explain.main, ["-im", "x.png", "-i", "none.csv"], 1, "evaluate the network first"),
        (gradcam, ["-i2", "1", "-l", "Nowhere"], 1, "has no layer 'Nowhere'"),
        (gradcam, ["-i2", "1", "-c", "9"], 1, "has no class 9"),
        (gradcam, ["-i2", "1", "-o", "results.nnp"], 1, "results.nnp"),
        (lime, ["-i2", "1", "-n", "0"], 1, "samples"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    results, caplog, main, arguments, code: int, named: str
):
    (results / "twice.csv").write_text("x:image,y\ntwice.png,0\na.png,0\n./twice.png,1\n")
    before = names_in(results)
    got, lines = in_process(main, caplog, *arguments)
    assert got == code, lines
    assert named in lines[-1]
    assert " failed: " in lines[-1]
    assert names_in(results) == before
