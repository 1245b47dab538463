"""Files of a dataset CSV that would run code or exhaust the memory when nnabla reads them."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from nnabla_influence.dataset.header import read_header
from nnabla_influence.dataset.records import RecordReader
from nnabla_influence.dataset.scan import located
from nnabla_influence.dataset.values import CellError, extension_of, file_of, is_number
from nnabla_influence.file_safety import check_content
from nnabla_influence.files import check_regular
from nnabla_influence.text import cause_text


def check_files(path: Path, n_rows: int | None = None) -> None:
    """Refuse such files in every column of the first ``n_rows``, since nnabla reads all of them.

    Missing files are left to nnabla.

    Raises:
        DatasetError: There is such a file, at this row and column; or the CSV cannot be read.
    """
    records = iter(RecordReader(path))
    columns = [c for c in read_header(path, records, [])[0] if not c.is_comment]
    folder = os.path.dirname(str(path).replace("\\", "/"))
    checked: set[str] = set()
    for row, record in enumerate(islice(records, n_rows)):
        for column in columns:
            cell = record.cells[column.position] if column.position < len(record.cells) else ""
            if not cell or is_number(cell) or cell in checked:
                continue
            try:
                _check(cell, folder)
            except CellError as error:
                raise located(path, record.line, row, column, cell, error) from error
            checked.add(cell)


def _check(cell: str, folder: str) -> None:
    # As nnabla finds it: its reading of the CSV turns line ends within a cell into LF.
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    name = os.path.abspath(file_of(text, folder))
    if os.path.isdir(name) or not os.path.exists(name):
        return
    try:
        check_regular(name)
        with open(name, "rb") as file:
            check_content(file, extension_of(text))
    except Exception as error:  # the libraries raise whatever a damaged file leads to
        raise CellError(
            f"cannot be used ({cause_text(error)}); restore the file, or remove the row"
        ) from error
