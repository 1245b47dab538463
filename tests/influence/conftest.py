"""What the tests of traces share."""

from __future__ import annotations

import pytest

from tests.exact_trainings import Watched, watched_trainings


@pytest.fixture(scope="session")
def trainings(tmp_path_factory) -> dict[str, Watched]:
    return watched_trainings(tmp_path_factory.getbasetemp())
