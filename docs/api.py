"""Build the reference of the Python API from its docstrings.

Run ``uv run python docs/api.py [FOLDER]``; the pages come to ``docs/api``, or to FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc

import nnabla_influence as package


def main(folder: Path) -> None:
    """Write the pages into ``folder``."""
    # The public names are loaded when they are first used; pdoc reads the module's dictionary.
    vars(package).update({name: getattr(package, name) for name in package.__all__})
    pdoc.render.configure(docformat="google", math=True)
    pdoc.pdoc(package.__name__, output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "api")
