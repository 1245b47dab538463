"""A job of NNCD with a trained table, for calls within this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnabla_influence import lifeline
from tests.console import nncd
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
