"""Files that somebody sent: pictures and workbooks that are bombs, and what is not a file.

Each of these did what it says before it was refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from nnabla_influence import file_safety
from nnabla_influence.cleansing.table import read_table
from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.definition import load_definition
from nnabla_influence.definition.model_file import read_parameters as read_model_parameters
from nnabla_influence.errors import DatasetError, ModelError, OutputError, RunError
from nnabla_influence.nnabla_cli.unsafe_inputs import check_datasets, check_files
from nnabla_influence.ranking import read_ranking
from nnabla_influence.review.thumbnails import thumbnail
from nnabla_influence.runs.run import read_run
from nnabla_influence.runs.run_files import check_replaceable
from nnabla_influence.solvers.saved_state import read_solver_state as read_model_state
from tests.adversarial import add_column, train_it
from tests.retraining.projects import Project, write_project
from tests.small_projects import edit

pytestmark = pytest.mark.slow

PLACE = re.escape("x.csv, line 2, datasource_index 0, column 'x'")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    # nnabla_cli looks for a cache from the current folder only.
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path / "project", n_training=30)


def write_bomb(path: Path, side: int = 13_000) -> None:
    """A picture of many pixels in some kB."""
    Image.new("L", (side, side)).save(path)


@pytest.mark.slow
def test_a_thumbnail_of_a_picture_that_would_take_gigabytes(tmp_path):
    write_bomb(tmp_path / "bomb.png")
    with pytest.raises(DatasetError, match=r"bomb\.png"):
        thumbnail(tmp_path / "bomb.png", 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "shape"), [(13_000, (1, 13_000, 13_000)), (9_000, (1, 4, 4)), (13_000, (1, 4, 4))]
)
def test_a_picture_of_some_kilobytes_that_would_take_gigabytes(side, shape, tmp_path):
    """So many as decode at once; one that is no bomb is not decoded for a network far smaller."""
    write_bomb(tmp_path / "bomb.png", side)
    csv = tmp_path / "x.csv"
    csv.write_text("x\nbomb.png\n")
    tracemalloc.start()
    with pytest.raises(DatasetError, match=PLACE):
        open_dataset(csv, [ColumnSpec("x", shape)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.slow
def test_a_picture_that_nnabla_cli_would_unpack(project, tmp_path):
    write_bomb(project.training.parent / "bomb.png")
    add_column(project.validation, "bomb.png", row=2)
    with pytest.raises(DatasetError, match=r"validation\.csv, line 4, .* column 'unused'"):
        train_it(project, tmp_path)


def test_a_photograph_in_a_column_that_is_not_used_is_no_bomb(project):
    Image.new("RGB", (4000, 3000)).save(project.training.parent / "photo.jpg")
    add_column(project.training, "photo.jpg")
    check_datasets(load_definition(project.model))


def test_a_picture_that_is_a_program(tmp_path):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "a.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    )
    csv = tmp_path / "x.csv"
    csv.write_text("x\na.png\n")
    with pytest.raises(DatasetError, match="EPS"):
        open_dataset(csv, [ColumnSpec("x", (1, 4, 4))])


def test_a_workbook_of_decisions_that_unpacks_to_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(file_safety, "_LEAST_BYTES", 2**20)
    path = tmp_path / "decisions.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(2**24))
    with pytest.raises(DatasetError, match=r"decisions\.xlsx: .*unpack"):
        read_table(path, ["decision"])


# --------------------------------------------------------------- what is not a file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.fixture(params=[pipe, device, loop])
def make(request):
    """What makes no file; a test that waits for it, or reads on, ends after ten seconds."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes on this system")
    # Not an OSError, which would be said as one of the file.
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits, or reads on"))
    signal.alarm(10)
    yield request.param
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def as_column(path: Path) -> None:
    open_dataset(path, [ColumnSpec("x", (1,))])


READERS = [
    *(("x.csv", DatasetError, read) for read in (as_column, read_ranking)),
    *(
        (f"x.{suffix}", ModelError, read)
        for suffix in ("nnp", "nntxt", "prototxt")
        for read in (load_definition, read_model_state)
    ),
    *((f"x.{suffix}", ModelError, read_model_parameters) for suffix in ("h5", "protobuf")),
    *(("run", (RunError, OutputError), read) for read in (read_run, check_replaceable)),
]


@pytest.mark.parametrize(("name", "error", "read"), READERS)
def test_what_is_not_a_file_is_not_read(make, name, error, read, tmp_path):
    make(tmp_path / name)
    with pytest.raises(error, match=f"{re.escape(name)}|/dev/zero"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["final.h5", "steps.csv", "run.json", "solver_states.h5", "checkpoints/layout.json"]
)
def test_what_is_not_a_file_in_a_run(make, name, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    with h5py.File(run / "final.h5", "w") as file:
        file["W"] = np.ones(3, np.float32)
    (run / "steps.csv").write_text("step,epoch,learning_rate,rows\n0,0,0.1,0 1\n")
    (run / name).unlink(missing_ok=True)
    make(run / name)
    with contextlib.suppress(RunError):  # What is not needed may be passed over.
        read = read_run(run)
        read.solver_state()
        assert read.checkpoints == ()


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.csv", "a.wav"])
def test_what_is_not_a_file_in_a_cell(make, name, tmp_path):
    make(tmp_path / name)
    csv = tmp_path / "x.csv"
    csv.write_text(f"x\n{name}\n")
    with pytest.raises(DatasetError, match=PLACE):
        open_dataset(csv, [ColumnSpec("x", (1, 4, 4))])
    if make is not loop:  # which nnabla finds missing
        with pytest.raises(DatasetError, match=PLACE):
            check_files(csv)


@pytest.mark.parametrize("name", ["uri", "cache_dir"])
def test_nothing_is_fetched_from_the_web(name, project, tmp_path):
    edit(project.model, lambda p: setattr(p.dataset[1], name, "http://127.0.0.1:9/x.csv"))
    with pytest.raises(DatasetError, match="web address"):
        train_it(project, tmp_path)
