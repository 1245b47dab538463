"""Fixtures that all tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

from nnabla_influence.ranking import RELIABLE, Verdict

# No test fails because the machine is busy.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a GPU, unless ``-m`` asks for them."""
    if "gpu" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def _interruptible():
    """Tests send Ctrl-C to processes of theirs, which would ignore it if pytest was told to.

    A shell tells so whatever it starts in the background, as a CI may be.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """No test reads or leaves decoded data in the user's cache."""
    monkeypatch.setenv("NNABLA_INFLUENCE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch):
    """Rankings of trainings that are too small for their scores to be trusted are written, too."""
    monkeypatch.setattr(
        "nnabla_influence.scoring.scoring.judge",
        lambda *_, any_verdict: Verdict(RELIABLE),
    )


@pytest.fixture
def japanese_path(tmp_path: Path) -> Path:
    """A folder whose path has a space and Japanese characters."""
    folder = tmp_path / "学習 データ"
    folder.mkdir()
    return folder
