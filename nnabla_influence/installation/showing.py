"""What will change, for a person who has to agree to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from nnabla_influence.installation.payload import PACKAGE, is_in_package
from nnabla_influence.installation.registry import RowChange
from nnabla_influence.installation.tree import NEW, FileChange

_PUT_BACK = "put back"


def file_lines(changes: Iterable[FileChange]) -> list[str]:
    """Return a line for each script, and one for each copy of the package."""
    entries = []
    for change in changes:
        note = ""
        if change.is_changed:
            note = "changed since it was installed: that is kept beside it, as .changed"
        elif change.before is not None and change.action != NEW:
            note = "was there before: a backup is kept"
        entries.append((change.action, change.name, note))
    return _grouped(entries)


def removal_lines(
    names: Iterable[str], put_back: Iterable[str], changed: Iterable[str]
) -> list[str]:
    """Return the same for what is taken away.

    Args:
        names: Files that are removed.
        put_back: Those in whose place the earlier file comes back.
        changed: Those that a person has changed since.
    """
    returning, edited = set(put_back), set(changed)
    return _grouped(
        (
            _PUT_BACK if name in returning else "removed",
            name,
            "changed since it was installed: that is kept beside it, as .changed"
            if name in edited
            else "",
        )
        for name in names
    )


def row_lines(changes: Sequence[RowChange], database: Path) -> list[str]:
    """Return a line for each row of NNCD's table."""
    if not changes:
        return []
    rows = [f"  {change.action:<9} {change.name} ({change.plugin_id})" for change in changes]
    return [f"In the table `plugins` of {database}:", *rows]


def _grouped(entries: Iterable[tuple[str, str, str]]) -> list[str]:
    counts: dict[tuple[str, str, str], int] = {}
    for action, name, note in entries:
        shown = name
        if is_in_package(name):
            parts = PurePosixPath(name).parts
            shown = "/".join(parts[: parts.index(PACKAGE) + 1]) + "/"
        counts[action, shown, note] = counts.get((action, shown, note), 0) + 1
    lines = []
    for (action, shown, note), number in counts.items():
        files = f" ({number} file{'s' if number > 1 else ''})" if shown.endswith("/") else ""
        lines.append(f"  {action:<9} {shown}{files}{'; ' + note if note else ''}")
    return lines
