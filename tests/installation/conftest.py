"""Consoles of each test, and what is installed into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnabla_influence.installation.payload import Source
from tests.installation.consoles import nncd_home, source, windows_nnc


@pytest.fixture
def plugins(japanese_path: Path) -> Path:
    return windows_nnc(japanese_path)


@pytest.fixture
def database(japanese_path: Path) -> Path:
    return nncd_home(japanese_path)


@pytest.fixture
def first(tmp_path) -> Source:
    return source(tmp_path / "source")
