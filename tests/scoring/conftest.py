"""What the tests of scoring share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exact_trainings import Watched, done_again, watched_trainings


@pytest.fixture(autouse=True)
def _unjudged(unjudged):
    """The trainings of these tests are too small for their scores to be trusted."""


@pytest.fixture(scope="session")
def trainings(tmp_path_factory) -> dict[str, Watched]:
    return watched_trainings(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def done(tmp_path_factory) -> Path:
    """The replay of the training ``adam``."""
    return done_again(tmp_path_factory.getbasetemp())
