"""Programs of the system that some tests drive: a browser, a spreadsheet."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = "NNABLA_INFLUENCE_ALL_TESTS"
"""Where this environment variable is set (`.ci/run` does), a missing program fails the test."""


def program(*names: str, package: str) -> str:
    """Return the path of the first of the programs that is installed, or skip the test.

    Args:
        names: What the program may be called.
        package: Debian's package that brings it.
    """
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    message = f"needs {names[0]}: apt-get install {package}"
    if os.environ.get(REQUIRED):
        pytest.fail(message)
    pytest.skip(message)


def chromium() -> str:
    """Return the path of a Chromium."""
    return program("chromium", "chromium-browser", "google-chrome", package="chromium")


def libreoffice() -> str:
    """Return the path of a LibreOffice that converts spreadsheets."""
    return program("soffice", "libreoffice", package="libreoffice-calc-nogui")
