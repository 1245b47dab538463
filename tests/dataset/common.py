"""What the dataset tests share: writing CSVs, and nnabla's own reader as the yardstick."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import nnabla as nn
import nnabla.functions as F
import numpy as np
from nnabla.utils.cli.utility import let_data_to_variable
from nnabla.utils.data_iterator import data_iterator_csv_dataset
from PIL import Image


def write_csv(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    encoding: str = "utf-8",
    line_end: str = "\n",
) -> Path:
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, lineterminator=line_end)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def save_image(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def noise(*shape: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def as_training_sees(
    path: Path, shapes: dict[str, tuple[int, ...]], *, normalize: bool = True
) -> dict[str, np.ndarray]:
    """The whole CSV as `nnabla_cli train` feeds it: its data iterator, its variable assignment."""
    with open(path, encoding="utf-8-sig") as file:
        n_rows = sum(1 for _ in csv.reader(file)) - 1
    with data_iterator_csv_dataset(
        str(path), n_rows, shuffle=False, normalize=normalize
    ) as iterator:
        data = dict(zip(iterator.variables, iterator.next()))
    seen = {}
    for name, shape in shapes.items():
        variable = nn.Variable((n_rows, *shape))
        let_data_to_variable(variable, data[name])
        times_one = F.mul_scalar(variable, 1.0)  # any function that computes in 32 bits
        times_one.forward()
        seen[name] = times_one.d.copy()
        assert seen[name].dtype == np.float32
    return seen
