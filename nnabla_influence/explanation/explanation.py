"""The result of an explanation, and its table."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.header import Column
from nnabla_influence.explanation.attribution import Attribution
from nnabla_influence.files import PathLike, replacing_file
from nnabla_influence.ranking import Ranking
from nnabla_influence.review.classes import number_text
from nnabla_influence.review.thumbnails import png_bytes

LARGEST_RESIDUAL = 0.3
"""Of a system that is solved well enough. It is about the relative error of the influence.

Of the ten strongest opponents 9 to 10 were those of the system solved to the end with residuals up
to 0.3, but 8 to 9 with 0.7 to 1.3 (MLP 784-100-10, 6,000 digits, eight answers).
"""

_INDEX, _ROW = "datasource_index", "row_"


@dataclass(frozen=True)
class Cause:
    """A training row that did much to the loss of an evaluated row.

    Attributes:
        row: Its datasource_index.
        influence: First-order change of the evaluated row's target without it.
        given: Its class; None where the network has no single class.
        suggested: The best other class, by the network; None likewise.
        relabel_gain: First-order fall of the target if it had that class; None where that is not
            known.
    """

    row: int
    influence: float
    given: int | None = None
    suggested: int | None = None
    relabel_gain: float | None = None


@dataclass(frozen=True)
class Answer:
    """The network's answer to an evaluated row, and what made it so.

    Attributes:
        row: The row's number.
        loss: Its loss.
        given: Its class; None where the network has no single class.
        predicted: The predicted class, or number; None where there is none.
        opponents: The training rows that raise the target most, the strongest first.
        proponents: Those that lower it most, likewise.
        loss_without: The loss without the opponents, to first order.
        residual: Of the system whose solution gave the influence, relative; see `is_rough`.
        attributions: What in the row made the scores of the given and of the predicted class.
    """

    row: int
    loss: float
    given: int | None
    predicted: float | None
    opponents: tuple[Cause, ...]
    proponents: tuple[Cause, ...]
    loss_without: float
    residual: float
    attributions: tuple[Attribution, ...] = ()

    @property
    def is_wrong(self) -> bool:
        """Whether another class is predicted than the given one; below 0 is no class."""
        return self.given is not None and self.given >= 0 and self.predicted != self.given

    @property
    def is_rough(self) -> bool:
        """Whether the solver stopped so early that other rows could be the strongest."""
        return self.residual > LARGEST_RESIDUAL


@dataclass(frozen=True, eq=False)
class Explanation:
    """The answers to evaluated rows, and the influence of all training rows on them.

    Attributes:
        train: The training data.
        validation: The evaluated data.
        target: What of a row's loss the influence is the change of: ``loss`` or ``margin``.
        label: The column of the labels; None where the network has no single class.
        class_names: Of the classes from 0, as the label's header has them; () without.
        answers: In the order in which the rows were given.
        influence: Of each training row for each of them, float32, shape ``(k, N)``. Negative: an
            opponent, without which the target falls.
        ranking: The training rows by the mean of that, if a ranking was asked for.
    """

    train: Dataset
    validation: Dataset
    target: str
    label: str | None
    class_names: tuple[str, ...]
    answers: tuple[Answer, ...]
    influence: np.ndarray
    ranking: Ranking | None = None

    def class_text(self, value: float | None) -> str:
        """Return a class with its name, such as ``3 · cat``, or a predicted number, to read."""
        return class_text(value, self.class_names)

    def write_table(self, path: PathLike) -> None:
        """Write the influence: a line for each training row, a column for each evaluated row.

        Raises:
            OutputError: It cannot be written.
        """
        names = [f"{_ROW}{answer.row}" for answer in self.answers]
        with replacing_file(path) as temporary, open(temporary, "w", encoding="ascii") as file:
            file.write(f"{','.join([_INDEX, *names])}\n")
            for row, influence in enumerate(self.influence.T):
                file.write(f"{row},{','.join(f'{value:.9g}' for value in influence.tolist())}\n")

    def write_pictures(self, folder: PathLike) -> list[Path]:
        """Write what the attributions of pictures show, such as ``row_3_gradcam_class_5.png``.

        Returns:
            The files; none of a table.

        Raises:
            OutputError: One cannot be written.
        """
        written = []
        for answer in self.answers:
            for attribution in answer.attributions:
                picture = attribution.picture(self.validation, answer.row)
                if picture is None:
                    continue
                name = f"row_{answer.row}_{attribution.method}_class_{attribution.class_}.png"
                with replacing_file(Path(folder) / name) as temporary:
                    temporary.write_bytes(png_bytes(picture))
                written.append(Path(folder) / name)
        return written


def input_columns(dataset: Dataset, label: str | None) -> list[Column]:
    """Return the columns that a network reads, without its label's."""
    own = [c for c in dataset.columns if not c.is_comment and c.name in dataset.inputs]
    return [c for c in own if c.name != label]


def class_names(label: str, *datasets: Dataset) -> tuple[str, ...]:
    """Return the names that the Console keeps in a label's header: ``y:label;cat;dog``."""
    for column in (c for dataset in datasets for c in dataset.columns):
        if column.name == label and not column.is_comment:
            names = (column.label or "").split(";")[1:]
            if names:
                return tuple(name.strip() for name in names)
    return ()


def class_text(value: float | None, names: Sequence[str]) -> str:
    """Return a class with its name, such as ``3 · cat``, or a predicted number, to read."""
    if value is None:
        return ""
    text = number_text(float(value))
    named = text.isdigit() and int(text) < len(names)
    name = names[int(text)] if named else ""
    return f"{text} · {name}" if name else text


def is_table(path: PathLike) -> bool:
    """Whether a file is a table of an explanation.

    Raises:
        OSError: It cannot be read.
    """
    begin = f"{_INDEX},{_ROW}"
    with contextlib.suppress(UnicodeDecodeError), open(path, encoding="ascii") as file:
        return file.read(len(begin)) == begin
    return False
