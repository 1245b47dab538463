"""The datasets that a definition names."""

from __future__ import annotations

import ntpath
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnabla_influence.errors import DatasetError, ModelError, UnsupportedError
from nnabla_influence.files import is_foreign, is_windows_path


@dataclass(frozen=True)
class DatasetSettings:
    """One dataset of a definition.

    Attributes:
        name: Such as ``Training``.
        uri: The dataset CSV as the file names it.
        path: The same, resolved: relative to the model file's folder, or to the working directory
            if it exists only there.
        batch_size: Examples of one mini-batch.
        shuffle: Whether the order is shuffled.
        normalize: Whether images are divided by 255.
        cache_dir: nnabla_cli's cache, empty if none.
        index: Position among the file's datasets; nnabla_cli seeds the order with it.
    """

    name: str
    uri: str
    path: Path
    batch_size: int
    shuffle: bool
    normalize: bool
    cache_dir: str
    index: int


def dataset_settings(
    path: Path, proto: Any, optimizer: Any
) -> tuple[DatasetSettings | None, DatasetSettings | None]:
    """Return the datasets of training and of validation, each None where the file names none.

    Training is the optimizer's dataset. Validation is a dataset of a monitor that is not the
    optimizer's, preferably one called ``Validation``.
    """
    datasets = {
        dataset.name: _settings(path, index, dataset) for index, dataset in enumerate(proto.dataset)
    }
    trained = list(optimizer.dataset_name)
    if len(trained) > 1:
        raise UnsupportedError(
            f"{path}: the optimizer {optimizer.name!r} reads {len(trained)} datasets"
            f" ({', '.join(map(repr, trained))}); put the columns into one CSV and train again"
        )
    # A definition may leave all its datasets out; then the user gives the CSVs.
    if datasets and trained and trained[0] not in datasets:
        raise ModelError(
            f"{path}: the optimizer {optimizer.name!r} reads the dataset {trained[0]!r}, which is"
            f" not in the file (only {', '.join(map(repr, datasets))}); save the file again"
        )
    monitored = [
        name
        for monitor in proto.monitor
        for name in monitor.dataset_name
        if name in datasets and name not in trained
    ]
    preferred = sorted(monitored, key=lambda name: name.lower() != "validation")
    training = datasets[trained[0]] if datasets and trained else None
    validation = datasets[preferred[0]] if preferred else None
    return training, validation


def refuse_missing_csv(definition: Path, settings: DatasetSettings, what: str, advice: str) -> None:
    """Refuse the training or validation dataset of a model file if its CSV does not exist."""
    if not settings.path.exists():
        place, is_where = settings.path, "does not exist"
        if is_foreign(settings.uri):
            place, is_where = Path(settings.uri), "is on another machine"
        raise DatasetError(f"{place}: the {what} dataset of {definition} {is_where}; {advice}")


def folder_beside(settings: DatasetSettings, csv: Path) -> Path | None:
    """Return where a dataset's cache is if the dataset was moved, with its cache, to ``csv``.

    The Console keeps the cache in a fixed place beside the CSV: Windows NNC in ``NAME.cache``. So
    it is to ``csv`` as ``cache_dir`` is to ``uri``; None where these are not paths of one kind.
    """
    uri, cache = settings.uri, settings.cache_dir
    of_windows = is_windows_path(uri)
    if of_windows != is_windows_path(cache) or uri.startswith("/") != cache.startswith("/"):
        return None
    parts = ntpath if of_windows else posixpath
    try:
        way = parts.relpath(cache, parts.dirname(uri) or ".")
    except ValueError:  # on two drives
        return None
    return csv.parent / way.replace("\\", "/" if of_windows else "\\")


def _settings(path: Path, index: int, dataset: Any) -> DatasetSettings:
    return DatasetSettings(
        name=dataset.name,
        uri=dataset.uri,
        path=_resolve(path, dataset.uri),
        batch_size=int(dataset.batch_size),
        shuffle=bool(dataset.shuffle),
        normalize=not dataset.no_image_normalization,
        cache_dir=dataset.cache_dir,
        index=index,
    )


def _resolve(model: Path, uri: str) -> Path:
    # nnabla_cli reads a relative uri from the working directory; a model that was moved together
    # with its data is found again from its own folder.
    beside = model.parent / uri
    from_here = Path.cwd() / uri
    return from_here if from_here.exists() and not beside.exists() else beside
