"""A job of NNCD with a trained table, and Consoles to install into."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnabla_influence import lifeline
from nnabla_influence.console.release import Release
from tests.console import nncd
from tests.console.consoles import nncd_home, release, windows_nnc
from tests.small_projects import Trained, trained_table


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    return trained_table(tmp_path_factory.getbasetemp())


@pytest.fixture
def job(trained: Trained, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(lifeline, "end_with_application", lambda _: None)
    monkeypatch.delenv("SERVER_PORT", raising=False)
    folder = nncd.job_folder(tmp_path / "home")
    shutil.copy(trained.final, folder / nncd.MODEL)
    return folder


@pytest.fixture
def plugins(japanese_path: Path) -> Path:
    """The folder of plugins of a Windows NNC."""
    return windows_nnc(japanese_path)


@pytest.fixture
def database(japanese_path: Path) -> Path:
    """The database of a NNCD."""
    return nncd_home(japanese_path)


@pytest.fixture
def first(tmp_path: Path) -> Release:
    """A version of the plugins."""
    return release(tmp_path / "source")
