"""What the tests of the whole scoring share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _unjudged(unjudged):
    """The trainings of these tests are too small for their scores to be trusted."""
