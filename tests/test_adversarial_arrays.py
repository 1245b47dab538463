"""Arrays that somebody sent: pickled objects, and headers that lie.

Each of these did what it says before it was refused.
"""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nnabla_influence import Options, score
from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import DatasetError, RunError
from nnabla_influence.nnabla_cli import training
from nnabla_influence.nnabla_cli.unsafe_inputs import check_files
from nnabla_influence.options import CurveOptions
from nnabla_influence.retraining.removal_curve import curve
from nnabla_influence.review.thumbnails import shows_a_picture, thumbnail
from tests.adversarial import add_column, add_monitored, train_it
from tests.retraining.projects import Project, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    # nnabla_cli looks for a cache from the current folder only.
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path / "project", n_training=30)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


def bad_cell(csv: Path, marker: Path, row: int = 0) -> str:
    np.save(csv.with_name("bad.npy"), np.array([Touch(marker)], object), allow_pickle=True)
    return add_column(csv, "bad.npy", row)


def as_plain_pickle(project: Project, marker: Path) -> str:
    project.training.with_name("bad.npy").write_bytes(pickle.dumps(Touch(marker)))
    return add_column(project.training, "bad.npy")


def in_another_dataset(project: Project, marker: Path) -> str:
    add_monitored(project.model, project.test)
    return bad_cell(project.test, marker)


def in_cache(project: Project, marker: Path) -> str:
    cache = project.training.parent / "cache"
    cache.mkdir()
    with open(cache / "cache_0.npy", "wb") as file:
        np.save(file, np.zeros((30, 1), np.float32))
        np.save(file, np.array([Touch(marker)], object), allow_pickle=True)
    (cache / "cache_info.csv").write_text("x\ny\n")
    (cache / "cache_index.csv").write_text("cache_0.npy,30\n")
    add_monitored(project.model, project.test, cache_dir=str(cache))
    return "cache_0.npy"


def score_without_run(project: Project, folder: Path) -> None:
    score(project.model, parameters=parameters(project), device="cpu")


def score_by_replay(project: Project, folder: Path) -> None:
    options = Options(method="exact")
    score(project.model, parameters=parameters(project), options=options, device="cpu")


def parameters(project: Project) -> Path:
    """Write parameters for the network, as if they were trained."""
    path = project.model.parent / "net.h5"
    network = load_definition(project.model).network
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for index, variable in enumerate(v for v in network.variable if v.type == "Parameter"):
            shape = tuple(variable.shape.dim)
            file[variable.name] = rng.normal(size=shape).astype(np.float32)
            file[variable.name].attrs.update(need_grad=True, index=index)
    return path


PLACES = {  # what puts the object there and returns how a message names the place
    "first row": lambda project, marker: bad_cell(project.training, marker),
    "another row": lambda project, marker: bad_cell(project.training, marker, row=1),
    "validation": lambda project, marker: bad_cell(project.validation, marker),
    "another dataset": in_another_dataset,
    "cache": in_cache,
    "plain pickle": as_plain_pickle,
}


@pytest.mark.parametrize(
    ("command", "place"),
    [
        *((command, place) for command in (train_it, score_by_replay) for place in PLACES),
        # nnabla decodes its first row, though there is no run to follow.
        *((score_without_run, place) for place in ("first row", "plain pickle")),
    ],
)
def test_pickled_objects_are_refused_before_they_run(command, place, project, tmp_path, marker):
    where = PLACES[place](project, marker)
    with pytest.raises(DatasetError, match=re.escape(where)):
        command(project, tmp_path)
    assert not marker.exists()


@pytest.mark.slow
def test_a_removal_curve_unpickles_nothing(project, tmp_path, marker):
    """It reads the network's columns alone."""
    bad_cell(project.training, marker)
    curve(
        project.model,
        train=project.training,
        validation=project.validation,
        test=project.test,
        output=tmp_path / "curve",
        options=CurveOptions(removed=[1], rankings=["final"], seeds=[0]),
        device="cpu",
    )
    assert not marker.exists()


@pytest.mark.slow
def test_nnabla_cli_itself_unpickles_nothing(project, tmp_path, marker, monkeypatch):
    """As if the file had changed after it was checked."""
    bad_cell(project.training, marker)
    monkeypatch.setattr(training, "check_datasets", lambda definition: None)
    with pytest.raises(RunError, match="allow_pickle=False"):
        train_it(project, tmp_path)
    assert not marker.exists()


def structured(path: Path) -> None:
    np.save(path, np.zeros(2, [("a", [("b", object, (2,))])]), allow_pickle=True)


def cut_off(path: Path) -> None:
    np.save(path, np.zeros(100))
    path.write_bytes(path.read_bytes()[:-1])


def with_header(text: str) -> Any:
    def write(path: Path) -> None:
        header = text.encode().ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)

    return write


HEADERS = {
    "open bracket": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,"),
    "no python": with_header("}{"),
    "endless": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}"),
    "less than none": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"),
    "structured": structured,
    "cut off": cut_off,
}


@pytest.mark.parametrize("write", HEADERS.values(), ids=HEADERS)
def test_arrays_whose_header_is_wrong(write, tmp_path):
    write(tmp_path / "a.npy")
    shows_a_picture(tmp_path / "a.npy")
    with pytest.raises(DatasetError, match=r"a\.npy"):
        thumbnail(tmp_path / "a.npy", 8)
    csv = tmp_path / "x.csv"
    csv.write_text("x\n0\na.npy\n")
    place = re.escape("x.csv, line 3, datasource_index 1, column 'x'")
    with pytest.raises(DatasetError, match=place):
        open_dataset(csv, [ColumnSpec("x", (1,))])
    with pytest.raises(DatasetError, match=place):
        check_files(csv)


def test_a_line_end_in_a_cell_hides_nothing(tmp_path):
    """nnabla reads it as LF, whatever it is."""
    (tmp_path / "a\nb.npy").write_bytes(b"no array")
    csv = tmp_path / "x.csv"
    csv.write_bytes(b'x\n"a\r\nb.npy"\n')
    with pytest.raises(DatasetError, match="datasource_index 0"):
        check_files(csv)
