"""What is said about the Console's own Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnabla_influence.installation import (
    Installing,
    Place,
    recognise,
)
from nnabla_influence.installation.payload import Source


@pytest.fixture
def place(plugins: Path) -> Place:
    return recognise(plugins)


def test_what_the_consoles_python_lacks_is_said(place: Place, first: Source):
    python = place.root.parent / "Miniconda3"
    site = python / "Lib" / "site-packages"
    for name in ("nnabla", "numpy", "PIL", "h5py", "nnabla-1.29.0.dist-info"):
        (site / name).mkdir(parents=True)
    (python / "python38.dll").touch()
    (python / "python3.dll").touch()
    lines = Installing(place, first).lines()
    assert "Note: libs/Miniconda3 has no tqdm; the plugins will not run there." in lines
    older = [line for line in lines if "is Python 3.8" in line]
    assert len(older) == 1
    assert older[0].endswith("need 3.9 or 3.10 to run.")
    (site / "tqdm").mkdir()
    (python / "python38.dll").rename(python / "python310.dll")
    lines = Installing(place, first).lines()
    assert (
        lines[-2].endswith("imports: h5py, nnabla, numpy, pillow, tqdm.") or "import:" in lines[-2]
    )
    assert lines[-1] == "Found there: nnabla 1.29.0, in libs/Miniconda3."
