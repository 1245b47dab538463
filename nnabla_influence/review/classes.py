"""The classes of a ranking: the whole numbers among its labels, and their names."""

from __future__ import annotations

import codecs
import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.cleansing.labels import number
from nnabla_influence.cleansing.table import open_file
from nnabla_influence.dataset.header import Column
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike
from nnabla_influence.ranking import Ranking
from nnabla_influence.ranking.scores import are_classes, is_whole
from nnabla_influence.text import listed, with_option

_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Class:
    """One of the values that labels have.

    Attributes:
        value: As a whole number's text, such as ``3``.
        name: Its name; None where that is not known.
        rows: How many rows have it as their given label; 0 for one that is only predicted or
            suggested.
    """

    value: str
    name: str | None
    rows: int = 0


def find_classes(
    ranking: Ranking, label: Column | None, given_names: PathLike | None
) -> tuple[Class, ...]:
    """Return the classes of a ranking, ascending; none where labels are not whole numbers.

    Args:
        ranking: The ranking.
        label: Its label column.
        given_names: As for `read_class_names`; None for the names in the label's header.

    Raises:
        DatasetError: The names cannot be used, or are those of other classes.
    """
    counts = _class_counts(ranking, label)
    if given_names is not None:
        names = _given(given_names, ranking, label, counts)
    else:
        # The Console keeps them in a label's header: y:label;cat;dog.
        in_header = [] if label is None else (label.label or "").split(";")[1:]
        stripped = {value: name.strip() for value, name in enumerate(in_header)}
        names = _distinct({value: name for value, name in stripped.items() if name})
        if _are_shifted(names, counts):
            names = {}
    return tuple(Class(str(v), names.get(v), counts[v]) for v in sorted(counts))


def _given(
    given_names: PathLike, ranking: Ranking, label: Column | None, counts: Mapping[int, int]
) -> Mapping[int, str]:
    given = read_class_names(given_names)
    names, path = given.by_value, ranking.dataset.path
    if not counts:
        reason = "has no label column"
        if label is not None:
            reason = f"labels ({label.cell!r}) or predictions are numbers, not classes"
        raise DatasetError(
            f"{path}: {reason}, so there are no classes to name; omit --class-names, or name"
            f" the label column {with_option('--label-column', 'label-column')}"
        )
    named, labels = listed(sorted(names)), listed(sorted(counts))
    if not any(value in names for value in counts):
        raise DatasetError(
            f"{given_names}: names {named}, but the labels of {path} are {labels}; give their names"
        )
    if given.are_in_order and _are_shifted(names, counts):
        raise DatasetError(
            f"{given_names}: names {named}, in this order, but the labels of {path} are {labels};"
            f" write a file with lines such as {min(counts)},{next(iter(names.values()))}: the"
            " class's number, a comma, its name"
        )
    return names


def _are_shifted(names: Mapping[int, str], counts: Mapping[int, int]) -> bool:
    """Whether names in the order of classes from 0 may be meant for others, such as 1 to 3."""
    return not set(counts) <= set(names) and not set(names) <= set(counts)


def _class_counts(ranking: Ranking, label: Column | None) -> dict[int, int]:
    """Return how often each class is given, or nothing.

    Those that are only predicted or suggested are included.
    """
    if label is None:
        return {}
    texts = Counter(cells[label.position] for cells in ranking.dataset.iter_cells())
    values = {text: number(text) for text in texts}
    predicted = ranking.scores.predicted
    if not are_classes(set(values.values()), len(ranking), predicted):
        return {}
    suggested = ranking.scores.suggested_label
    columns = [values for values in (predicted, suggested) if values is not None]
    distinct = np.unique(np.concatenate([*columns, []])).tolist()
    counts = {int(value): 0 for value in distinct if is_whole(value)}
    for text, n in texts.items():
        counts[int(values[text])] = counts.get(int(values[text]), 0) + n
    return counts


def number_text(value: float) -> str:
    """Return a number as ``3`` or ``0.25``, with the seven digits of 32 bits."""
    return str(int(value)) if is_whole(value) else f"{value:.7g}"


