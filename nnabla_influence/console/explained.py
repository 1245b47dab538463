"""An evaluated row in a plugin's log and in its image, with what speaks for its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from nnabla_influence.console.strip import THUMBNAIL, columns, tile
from nnabla_influence.dataset import Dataset
from nnabla_influence.explanation.attribution import Attribution
from nnabla_influence.explanation.explanation import class_text, input_columns
from nnabla_influence.options import ATTRIBUTION_NAMES
from nnabla_influence.review.columns import readable_names
from nnabla_influence.review.thumbnails import shows_a_picture, thumbnail

_FEATURES = 4


@dataclass(frozen=True, eq=False)
class Explained:
    """An evaluated row.

    Attributes:
        dataset: The evaluated rows.
        label: The column of their labels; None where the network has no single class.
        class_names: Of the classes from 0; () without.
        row: The row's number, from 0.
        given: Its class; None likewise.
        predicted: The predicted class, or number; None where there is none.
        attributions: Of each class that was asked for.
    """

    dataset: Dataset
    label: str | None
    class_names: Sequence[str]
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
            found.append(
                f"{ATTRIBUTION_NAMES[one.method]} of class {name}: {one.detail}{weights}{warning}"
            )
        return found

    def tiles(self, side: int = THUMBNAIL) -> list[Image.Image]:
        """Return images of the row and of its attributions, to stand in `strip`.

        Args:
            side: Of a picture, in pixels.
        """
        own, cells = input_columns(self.dataset, self.label), self.dataset.cells(self.row)
        files = [self.dataset.file_of(cells[column.position]) for column in own]
        pictures = [path for path in files if shows_a_picture(path)]
        texts = [] if self.given is None else [("label", self._name(self.given))]
        if self.predicted is not None:
            texts.append(("predicted", self._name(self.predicted)))
        if pictures:
            has_class = self.given is not None and self.given >= 0
            is_wrong = has_class and self.predicted != self.given
            words = ["evaluated", *map(" ".join, texts)]
            found = [tile(thumbnail(pictures[0], side), words, side, is_wrong=is_wrong)]
        else:
            features = list(zip(readable_names(own), (cells[column.position] for column in own)))
            found = columns([("", "evaluated"), *texts, *features[:_FEATURES]])
        return found + [image for one in self.attributions for image in self._shown(one, side)]

    def _shown(self, one: Attribution, side: int) -> list[Image.Image]:
        name, class_ = ATTRIBUTION_NAMES[one.method], self._name(one.class_)
        picture = one.picture(self.dataset, self.row)
        if picture is None:
            weights = [(feature, f"{weight:+.3g}") for feature, weight in one.features]
            return columns([(f"{name} of", f"class {class_}"), *weights])
        role = one.role(self.given, self.predicted)
        return [tile(picture, [f"{name} of", f"class {class_}", role], side)]

    def _name(self, value: float) -> str:
        return class_text(value, self.class_names)
