"""Files that somebody sent: what they try is really tried, and nothing of it happens.

Each of these did what it says before it was refused.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nnabla_influence import Options, score
from nnabla_influence.errors import DatasetError, RunError
from nnabla_influence.network import load_definition
from nnabla_influence.nnabla_cli import training
from tests.curves.projects import Project, write_project
from tests.small_projects import edit


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    # nnabla_cli looks for a cache from the current folder only.
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path / "project", n_training=30)


def write_pickled(path: Path, marker: Path) -> None:
    np.save(path, np.array([Touch(marker)], object), allow_pickle=True)


def add_column(csv: Path, cell: str, row: int = 0) -> None:
    """Add a column that the network does not use; all but one of its cells are numbers."""
    header, *lines = csv.read_text().splitlines()
    lines = [f"{line},{cell if number == row else 0}" for number, line in enumerate(lines)]
    csv.write_text("\n".join([f"{header},unused", *lines]) + "\n")


def add_monitored(model: Path, csv: Path, **settings: Any) -> None:
    """Let a monitor look at another dataset."""

    def change(proto: Any) -> None:
        proto.dataset.add().CopyFrom(proto.dataset[0])
        proto.dataset[-1].name, proto.dataset[-1].uri = "Other", str(csv)
        for name, value in settings.items():
            setattr(proto.dataset[-1], name, value)
        proto.monitor.add().CopyFrom(proto.monitor[0])
        proto.monitor[-1].name = "other"
        del proto.monitor[-1].dataset_name[:]
        proto.monitor[-1].dataset_name.append("Other")

    edit(model, change)


def in_training(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.training, "bad.npy", row=1)
    return "training.csv, line 3, datasource_index 1, column 'unused'"


def in_first_row(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.training, "bad.npy")
    return "training.csv, line 2, datasource_index 0, column 'unused'"


def in_validation(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.validation, "bad.npy")
    return "validation.csv, line 2, datasource_index 0, column 'unused'"


def in_other(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.test, "bad.npy")
    add_monitored(project.model, project.test)
    return "test.csv, line 2, datasource_index 0, column 'unused'"


def as_plain_pickle(project: Project, marker: Path) -> str:
    (project.training.parent / "bad.npy").write_bytes(pickle.dumps(Touch(marker)))
    add_column(project.training, "bad.npy")
    return "training.csv, line 2, datasource_index 0, column 'unused'"


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


def train_it(project: Project, folder: Path) -> None:
    training.train(project.model, folder / "run", device="cpu")


def score_without_run(project: Project, folder: Path) -> None:
    score(project.model, parameters=parameters(project), options=Options(device="cpu"))


def score_by_replay(project: Project, folder: Path) -> None:
    options = Options(method="exact", device="cpu")
    score(project.model, parameters=parameters(project), options=options)


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


@pytest.mark.parametrize("command", [train_it, score_by_replay])
@pytest.mark.parametrize(
    "place", [in_first_row, in_training, in_validation, in_other, in_cache, as_plain_pickle]
)
def test_pickled_objects_are_refused_before_they_run(command, place, project, tmp_path, marker):
    where = place(project, marker)
    with pytest.raises(DatasetError, match=re.escape(where)):
        command(project, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("place", [in_first_row, as_plain_pickle])
def test_the_row_that_nnabla_decodes_for_a_score_without_a_run(place, project, tmp_path, marker):
    where = place(project, marker)
    with pytest.raises(DatasetError, match=re.escape(where)):
        score_without_run(project, tmp_path)
    assert not marker.exists()


def test_nnabla_cli_itself_unpickles_nothing(project, tmp_path, marker, monkeypatch):
    """As if the file had changed after it was checked."""
    in_first_row(project, marker)
    monkeypatch.setattr(training, "check_datasets", lambda definition: None)
    with pytest.raises(RunError, match="allow_pickle=False"):
        train_it(project, tmp_path)
    assert not marker.exists()