# ------------------------------------------------------------------------- names


@dataclass(frozen=True)
class ClassNames:
    """Names of classes.

    Attributes:
        by_value: By the class's number. The number follows a name of several classes.
        are_in_order: Whether no numbers were given, so that the first name is that of class 0.
    """

    by_value: dict[int, str]
    are_in_order: bool


def read_class_names(given: PathLike) -> ClassNames:
    """Read the names of classes.

    Args:
        given: ``cat,dog,bird``, the names of the classes 0, 1, 2 ...; or a text file, UTF-8, or
            UTF-16 with its mark, with either a name on each line in this order, or on each line a
            class's number and its name, with a comma, semicolon or tab between; a header may come
            first.

    Raises:
        DatasetError: There is no such file, it cannot be read, or names a class twice.
    """
    text = os.fspath(given)
    if "\n" not in text and os.path.exists(text):
        names, are_in_order = _of_file(Path(text))
    elif isinstance(given, str) and "," in given:
        names, are_in_order = _numbered(f"class names {given!r}", given.split(",")), True
    else:
        raise DatasetError(
            f"{text}: is neither a file nor a list of names such as cat,dog; give one of these with"
            " --class-names"
        )
    return ClassNames(_distinct(names), are_in_order)


def _distinct(names: Mapping[int, str]) -> dict[int, str]:
    """Return the names; one that several classes have is followed by the class's number."""
    often = Counter(names.values())
    return {
        value: name if often[name] == 1 else f"{name} ({value})" for value, name in names.items()
    }


def _of_file(path: Path) -> tuple[dict[int, str], bool]:
    lines = _lines(path)
    separator = next(filter(None, map(_separator, lines)), None)
    if separator is not None:
        return _paired(path, lines, separator), False
    names = lines[0].split(",") if len(lines) == 1 else lines
    return _numbered(path, [name.strip().strip('"') for name in names]), True


def _lines(path: Path) -> list[str]:
    with open_file(path) as file:
        data = file.read()
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: is not UTF-8 text; save the file as UTF-8 ('CSV UTF-8' in Excel)"
        ) from error
    # str.splitlines would split at more than these.
    lines = re.split("\r\n|\r|\n", text.rstrip())
    if lines == [""]:
        raise DatasetError(f"{path}: is empty; write a class name on each line")
    return lines


def _separator(line: str) -> str | None:
    """Return what separates a line's number and name; None where it is a name alone."""
    number = re.split(f"[{_SEPARATORS}]", line, maxsplit=1)[0]
    return line[len(number)] if number != line and _value(number) is not None else None


def _paired(path: Path, lines: Sequence[str], separator: str) -> dict[int, str]:
    names: dict[int, str] = {}
    line_of: dict[int, int] = {}
    reader = csv.reader(lines, delimiter=separator, strict=True)
    filled = []
    try:
        for cells in reader:
            cells = [" ".join(cell.split()) for cell in cells]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                filled.append((reader.line_num, cells))
    except csv.Error as error:
        raise DatasetError(
            f"{path}, line {reader.line_num}: cannot be read as CSV ({error}); check its quotes"
        ) from error
    if _value(filled[0][1][0]) is None:
        del filled[0]  # a header
    for n, cells in filled:
        value = _value(cells[0])
        if value is None or len(cells) != 2:
            raise DatasetError(
                f"{path}, line {n}: is not a class's whole number and its name; write such as"
                f" 3{separator}cat, and a name with a separator in quotes"
            )
        if value in names:
            raise DatasetError(
                f"{path}, line {n}: names class {value}, as line {line_of[value]} does; keep one of"
                " them"
            )
        names[value], line_of[value] = cells[1], n
    return names


def _numbered(source: object, names: Sequence[str]) -> dict[int, str]:
    named = {value: " ".join(name.split()) for value, name in enumerate(names)}
    for value, name in named.items():
        if not name:
            raise DatasetError(f"{source}: the name of class {value} is empty; write one for each")
    return named


def _value(cell: str) -> int | None:
    value = number(cell.strip().strip('"'))
    return int(value) if value.is_integer() else None
