"""The trainings of the calibration: solvers x networks x BatchNormalization x sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network_defs.samples import (
    Network,
    SampleData,
    Table,
    Training,
    load_digits,
    load_small_digits,
    write_definition,
    write_table,
)
from network_defs.samples.sheet import Layer, Sheet
from nnabla_influence.commands.digits import Labels, flip_labels, make_folder, write_images


@dataclass(frozen=True)
class Kind:
    """One training.

    Attributes:
        data: ``table``: three columns, one heavy-tailed, whose scale is large where normalised;
            ``raw``: large in any case; ``digits``: 8x8, as a table; ``images``: 14x14.
        activation: nnabla's name.
        normalized: Whether a BatchNormalization stands before each activation.
        solver: nnabla's name.
        rate: Its learning rate.
        epochs: Of the training.
        rows: Of the training data.
        width: Units of the hidden layers, or maps of the convolutions.
        batch: Rows of a mini-batch.
        seed: Its number, and the seed of the data.
        draw: The seed of the data where it is another one.
    """

    data: str
    activation: str
    normalized: bool
    solver: str
    rate: float
    epochs: int = 10
    rows: int = 400
    width: int = 32
    batch: int = 20
    seed: int = 0
    draw: int | None = None

    @property
    def name(self) -> str:
        """In a few words."""
        normalized = " BN" if self.normalized else ""
        return (
            f"{self.data} {self.activation}{normalized} {self.solver} {self.rate:g}"
            f" x{self.epochs} N{self.rows} w{self.width}"
        )


FRESH = 54
"""The number of the first training that nobody looked at before the limits were settled."""

AFTERWARDS = 70
"""The number of the first one that was chosen since it shows a fault of the limits."""


def trainings() -> list[Kind]:
    """Return all of them."""
    return [dataclasses.replace(kind, seed=seed) for seed, kind in enumerate(_trainings())]


def _trainings() -> Iterator[Kind]:
    for activation in ("LeakyReLU", "Tanh", "Swish", "ReLU"):
        for solver, rate in (("Adam", 0.002), ("Sgd", 0.05), ("RMSprop", 0.002)):
            yield Kind("table", activation, True, solver, rate, 40, 300, 20, 30)
    for activation in ("Tanh", "ReLU"):
        for solver, rate in (
            *(("Adam", 0.003), ("RMSprop", 0.001), ("AdamW", 0.003), ("Momentum", 0.002)),
        ):
            yield Kind("table", activation, False, solver, rate, 30, 300, 20, 30)
    rates = (("Sgd", 0.1), ("Momentum", 0.02), ("Adam", 0.003), ("RMSprop", 0.002), ("AdamW", 0.01))
    for activation, normalized in (("ReLU", False), ("ReLU", True), ("Tanh", False)):
        for solver, rate in rates:
            yield Kind("digits", activation, normalized, solver, rate)
    yield Kind("digits", "Tanh", True, "Adam", 0.003)
    yield Kind("digits", "Sigmoid", False, "Adam", 0.01)
    yield Kind("digits", "ReLU", False, "Sgd", 0.5)
    yield Kind("digits", "ReLU", True, "Sgd", 0.5)
    yield Kind("digits", "ReLU", False, "Adam", 0.02, 20)
    yield Kind("digits", "ReLU", True, "Momentum", 0.2)
    yield Kind("digits", "ReLU", False, "Adam", 0.002, 10, 1000, 64, 50)
    yield Kind("digits", "ReLU", True, "Adam", 0.002, 10, 1000, 64, 50)
    yield Kind("digits", "ReLU", False, "Sgd", 0.1, 10, 1000, 64, 50)
    for normalized in (False, True):
        for solver, rate in (("Sgd", 0.1), ("Momentum", 0.02), ("Adam", 0.003), ("RMSprop", 0.002)):
            yield Kind("images", "ReLU", normalized, solver, rate, 8, 300, 4, 20)
    yield Kind("images", "ReLU", False, "Adam", 0.01, 15, 300, 6, 20)
    yield Kind("images", "ReLU", False, "RMSprop", 0.01, 15, 300, 6, 20)
    yield from _fresh()
    yield from _afterwards()


def _afterwards() -> Iterator[Kind]:
    """Yield raw tables, by which a trial found that the signs of `final` can all be wrong."""
    for rate, epochs, draw in ((0.1, 2, 8), (0.03, 10, 8), (0.01, 20, 4), (0.03, 3, 6)):
        yield Kind("raw", "Tanh", False, "Sgd", rate, epochs, 300, 20, 30, draw=draw)


def _fresh() -> Iterator[Kind]:
    """Yield the trainings that nobody looked at before the limits were settled."""
    for activation, normalized, solver, rate in (
        ("Swish", True, "Sgd", 0.02),
        ("LeakyReLU", True, "Momentum", 0.005),
        ("Tanh", True, "AdamW", 0.001),
        ("Sigmoid", True, "RMSprop", 0.001),
        ("Swish", False, "Adam", 0.003),
        ("LeakyReLU", False, "Sgd", 0.02),
    ):
        yield Kind("table", activation, normalized, solver, rate, 40, 300, 20, 30)
    for activation, normalized, solver, rate in (
        ("LeakyReLU", True, "Adam", 0.001),
        ("Tanh", True, "Sgd", 0.1),
        ("ReLU", True, "Sgd", 0.02),
        ("Swish", False, "Sgd", 0.05),
        ("ReLU", False, "Momentum", 0.005),
        ("Swish", False, "AdamW", 0.001),
    ):
        yield Kind("digits", activation, normalized, solver, rate)
    for activation, normalized, solver, rate in (
        ("Tanh", False, "Sgd", 0.05),
        ("ReLU", False, "Adam", 0.001),
        ("LeakyReLU", True, "Adam", 0.001),
        ("Tanh", True, "Momentum", 0.01),
    ):
        yield Kind("images", activation, normalized, solver, rate, 8, 300, 4, 20)


def write_training(folder: Path, kind: Kind) -> Path:
    """Write data and definition of a training, and return the definition."""
    write = _write_columns
    if kind.data in ("digits", "images"):
        write = _write_digits if kind.data == "digits" else _write_images
    data = write(folder, kind)
    settings = Training(
        n_rows=kind.rows,
        training_csv=str(data.training_csv),
        validation_csv=str(data.validation_csv),
        batch_size=kind.batch,
        epochs=kind.epochs,
        solver=kind.solver,
        learning_rate=kind.rate,
    )
    write_definition(folder / "net.nntxt", _network(kind), settings)
    return folder / "net.nntxt"


def _network(kind: Kind) -> Network:
    def activate(sheet: Sheet, x: Layer) -> Layer:
        if kind.normalized:
            x = sheet.batch_normalization(x)
        function, output = sheet._function(kind.activation, [x.name], x.shape)
        if kind.activation == "LeakyReLU":
            function.leaky_relu_param.alpha = 0.1
        return output

    def columns(sheet: Sheet, x: Layer) -> Layer:
        return sheet.affine(activate(sheet, sheet.affine(x, kind.width)), 2)

    def perceptron(sheet: Sheet, x: Layer) -> Layer:
        for _ in range(2):
            x = activate(sheet, sheet.affine(x, kind.width))
        return sheet.affine(x, 10)

    def convolutions(sheet: Sheet, x: Layer) -> Layer:
        x = sheet.max_pooling(activate(sheet, sheet.convolution(x, kind.width, 5)), 2)
        x = activate(sheet, sheet.convolution(x, 2 * kind.width, 3))
        return sheet.affine(x, 10)

    return {
        "table": Network((3,), columns),
        "raw": Network((3,), columns),
        "digits": Network((64,), perceptron),
        "images": Network((1, 14, 14), convolutions),
    }[kind.data]


def _write_columns(folder: Path, kind: Kind) -> SampleData:
    rng = np.random.RandomState(kind.seed if kind.draw is None else kind.draw)
    paths = []
    for part, n in (("training", kind.rows), ("validation", 100)):
        classes = rng.randint(2, size=n)
        x = rng.randn(n, 3) + (classes - 0.5)[:, None]
        scale = 3 if kind.normalized or kind.data == "raw" else 0.5
        x = np.stack([x[:, 0], rng.randint(2, size=n), np.exp(scale * (1 + x[:, 2] / 3))], 1)
        given = np.where(rng.rand(n) > 0.15, classes, 1 - classes)
        lines = [",".join([*(f"{v:.4f}" for v in a), str(b)]) for a, b in zip(x, given)]
        paths.append(folder / f"{part}.csv")
        paths[-1].write_text("\n".join(["x__0,x__1,x__2,y", *lines, ""]))
    return SampleData(paths[0], paths[1], None, kind.rows, 100, np.zeros(0, int))


def _write_digits(folder: Path, kind: Kind) -> SampleData:
    table: Table = load_small_digits()
    return write_table(
        *(folder, table),
        n_training=kind.rows,
        n_validation=300,
        flipped=0.1,
        seed=kind.seed,
    )


def _write_images(folder: Path, kind: Kind) -> SampleData:
    images, labels = load_digits()
    rng = np.random.RandomState(kind.seed)
    rows = rng.permutation(len(labels))[: kind.rows + 200]
    small = images.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype(np.uint8)
    path = make_folder(folder / "data")
    training, validation = rows[: kind.rows], rows[kind.rows :]
    flipped = flip_labels(labels[training], 0.1, 10, rng)
    return SampleData(
        write_images(path, "training", small[training], flipped, training),
        write_images(
            path, "validation", small[validation], Labels.right(labels[validation]), validation
        ),
        *(None, kind.rows, 200, flipped.flipped),
    )
