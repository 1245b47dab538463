"""The evaluated row that a plugin explains: the one whose cell was clicked.

An evaluation leaves `RESULT` beside the model: the evaluated rows in their order, whatever dataset
they are of, and the network's outputs as further columns. So it is itself the CSV of these rows.

- Windows NNC fills the file name of the clicked cell into a field of the kind ``image``.
- NNCD copies the clicked picture to ``plugin_ROW_COLUMN.png``, by its place in that CSV from 0. It
  fails by itself where a cell without a picture is clicked; for a table one types the number.

The Consoles number the rows from 1, and so does the field ``index``, as in Sony's plugins.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.errors import DatasetError
from nnabla_influence.text import listed

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result
    from nnabla_influence.console.dialog import Dialog

RESULT = "output_result.csv"

_CLICKED = re.compile(r"plugin_([0-9]+)_[0-9]+")


def add_row_fields(dialog: Dialog, *, of_table: bool) -> None:
    """Add the fields of the evaluated row: its number, and for pictures the clicked cell's file."""
    dialog.add_field("-i --input", "result of the evaluation", "csv", RESULT)
    text = "number of the row in that result, from 1"
    if not of_table:
        dialog.add_field("-im --image", "evaluated picture to explain", "image")
        text += ", in place of the picture"
    dialog.add_field("-i2 --index", text, "int", 1 if of_table else None, int)


def evaluated_row(parsed: argparse.Namespace, result: Result | None) -> tuple[Path, int]:
    """Return the CSV of the evaluated rows, and the number of the row in it, from 0.

    Raises:
        DatasetError: No row is chosen, or not a single one.
    """
    if result is not None:  # whose working folder is that of the application
        parsed.input = Path(parsed.model).with_name(RESULT)
    path = Path(parsed.input)
    image = getattr(parsed, "image", None)
    if parsed.index is not None:
        if parsed.index < 1:
            raise DatasetError(f"index {parsed.index} does not exist; the first row has index 1")
        return path, parsed.index - 1
    if image is None:
        raise DatasetError("no row is chosen; start this from the cell of a picture, or give index")
    if result is not None:
        clicked = _CLICKED.fullmatch(Path(image).stem)
        if clicked is not None:
            return path, int(clicked[1])
    return path, _row_of(path, image)


def _row_of(path: Path, image: str) -> int:
    """Return the row that names a file; relative paths are relative to the CSV, or as they are."""
    wanted = {os.path.abspath(image), os.path.abspath(path.parent / image)}
    name = os.path.basename(_slashes(image))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            found = [
                number
                for number, cells in enumerate(rows)
                if any(
                    cell.endswith(name) and os.path.abspath(path.parent / _slashes(cell)) in wanted
                    for cell in cells
                )
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read ({error}); evaluate the network first"
        ) from error
    if len(found) != 1:
        which = (
            f"is in the rows of index {listed(n + 1 for n in found)}" if found else "is in no row"
        )
        raise DatasetError(f"{image}: {which} of {path}; give the field index")
    return found[0]


def _slashes(path: str) -> str:
    return path.replace("\\", "/")
