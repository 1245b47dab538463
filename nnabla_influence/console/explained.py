"""An evaluated row in a plugin's log and in its image, with what speaks for its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnabla_influence.console.attribution import NAMES
from nnabla_influence.console.strip import THUMBNAIL, columns, tile
from nnabla_influence.dataset import Dataset
from nnabla_influence.explanation.attribution import Attribution, overlay, picture_of
from nnabla_influence.explanation.explanation import class_names, class_text
from nnabla_influence.review.columns import readable_names
from nnabla_influence.review.thumbnails import shows_a_picture, thumbnail

_FEATURES = 4


@dataclass(frozen=True, eq=False)
class Explained:
    """An evaluated row.

    Attributes:
        dataset: The evaluated rows.
        label: The column of their labels; None where the network has no single class.
        row: The row's number, from 0.
        given: Its class; None likewise.
        predicted: The predicted class, or number; None where there is none.
        attributions: Of each class that was asked for.
    """

    dataset: Dataset
    label: str | None
    row: int
    given: int | None
    predicted: float | None
    attributions: Sequence[Attribution]

    def lines(self) -> list[str]:
        """Return what is known, for the log."""
        given = "" if self.given is None else f", given {self._name(self.given)}"
        predicted = "" if self.predicted is None else f", predicted {self._name(self.predicted)}"
        found = [f"Index {self.row + 1} of {self.dataset.path.name}{given}{predicted}"]
        for one in self.attributions:
            weights = "".join(
                f"; {name} {weight:+.3g}" for name, weight in one.features[:_FEATURES]
            )
            warning = f"; {one.warning}" if one.warning else ""
            name = self._name(one.class_)
            found.append(f"{NAMES[one.method]} of class {name}: {one.detail}{weights}{warning}")
        return found

    def tiles(self, side: int = THUMBNAIL) -> list[Image.Image]:
        """Return images of the row and of its attributions, to stand in `strip`.

        Args:
            side: Of a picture, in pixels.
        """
        own = [
            c for c in self.dataset.columns if not c.is_comment and c.name in self.dataset.inputs
        ]
        cells = self.dataset.cells(self.row)
        own = [column for column in own if column.name != self.label]
        files = [self.dataset.file_of(cells[column.position]) for column in own]
        pictures = [path for path in files if shows_a_picture(path)]
        texts = [] if self.given is None else [("label", self._name(self.given))]
        if self.predicted is not None:
            texts.append(("predicted", self._name(self.predicted)))
        if pictures:
            is_wrong = self.given is not None and self.predicted != self.given
            words = ["evaluated", *map(" ".join, texts)]
            found = [tile(thumbnail(pictures[0], side), words, side, is_wrong=is_wrong)]
        else:
            features = list(zip(readable_names(own), (cells[column.position] for column in own)))
            found = columns([("", "evaluated"), *texts, *features[:_FEATURES]])
        return found + [image for one in self.attributions for image in self._shown(one, side)]

    def _shown(self, one: Attribution, side: int) -> list[Image.Image]:
        name, class_ = NAMES[one.method], self._name(one.class_)
        if one.values is None:
            weights = [(feature, f"{weight:+.3g}") for feature, weight in one.features]
            return columns([(f"{name} of", f"class {class_}"), *weights])
        assert one.column is not None
        values = self.dataset.values(one.column, np.array([self.row]))[0]
        is_of = [word for word in ("given", "predicted") if getattr(self, word) == one.class_]
        picture = overlay(picture_of(values), one.values)
        return [tile(picture, [f"{name} of", f"class {class_}", ", ".join(is_of)], side)]

    def _name(self, value: float) -> str:
        names = () if self.label is None else class_names(self.label, self.dataset)
        return class_text(value, names)
