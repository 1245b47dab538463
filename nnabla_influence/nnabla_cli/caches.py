"""The cache folder that a definition names, from which nnabla_cli trains instead of the CSV.

The Console prepares it before the training (``create_cache_explicitly``); it holds pixels as the
image files do, and other values as floats. Otherwise nnabla_cli makes it while it trains, with
everything as floats, and reads it the next time.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from nnabla_influence.definition import DatasetSettings, Definition
from nnabla_influence.definition.datasets import folder_beside
from nnabla_influence.errors import UnsupportedError
from nnabla_influence.files import check_regular
from nnabla_influence.hdf5 import open_checked

_PIXEL_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


def reads_cached_pixels(definition: Definition, settings: DatasetSettings, csv: Path) -> bool:
    """Return whether nnabla_cli scales pixels when it reads them from the dataset's cache.

    Args:
        definition: Of the training.
        settings: One of its datasets.
        csv: The current path of its CSV.
    """
    dataset = definition.proto.dataset[settings.index]
    if not settings.cache_dir:
        return False
    if dataset.create_cache_explicitly:
        return True
    return not dataset.overwrite_cache and _holds_pixels(_folder(definition, settings, csv))


def _folder(definition: Definition, settings: DatasetSettings, csv: Path) -> Path:
    """Return the cache folder: where the definition says, else beside the current CSV."""
    named = definition.path.parent / settings.cache_dir, Path(settings.cache_dir)
    moved = folder_beside(settings, csv)
    folders = [folder for folder in (*named, moved) if folder is not None and folder.is_dir()]
    return folders[0] if folders else named[1]


def _holds_pixels(folder: Path) -> bool:
    """Return whether the first file of a cache holds an array of pixels."""
    files = sorted(folder.glob("cache_*.npy")) + sorted(folder.glob("cache_*.h5"))
    if not files:
        return False
    try:
        if files[0].suffix == ".h5":
            with open_checked(files[0]) as arrays:
                return any(array.dtype in _PIXEL_TYPES for array in arrays.values())
        check_regular(files[0])
        with files[0].open("rb") as file:  # one array behind the other
            end = files[0].stat().st_size
            while file.tell() < end:
                if np.load(file).dtype in _PIXEL_TYPES:
                    return True
    except Exception:  # a damaged file, which nnabla_cli cannot read either
        pass
    return False


def cached_order(
    definition: Definition, settings: DatasetSettings, n_rows: int, csv: Path
) -> np.ndarray | None:
    """Return the order of rows in nnabla_cli's cache folder; None if the training made the cache.

    Args:
        definition: Of the training.
        settings: One of its datasets.
        n_rows: Its rows.
        csv: The current path of its CSV.

    Raises:
        UnsupportedError: It is unknown whether the training made the cache or found it.
    """
    dataset = definition.proto.dataset[settings.index]
    if not settings.cache_dir or (dataset.overwrite_cache and not dataset.create_cache_explicitly):
        return None
    folder = _folder(definition, settings, csv)
    rows = _read_column(folder / "order.csv")
    if not np.array_equal(np.sort(rows), np.arange(n_rows)):
        raise UnsupportedError(f"{folder / 'order.csv'} does not fit the dataset of {n_rows} rows")
    if not dataset.create_cache_explicitly:
        if not settings.shuffle and np.array_equal(rows, np.arange(n_rows)):
            return None
        raise UnsupportedError(
            f"dataset {settings.name!r}: the order depends on whether the training made the cache"
            f" folder {folder} or found it, which is unknown"
        )
    if not settings.shuffle:
        return rows
    # It is made and read with the same seed: the files are shuffled, and the rows in each.
    rng = np.random.RandomState(settings.index)
    lengths = _read_column(folder / "cache_index.csv")
    if lengths.sum() != n_rows:
        raise UnsupportedError(f"{folder / 'cache_index.csv'} does not fit the {n_rows} rows")
    files = np.split(rows, np.cumsum(lengths)[:-1])
    return np.concatenate([rng.permutation(files[i]) for i in rng.permutation(len(files))])


def _read_column(path: Path) -> np.ndarray:
    try:
        check_regular(path)
        with path.open(newline="") as file:
            return np.array([int(number) for _, number in csv.reader(file)], np.int64)
    except (OSError, ValueError) as error:
        raise UnsupportedError(
            f"{path}: cannot be read, so the order of the cache is unknown"
        ) from error
