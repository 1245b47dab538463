"""A dataset CSV: checked, its inputs decoded once into the cache, read in batches."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.dataset.cache import (
    cache_home,
    is_private,
    make_entry,
    owner,
    usable_folder,
)
from nnabla_influence.dataset.decoder import decode, file_name
from nnabla_influence.dataset.file_hashes import (
    Contents,
    hash_contents,
    read_contents,
    write_contents,
)
from nnabla_influence.dataset.header import Column
from nnabla_influence.dataset.records import RecordIndex
from nnabla_influence.dataset.scan import Scan, scan_csv
from nnabla_influence.dataset.store import ColumnSpec, StoredVariable
from nnabla_influence.dataset.values import CellReader, as_number, file_of, shown_shape
from nnabla_influence.errors import DatasetError, OutputError
from nnabla_influence.files import replacing_file
from nnabla_influence.progress import Progress, SilentProgress

_FORMAT = 2
_CONTENTS = "contents.json"
_COMPARED = 256


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened dataset CSV.

    Attributes:
        path: The CSV, absolute.
        columns: Its columns, comments included.
        inputs: Names of the requested variables, in that order.
    """

    path: Path
    columns: tuple[Column, ...]
    inputs: tuple[str, ...]
    _records: RecordIndex
    _stored: Mapping[str, StoredVariable]
    _entry: Path | None

    @property
    def header(self) -> tuple[str, ...]:
        """Every column's header cell, in order, untouched."""
        return tuple(column.cell for column in self.columns)

    def __len__(self) -> int:
        """The number of rows; their ``datasource_index`` goes from 0 to one less."""
        return len(self._records)

    @property
    def is_ascii(self) -> bool:
        """Whether the CSV's text is ASCII."""
        return self._records.is_ascii

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values of some rows, as training sees them.

        Args:
            rows: Row numbers, shape (B,), in any order, with or without repeats.

        Returns:
            For each input its values, shape (B, *shape), float32.

        Raises:
            IndexError: There is no such row.
        """
        rows = np.asarray(rows)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"row numbers must lie in 0..{len(self) - 1}")
        return {name: self._stored[name].gather(rows) for name in self.inputs}

    def values(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return one input's values of some rows, shape (B, *shape), float32."""
        return self._stored[name].gather(rows)

    def cells(self, row: int) -> list[str]:
        """Return the cells of a row, untouched, comments included.

        Raises:
            DatasetError: The CSV has changed since it was opened.
        """
        return self._records.cells(row)

    def contents(self) -> Contents:
        """Return a hash of the files that each row names, by input; read once, then cached.

        Raises:
            DatasetError: A file cannot be read.
        """
        cached = None if self._entry is None else self._entry / _CONTENTS
        if cached is not None:
            with contextlib.suppress(OSError, ValueError):
                found = read_contents(cached)
                if all(len(hashes) == len(self) for hashes in found.values()):
                    return found
        contents = hash_contents(self.path, self.inputs)
        if cached is not None:
            with contextlib.suppress(OSError, OutputError), replacing_file(cached) as temporary:
                write_contents(temporary, contents)
        return contents

    def iter_cells(self, rows: Iterable[int] | None = None) -> Iterator[list[str]]:
        """Yield the cells of these rows, of every one in turn by default, untouched.

        Raises:
            DatasetError: The CSV has changed since it was opened.
        """
        return self._records.iter_cells(rows)

    def place(self, row: int, column: str) -> str:
        """Return the place of a cell, for an error message, by its column's name or header."""
        line = int(self._records.lines[row])
        return f"{self.path}, line {line}, column {column!r}"

    def is_file(self, position: int, cell: str) -> bool:
        """Whether a cell of the column at ``position`` names an existing file."""
        if self.columns[position].is_comment:
            return False
        try:
            return as_number(cell) is None and os.path.isfile(file_of(cell, str(self.path.parent)))
        except ValueError:  # not a finite number; a file name with NUL
            return False

    def file_of(self, cell: str) -> Path:
        """Return the absolute path of the file that a cell names."""
        return Path(os.path.abspath(file_of(cell, str(self.path.parent))))


