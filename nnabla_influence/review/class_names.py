"""What people call the classes: from a file, or as they are typed."""

from __future__ import annotations

import codecs
import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnabla_influence.errors import DatasetError

_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class ClassNames:
    """What classes are called.

    Attributes:
        by_value: By the class's number. A name that stands for several has the number behind it.
        are_in_order: Whether no numbers were given, so that the first name is that of class 0.
    """

    by_value: dict[int, str]
    are_in_order: bool


@dataclass(frozen=True)
class _Line:
    number: int
    text: str


def read_class_names(given: str | os.PathLike[str]) -> ClassNames:
    """Read the names of classes.

    Args:
        given: ``cat,dog,bird``, the names of the classes 0, 1, 2 ...; or a text file, UTF-8, or
            UTF-16 with its mark, with either a name on each line in this order, or on each line a
            class's number and its name, with a comma, semicolon or tab between; a header may stand
            above.

    Raises:
        DatasetError: There is no such file, it cannot be read, or says something twice.
    """
    text = os.fspath(given)
    if "\n" not in text and os.path.exists(text):
        names, are_in_order = _of_file(Path(text))
    elif isinstance(given, str) and "," in given:
        names, are_in_order = _numbered([name.strip() for name in given.split(",")]), True
    else:
        raise DatasetError(
            f"{text}: is neither a file with class names nor a list of them such as cat,dog; give"
            " one of these with --class-names"
        )
    return ClassNames(distinct_names(names), are_in_order)


def distinct_names(names: Mapping[int, str]) -> dict[int, str]:
    """Return the names, with the number behind each that several classes have."""
    often = Counter(names.values())
    return {
        value: name if often[name] == 1 else f"{name} ({value})" for value, name in names.items()
    }


def _of_file(path: Path) -> tuple[dict[int, str], bool]:
    lines = _lines(path)
    while lines and not lines[-1].text.strip():
        lines.pop()
    if not lines:
        raise DatasetError(f"{path}: is empty; write a class name on each line")
    separator = _separator(lines)
    if separator is not None:
        return _paired(path, lines, separator), False
    if len(lines) == 1 and "," in lines[0].text:
        return _numbered([" ".join(c.split()) for c in _cells(path, lines[0], ",")]), True
    names = {}
    for value, line in enumerate(lines):
        cells = _cells(path, line, ",") if line.text.lstrip().startswith('"') else [line.text]
        names[value] = " ".join(cells[0].split())
        if not names[value] or len(cells) > 1:
            raise DatasetError(
                f"{path}, line {line.number}: is not the name of class {value}; write one name on"
                " each line, or the class's number, a comma and its name"
            )
    return names, True


def _lines(path: Path) -> list[_Line]:
    if not (path.is_file() or path.is_dir()):
        raise DatasetError(f"{path}: is a pipe or a device, which is not read; give a file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its"
            " permissions"
        ) from error
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: is not UTF-8 text; save the file as UTF-8 ('CSV UTF-8' in Excel)"
        ) from error
    # Only these end a line in the files that people write; str.splitlines knows more.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [_Line(number, line) for number, line in enumerate(lines, 1)]


def _separator(lines: Sequence[_Line]) -> str | None:
    """Return what stands between number and name; None where the lines are names alone."""
    # The first line may be a header, so one such line is enough to tell a table.
    for line in lines:
        number = re.split(f"[{_SEPARATORS}]", line.text, maxsplit=1)[0]
        if len(number) < len(line.text) and _value(number) is not None:
            return line.text[len(number)]
    return None


def _paired(path: Path, lines: Sequence[_Line], separator: str) -> dict[int, str]:
    names: dict[int, str] = {}
    line_of: dict[int, int] = {}
    header_may_come = True
    for line in lines:
        cells = [" ".join(cell.split()) for cell in _cells(path, line, separator)]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        value = _value(cells[0])
        is_header, header_may_come = header_may_come and value is None, False
        if is_header:
            continue
        if value is None or len(cells) != 2:
            raise DatasetError(
                f"{path}, line {line.number}: is not a class's whole number and its name; write"
                f" such as 3{separator}cat, and a name with a separator in quotes"
            )
        if value in names:
            raise DatasetError(
                f"{path}, line {line.number}: names class {value}, as line {line_of[value]} does;"
                " keep one of them"
            )
        names[value], line_of[value] = cells[1], line.number
    return names


def _cells(path: Path, line: _Line, separator: str) -> list[str]:
    try:
        return next(csv.reader([line.text], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise DatasetError(
            f"{path}, line {line.number}: cannot be read as CSV ({error}); check its quotes"
        ) from error


def _numbered(names: Sequence[str]) -> dict[int, str]:
    for value, name in enumerate(names):
        if not name:
            raise DatasetError(
                f"class names {','.join(names)[:60]!r}: the name of class {value} is empty; write"
                " one between each two commas"
            )
    return dict(enumerate(names))


def _value(cell: str) -> int | None:
    try:
        value = float(cell.strip().strip('"'))
    except ValueError:
        return None
    return int(value) if value.is_integer() and "_" not in cell else None
