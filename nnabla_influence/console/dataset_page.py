"""Add a CSV to NNCD's page Dataset, through the application's own server.

The page is the one place where NNCD shows a table of images. It is stricter than nnabla: it accepts
ASCII text only, no empty cell, and in a column only numbers, or only existing files of one
extension. So a copy is written that keeps to these rules.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnabla_influence.console.dialog import say
from nnabla_influence.errors import DatasetError, InfluenceError
from nnabla_influence.text import one_line

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result

PORT_VARIABLE = "SERVER_PORT"
TIMEOUT = 60.0
"""Seconds; the server copies the CSV before it answers."""

_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".dcm")
_EXTENSIONS = (*_IMAGES, ".wav", ".csv")
_NUMBER = "number"
_TRIES = 100
_NOT_ADDED = "Not on the page Dataset."


class ServerError(InfluenceError):
    """NNCD's server did not import a CSV."""


class DatasetEntry:
    """A result's CSV on the page Dataset.

    Its copy is written together with the result's files, and imported once they are in place. A
    failure costs nothing but the entry: a line in the log reports it.

    Args:
        result: The result.
        wanted: Whether the user wants the entry.
    """

    def __init__(self, result: Result, wanted: bool):
        self._result = result
        self._wanted = wanted

    def remove_copies(self, folder: Path) -> None:
        """Remove what `write_copy` wrote into a folder earlier."""
        shutil.rmtree(self._path(folder).parent, ignore_errors=True)

    def write_copy(self, source: Path, folder: Path) -> None:
        """Write the copy of a CSV into a folder, and report the columns that it lacks."""
        if not self._wanted:
            return
        try:
            left_out = write_copy(source, self._path(folder))
        except (DatasetError, OSError) as error:
            self._wanted = False
            say(f"Not added to the page Dataset: {error}")
            return
        if left_out:
            more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            say(f"Left out on the page Dataset: {', '.join(left_out[:3])}{more}")

    def add(self, folder: Path) -> list[str]:
        """Import the copy from the folder; return lines that say what came of it."""
        if not self._wanted:
            return [_NOT_ADDED]
        try:
            name = import_dataset(self._path(folder))
        except Exception as error:  # the result is complete without the entry
            say(f"Not added to the page Dataset: {one_line(error)}")
            return [_NOT_ADDED]
        say(f"Added to the page Dataset as {name}")
        return ["On the page Dataset:", name]

    def _path(self, folder: Path) -> Path:
        return folder / "import" / f"{self._result.dataset_name}.csv"


def write_copy(source: Path, target: Path) -> list[str]:
    """Copy a dataset CSV without the columns that NNCD refuses, and with absolute paths.

    Args:
        source: The CSV.
        target: The CSV to write; its folder is made.

    Returns:
        The headers of the columns left out, each with the reason.

    Raises:
        DatasetError: No column is left, or there are no rows.
    """
    folder = str(source.parent.resolve())
    header, kinds, faults = _columns(source, folder)
    kept = [i for i in sorted(kinds) if i not in faults]
    if not kept:
        raise DatasetError(f"{source}: has no columns that the page Dataset can show")
    target.parent.mkdir(exist_ok=True)
    with (
        source.open(encoding="utf-8-sig", newline="") as read,
        target.open("w", encoding="ascii", newline="") as file,
    ):
        rows, writer = csv.reader(read), csv.writer(file, lineterminator="\n")
        next(rows)
        # A label that is not ASCII is dropped; a name is always ASCII here.
        writer.writerow(header[i] if header[i].isascii() else header[i].split(":")[0] for i in kept)
        for cells in filter(None, rows):
            writer.writerow(
                cells[i] if kinds[i] == _NUMBER else _absolute(cells[i], folder) for i in kept
            )
    return [f"{header[i]} ({faults[i]})" for i in sorted(faults)]


def _columns(source: Path, folder: str) -> tuple[list[str], dict[int, str], dict[int, str]]:
    """Return the header, the kind of each column's cells, and why columns cannot be shown."""
    known: set[str] = set()
    kinds: dict[int, str] = {}
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        names = [cell.split(":")[0] for cell in header]
        faults = {i: "its name is not ASCII" for i, x in enumerate(names) if not x.isascii()}
        for cells in rows:
            for i, cell in enumerate(cells[: len(header)]):
                if i in faults:
                    continue
                kind = _kind(cell)
                if fault := _fault(kind, cell, folder, known):
                    faults[i] = fault
                elif kinds.setdefault(i, kind) != kind:
                    faults[i] = "its cells are of different kinds"
    return header, kinds, faults


def _kind(cell: str) -> str:
    """Return ``number``, or the extension of a file."""
    try:
        float(cell)
    except ValueError:
        return os.path.splitext(cell)[1]
    return _NUMBER


def _fault(kind: str, cell: str, folder: str, known: set[str]) -> str:
    """Return why NNCD would refuse a cell; nothing if it would not."""
    if not cell.strip():
        return "a cell is empty"
    if not cell.isascii():
        return "a cell is not ASCII"
    if kind == _NUMBER:
        return ""
    if kind.lower() not in _EXTENSIONS:
        return f"{cell[:40]!r} is neither a number nor a file that the page can show"
    path = _absolute(cell, folder)
    if not path.isascii():
        return "its files' folder is not ASCII"
    if path not in known and not os.path.exists(path):
        return f"{cell[:40]!r} does not exist"
    known.add(path)
    return ""


def _absolute(cell: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, cell.replace("\\", "/")))


def import_dataset(csv_path: Path) -> str:
    """Have the server import a CSV under its own name, with a number if that is taken.

    Returns:
        The dataset's name.

    Raises:
        ServerError: The server cannot be reached, or refuses.
        Exception: It answers what it should not.
    """
    # The tenant whose datasets the page shows is that of the only user.
    tenant = str(_request("tenants")["tenants"][0]["tenant_id"])
    name = csv_path.stem
    for number in range(1, _TRIES):
        wanted = name if number == 1 else f"{name}-{number}"
        csv_path = csv_path.replace(csv_path.with_name(f"{wanted}.csv"))
        # Without a tenant the server fails, after it has reserved the name.
        path = os.path.abspath(csv_path)
        answer = _request("datasets/upload", tenant_id=tenant, path=path)
        if answer.get("status") == "OK":
            return wanted
        reason = str(answer.get("message", answer))
        if not reason.startswith("Duplicate dataset name"):
            raise ServerError(f"the application's server refuses: {reason}")
    raise ServerError(f"{_TRIES} datasets are called {name} already")


def _request(what: str, **query: str) -> dict[str, Any]:
    port = int(os.environ[PORT_VARIABLE])
    url = f"http://127.0.0.1:{port}/v1/users/1/{what}?{urllib.parse.urlencode(query)}"
    # Not through the proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT) as response:
            answer: dict[str, Any] = json.loads(response.read())
    except OSError as error:
        raise ServerError(f"the application's server does not answer ({error})") from error
    return answer