def open_dataset(
    path: str | os.PathLike[str],
    columns: Sequence[ColumnSpec],
    *,
    normalize: bool = True,
    by_cache: bool = False,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> Dataset:
    """Open a dataset CSV and prepare the network's inputs.

    The first time, every file that it names is decoded into a cache on disk. The cache is used as
    long as neither the CSV nor the size or a time of a file has changed.

    Args:
        path: The CSV.
        columns: The variables to prepare; the others are kept as text only.
        normalize: Whether images are scaled to 0..1 (no_image_normalization turns it off).
        by_cache: Whether to scale them as nnabla's prepared caches do, one bit off for some values.
        progress: Shows how far it is.
        cache_dir: The cache folder; by default ``$NNABLA_INFLUENCE_CACHE``, else the platform's.

    Raises:
        DatasetError: The CSV or a file that it names cannot be used.
        OutputError: The disk is full.
    """
    absolute = _checked_path(path)
    reader = CellReader(str(absolute.parent), normalize=normalize)
    scan = scan_csv(absolute, _distinct(columns), reader)
    stored: dict[str, StoredVariable] = {}
    entry = None
    if scan.variables:
        home = cache_home() if cache_dir is None else Path(cache_dir)
        stored, entry = _from_cache(
            home, scan, reader, progress or SilentProgress(), by_cache=by_cache
        )
    return Dataset(
        path=absolute,
        columns=scan.columns,
        inputs=tuple(variable.spec.name for variable in scan.variables),
        _records=scan.records,
        _stored=stored,
        _entry=entry,
    )


def _from_cache(
    home: Path, scan: Scan, reader: CellReader, progress: Progress, *, by_cache: bool
) -> tuple[dict[str, StoredVariable], Path]:
    """Return the values, decoded now if need be, and the cache entry."""
    key, stamp = _name(scan, reader.normalize)
    scaling = {"normalize": reader.normalize, "by_cache": by_cache}
    entry = home / f"{key}-{stamp}"
    found = _load(entry, scan, scaling)
    if found is not None:
        return found, entry
    if entry.exists():
        progress.say(f"{entry}: is damaged; decoding {scan.path} again")
    home = _usable(home, scan, progress)
    entry = make_entry(
        home, key, stamp, scan.path, lambda folder: decode(scan, folder, reader, progress)
    )
    made = _load(entry, scan, scaling)
    if made is None:
        raise OutputError(f"{entry}: cannot be read back; name another cache folder")
    return made, entry


def _distinct(specs: Sequence[ColumnSpec]) -> list[ColumnSpec]:
    """Return the specs by name; one column may feed several inputs."""
    distinct: dict[str, ColumnSpec] = {}
    for spec in specs:
        known = distinct.setdefault(spec.name, spec)
        if known.shape != spec.shape:
            raise DatasetError(
                f"the column {spec.name!r} feeds inputs of the shapes {shown_shape(known.shape)}"
                f" and {shown_shape(spec.shape)}; give each its own column"
            )
        if spec.n_classes is not None:
            n_classes = min(spec.n_classes, known.n_classes or spec.n_classes)
            ignores = spec.ignores_negative and (known.ignores_negative or known.n_classes is None)
            distinct[spec.name] = ColumnSpec(spec.name, spec.shape, n_classes, ignores)
    return list(distinct.values())


def _checked_path(path: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(path):
        raise DatasetError(f"{path}: is a web address; download the dataset and give its path")
    absolute = Path(os.path.abspath(path))
    if absolute.is_dir():
        raise DatasetError(f"{path}: is a folder; give the CSV file in it")
    if not absolute.exists():
        raise DatasetError(f"{path}: does not exist; check the dataset's path")
    return absolute


def _usable(home: Path, scan: Scan, progress: Progress) -> Path:
    """Return ``home``, or a temporary folder where it cannot be written."""
    if usable_folder(home):
        return home
    progress.say(
        f"{home}: cannot be written; decoded data are kept in a temporary folder for this run only"
        " (set NNABLA_INFLUENCE_CACHE to use another folder)"
    )
    temporary = Path(tempfile.mkdtemp(prefix="nnabla-influence-"))
    weakref.finalize(scan.records, shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def _name(scan: Scan, normalize: bool) -> tuple[str, str]:
    """Return key and stamp of the cache entry."""
    import nnabla
    import PIL
    from nnabla.utils import image_utils

    specs = [dataclasses.astuple(v.spec) for v in scan.variables]
    kept = (str(scan.path), specs, normalize, owner())
    decoders = (nnabla.__version__, PIL.__version__, sorted(image_utils.get_available_backends()))
    made_from = (_FORMAT, scan.fingerprint, scan.files_fingerprint, decoders)
    return _short_hash(kept), _short_hash(made_from)


def _short_hash(value: object) -> str:
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _load(entry: Path, scan: Scan, scaling: Mapping[str, bool]) -> dict[str, StoredVariable] | None:
    if not is_private(entry):
        return None
    try:
        return {
            v.spec.name: StoredVariable(entry / file_name(v), v.spec, len(scan.records), **scaling)
            for v in scan.variables
        }
    except (OSError, ValueError):
        return None


def note_on_equal_data(trained: Dataset, validated: Dataset) -> str | None:
    """Return a note for the user if both hold the same rows, from one CSV or from two."""
    if trained.path != validated.path:
        if len(trained) != len(validated):
            return None
        for start in range(0, len(trained), _COMPARED):
            rows = np.arange(start, min(start + _COMPARED, len(trained)))
            a, b = trained.batch(rows), validated.batch(rows)
            if not all(np.array_equal(a[name], b[name]) for name in trained.inputs):
                return None
    return (
        f"Note: the validation rows of {validated.path} are the training rows, so the influence is"
        " that on the training loss, not on data that the model has not seen"
    )
