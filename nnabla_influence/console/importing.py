"""Add a CSV to NNCD's page Dataset, over the application's own server.

The page is the one place where NNCD shows a table of pictures. It asks more of a CSV than nnabla
does: text in ASCII; no empty cell; in each column numbers only, or files of one extension that
exist. So a copy is made that has it so.
"""

from __future__ import annotations

import csv
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnabla_influence.console.dialog import say
from nnabla_influence.errors import DatasetError
from nnabla_influence.text import listed

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result

PORT_VARIABLE = "SERVER_PORT"
TIMEOUT = 60.0
"""Seconds; the server copies the CSV before it answers."""

_EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".dcm"),
    *(".wav", ".csv"),
)
_NUMBER = "number"
_TRIES = 100


class Import:
    """The import of a result's CSV, in two parts: its copy is written with the result's files.

    Where it fails, the result is as good without it: a line says why.

    Args:
        result: The result.
        wanted: Whether the user left it on.
    """

    def __init__(self, result: Result, wanted: bool):
        self._result = result
        self._wanted = wanted

    def prepare(self, source: Path, folder: Path) -> None:
        """Write the copy of a CSV into a folder, and say what NNCD would not take of it."""
        if not self._wanted:
            return
        try:
            copy = write_dataset_copy(source, self._path(folder))
        except (DatasetError, OSError) as error:
            self._wanted = False
            say(f"Not added to the page Dataset: {error}")
            return
        if copy.left_out:
            say(f"Left out on the page Dataset: {listed(copy.left_out, 3)}")

    def run(self, folder: Path) -> list[str]:
        """Have it imported from where the folder is now; return what became of it, in two lines."""
        if not self._wanted:
            return ["Not on the page Dataset."]
        try:
            name = import_dataset(self._path(folder))
        except (ImportingError, OSError) as error:
            say(f"Not added to the page Dataset: {error}")
            return ["Not on the page Dataset."]
        say(f"Added to the page Dataset as {name}")
        return ["On the page Dataset:", name]

    def _path(self, folder: Path) -> Path:
        return folder / "import" / f"{self._result.dataset_name}.csv"


@dataclass(frozen=True)
class DatasetCopy:
    """A copy of a CSV that NNCD takes.

    Attributes:
        columns: How many columns it has.
        left_out: Header cells of the columns that NNCD would refuse, with the reason.
    """

    columns: int
    left_out: tuple[str, ...]


def write_dataset_copy(source: Path, target: Path) -> DatasetCopy:
    """Copy a dataset CSV without the columns that NNCD refuses, and with absolute paths.

    Args:
        source: The CSV.
        target: The CSV to write; its folder is made.

    Raises:
        DatasetError: No column is left, or there are no rows.
    """
    folder = str(source.parent.resolve())
    header, kinds, faults = _look_through(source, folder)
    kept = [i for i, kind in enumerate(kinds) if kind is not None and i not in faults]
    names = {i: _ascii_header(header[i]) for i in kept}
    for i in [i for i in kept if names[i] is None]:
        faults[i] = "its name is not ASCII"
        kept.remove(i)
    if not kept:
        raise DatasetError(f"{source}: has no row and column that the page Dataset could show")
    target.parent.mkdir(exist_ok=True)
    with source.open(encoding="utf-8-sig", newline="") as read:
        rows = csv.reader(read)
        next(rows)
        with target.open("w", encoding="ascii", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([names[i] for i in kept])
            for cells in rows:
                if cells:
                    writer.writerow(
                        [
                            cells[i] if kinds[i] == _NUMBER else _absolute(cells[i], folder)
                            for i in kept
                        ]
                    )
    return DatasetCopy(len(kept), tuple(f"{header[i]} ({faults[i]})" for i in sorted(faults)))


def import_dataset(csv_path: Path) -> str:
    """Have the server import a CSV under its own name, or that with a number if it is taken.

    Args:
        csv_path: The CSV, which may be renamed.

    Returns:
        The dataset's name.

    Raises:
        ImportingError: The server is not there, or refuses.
    """
    port = os.environ.get(PORT_VARIABLE, "")
    if not port.isdigit():
        raise ImportingError(f"the application did not tell its port ({PORT_VARIABLE})")
    tenant = _tenant(port)
    name = csv_path.stem
    for number in range(1, _TRIES):
        wanted = name if number == 1 else f"{name}-{number}"
        csv_path = csv_path.replace(csv_path.with_name(f"{wanted}.csv"))
        # Without a tenant the server fails, after it has taken the name.
        path = os.path.abspath(csv_path)
        answer = _ask(port, "datasets/upload", tenant_id=tenant, path=path)
        if answer.get("status") == "OK":
            return wanted
        said = str(answer.get("message", answer))
        if not said.startswith("Duplicate dataset name"):
            raise ImportingError(f"the application's server says: {said}")
    raise ImportingError(f"there are {_TRIES} datasets of the name {name} already")


class ImportingError(Exception):
    """The server did not take a CSV; says why."""


def _tenant(port: str) -> str:
    """Return whose datasets the page shows: the one user's."""
    answer = _ask(port, "tenants")
    try:
        return str(answer["tenants"][0]["tenant_id"])
    except (KeyError, IndexError, TypeError) as error:
        raise ImportingError("the application's server names no tenant") from error


def _ask(port: str, what: str, **query: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}/v1/users/1/{what}?{urllib.parse.urlencode(query)}"
    # Not through the proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise ImportingError(f"the application's server answers {error.code}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ImportingError(f"the application's server does not answer ({reason})") from error
    return answer if isinstance(answer, dict) else {"message": answer}


def _look_through(source: Path, folder: str) -> tuple[list[str], list[str | None], dict[int, str]]:
    """Return the header, what each column holds, and why columns cannot be taken."""
    known: set[str] = set()
    faults: dict[int, str] = {}
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        kinds: list[str | None] = [None] * len(header)
        for cells in rows:
            for i, cell in enumerate(cells[: len(header)]):
                if i in faults:
                    continue
                kind = _kind(cell)
                if kind == _NUMBER and kinds[i] == _NUMBER:
                    continue
                fault = _fault(kind, kinds[i], cell, folder, known)
                if fault:
                    faults[i] = fault
                kinds[i] = kind
    return header, kinds, faults


def _kind(cell: str) -> str:
    """Return ``number``, or the extension of a file."""
    try:
        float(cell)
    except ValueError:
        return os.path.splitext(cell)[1]
    return _NUMBER


def _fault(kind: str, before: str | None, cell: str, folder: str, known: set[str]) -> str:
    """Return why NNCD would refuse a cell; nothing if it would not."""
    if not cell.strip():
        return "a cell is empty"
    if not cell.isascii():
        return "a cell is not ASCII"
    if before is not None and kind != before:
        return "its cells are of different kinds"
    if kind == _NUMBER:
        return ""
    if kind.lower() not in _EXTENSIONS:
        return f"{cell[:40]!r} is neither a number nor a file that the page shows"
    path = _absolute(cell, folder)
    if not path.isascii():
        return "its files' folder is not ASCII"
    if path not in known and not os.path.exists(path):
        return f"{cell[:40]!r} does not exist"
    known.add(path)
    return ""


def _absolute(cell: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, cell.replace("\\", "/")))


def _ascii_header(cell: str) -> str | None:
    """Return a header cell without a label that is not ASCII; None if the name is not."""
    name, _, label = cell.partition(":")
    if not name.isascii():
        return None
    return cell if label.isascii() else name
