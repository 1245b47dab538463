"""Where the results may be written: never over what is read, nor over the training CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnabla_influence.cleansing.source import Source
from nnabla_influence.dataset.header import parse_column
from nnabla_influence.errors import OutputError
from nnabla_influence.files import PathLike, check_output, file_hash, is_same_file
from nnabla_influence.ranking import RESULT_COLUMNS
from nnabla_influence.wording import with_option

LIST_COLUMNS = ("datasource_index", "influence", "decision", "label_before", "label")
"""What the list begins with; the row's own cells follow."""

_BOM = b"\xef\xbb\xbf"


def default_list(output: Path) -> Path:
    """Return where the list of what left stands, where no path was given."""
    return output.parent / f"{output.stem}.removed.csv"


def check_outputs(output: Path, removed_list: Path, inputs: Mapping[str, PathLike]) -> None:
    """Check that both files can be written and are none of those that are read.

    Args:
        output: The dataset CSV to write.
        removed_list: The list to write.
        inputs: What is read, by its name for the user.

    Raises:
        OutputError: One of them is, or cannot be written, or both are the same.
    """
    if is_same_file(output, removed_list):
        raise OutputError(
            f"{removed_list}: would be both the dataset and the list of what left it; give the list"
            f" another path {with_option('--removed')}"
        )
    for path in (output, removed_list):
        check_output(path, inputs.values())


def check_not_the_training_csv(paths: Sequence[Path], source: Source) -> None:
    """Check, where only the ranking is given, that no output can be the CSV that it is of.

    Whatever has the training CSV's columns and no fewer rows than are ranked may be it. The result
    of an earlier cleansing has fewer, unless nothing was removed: then its list says of which
    ranking it was made. That ranking was there before it, so it was not trained on.

    Args:
        paths: The dataset and the list to write.
        source: The ranking.

    Raises:
        OutputError: One of them may be it.
    """
    own = [column.cell for column in source.columns]
    for path in paths:
        if path.is_file() and _holds(path, own, len(source)):
            if path == paths[0] and _was_made_of(path, paths[1], source):
                continue
            raise OutputError(
                f"{path}: has the columns of the ranking's training CSV and as many rows, so it may"
                " be the training CSV itself, which is never changed; choose another path to"
                f" write, or give the training CSV {with_option('-t', 'input-train')}"
            )


def mark(ranking: Path, output: Path) -> str:
    """Return the list's last header cell where nothing was removed: what was made of what.

    It begins with ``#``, so that the Console takes the column for a comment.
    """
    return f"#{file_hash(output)} of {file_hash(ranking)}"


def _was_made_of(output: Path, removed_list: Path, source: Source) -> bool:
    """Tell whether a list says that this very content was made of this very ranking."""
    made = mark(source.ranking.dataset.path, output)
    return any(_header(path)[-1:] == [made] for path in (removed_list, default_list(output)))


def _header(path: Path) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, csv.Error):
        return []


def check_replaceable(output: Path, removed_list: Path) -> None:
    """Check that no file is lost that is none of an earlier cleansing.

    Such a dataset looks like any other, but has its list beside it.

    Raises:
        OutputError: One of them is such a file.
    """
    if _has_content(removed_list) and not _is_list(removed_list):
        raise OutputError(
            f"{removed_list}: is there already, and is no list of what left a dataset, which alone"
            f" is replaced; give the list another path {with_option('--removed')}, or remove the"
            " file first"
        )
    lists = (removed_list, default_list(output))
    if _has_content(output) and not any(map(_is_list, lists)):
        raise OutputError(
            f"{output}: is there already, and no list beside it shows that it is an earlier result,"
            " which alone is replaced; choose another path, or remove the file first"
        )


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _is_list(path: Path) -> bool:
    begin = ",".join(LIST_COLUMNS).encode()
    try:
        with open(path, "rb") as file:
            return file.read(len(_BOM) + len(begin)).removeprefix(_BOM).startswith(begin)
    except OSError:
        return False


def _holds(path: Path, columns: Sequence[str], n_rows: int) -> bool:
    """Tell whether a file has these columns, beside those of a ranking, and so many rows."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        records = csv.reader(file)
        try:
            header = next(records, [])
            if [c for c in header if parse_column(0, c).name not in RESULT_COLUMNS] != [*columns]:
                return False
            return any(count >= n_rows for count, _ in enumerate(records, 1))
        except csv.Error:  # rather kept, where it cannot be counted
            return True
