from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_projects import Trained, trained_table, write_table


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    return trained_table(tmp_path_factory.getbasetemp())


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path)
