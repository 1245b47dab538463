from __future__ import annotations

import pytest

from tests.engine.products import ENGINES


@pytest.fixture(params=ENGINES)
def build(request):
    """Build an engine of an objective: each test runs with both."""
    return ENGINES[request.param]
