"""What a cleansing did, and its summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 20


@dataclass(frozen=True)
class ClassChange:
    """What happened to a class.

    Attributes:
        name: The class, as the dataset writes it.
        rows: Its rows before.
        removed: How many of them were removed.
        relabelled: How many of them were given another label.
        gained: How many rows of other classes were given this one.
    """

    name: str
    rows: int
    removed: int
    relabelled: int
    gained: int

    @property
    def left(self) -> int:
        """Its rows afterwards."""
        return self.rows - self.lost + self.gained

    @property
    def lost(self) -> int:
        """How many of its rows were removed or given another label."""
        return self.removed + self.relabelled


@dataclass(frozen=True)
class Cleansed:
    """What a cleansing did.

    Attributes:
        output: The cleansed dataset CSV.
        removed_list: The CSV that lists the removed and relabelled rows.
        kept: datasource_index of the rows that the output holds, in its order, relabelled ones
            included.
        removed: datasource_index of the removed rows, the most harmful first.
        relabelled: By datasource_index the new label, the most harmful row first.
        classes: What happened to each class; empty where the labels are not classes.
        notes: What the user should know besides.
    """

    output: Path
    removed_list: Path
    kept: tuple[int, ...]
    removed: tuple[int, ...]
    relabelled: Mapping[int, str]
    classes: tuple[ClassChange, ...]
    notes: tuple[str, ...]

    def summary(self) -> Iterator[str]:
        """Yield lines to print."""
        n_rows = len(self.kept) + len(self.removed)
        if not self.removed and not self.relabelled:
            yield f"{self.output}: all {n_rows} rows; nothing was removed or relabelled"
        else:
            yield (
                f"{self.output}: {len(self.kept)} of {n_rows} rows; {len(self.removed)} removed,"
                f" {len(self.relabelled)} relabelled (listed in {self.removed_list})"
            )
            yield from self._class_table()
        yield from self.notes

    def _class_table(self) -> Iterator[str]:
        changed = [c for c in self.classes if c.lost or c.gained]
        worst = sorted(changed, key=lambda c: -c.lost / c.rows)[:_SHOWN]
        shown = [c for c in changed if c in worst]
        if shown:
            titles = ("class", "rows", "removed", "relabelled", "gained", "left")
            table = [
                titles,
                *((c.name, c.rows, c.removed, c.relabelled, c.gained, c.left) for c in shown),
            ]
            widths = [max(len(str(line[i])) for line in table) for i in range(len(titles))]
            for line in table:
                yield "  ".join(str(cell).rjust(width) for cell, width in zip(line, widths))
        if len(shown) < len(changed):
            yield f"{len(changed) - len(shown)} more classes lost a smaller part of their rows"
        for change in shown:
            if 2 * change.lost >= change.rows:
                yield (
                    f"class {change.name} loses {change.lost} of its {change.rows} rows; review"
                    " them before you train without them"
                )
