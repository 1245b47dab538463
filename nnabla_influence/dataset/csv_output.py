"""Rows of a dataset in another CSV: lines that nnabla can read, and adapted relative paths."""

from __future__ import annotations

import contextlib
import csv
import os
import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from nnabla_influence.dataset.dataset import Dataset

_NEEDS_QUOTES = re.compile(r'[,;"\t\r\n]')


class _Return:
    """A file for ``csv.writer``, which returns what ``write`` returns."""

    @staticmethod
    def write(text: str) -> str:
        return text


def line_writer() -> Callable[[Sequence[str]], str]:
    """Return a function from cells to a line of a CSV, with its line end."""
    # With this line end the writer puts quotes around every CR and LF within a cell.
    writer = csv.writer(_Return(), lineterminator="\r\n")
    return lambda cells: writer.writerow(cells)[:-2] + "\n"


def spreadsheet_line_writer() -> Callable[[Sequence[str]], str]:
    """Return a `line_writer` that also quotes semicolons and tabs.

    LibreOffice proposes to split cells at these unless they are quoted.
    """
    plain = line_writer()

    def line(cells: Sequence[str]) -> str:
        written = plain(cells)
        if ";" not in written and "\t" not in written:
            return written
        return ",".join(map(_quoted, cells)) + "\n"

    return line


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell


class Relocation:
    """Rewrites relative paths of a dataset so that they are valid in another CSV.

    Args:
        dataset: Whose cells are rewritten.
        target: The other CSV.

    Attributes:
        is_needed: Whether any path changes.
        is_ascii: Whether its prefix of paths is ASCII.
    """

    def __init__(self, dataset: Dataset, target: Path):
        self._dataset = dataset
        here, there = dataset.path.parent, Path(os.path.abspath(target)).parent
        self.is_needed = not here.samefile(there)
        self._way = here.as_posix()
        # nnabla resolves `..` as text and a file system follows links, so a relative path is used
        # if both find the folder. To another drive there is none.
        with contextlib.suppress(ValueError, OSError):
            way = os.path.relpath(here, there)
            if Path(there, way).samefile(here):
                self._way = Path(way).as_posix()
        self.is_ascii = not self.is_needed or self._way.isascii()

    def __call__(self, position: int, cell: str) -> str:
        """Return a cell for the other CSV."""
        path = cell.replace("\\", "/")
        if not self.is_needed or os.path.isabs(path) or not self._dataset.is_file(position, cell):
            return cell
        return posixpath.normpath(f"{self._way}/{path}")
