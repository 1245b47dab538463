"""Open a dataset CSV: check it, decode what the network wants of it once, hand out batches."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
import weakref
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnabla_influence.dataset.cache import cache_home, make_entry, usable_folder
from nnabla_influence.dataset.header import Column, columns_of, is_vector, parse_header
from nnabla_influence.dataset.records import Record, RecordIndex, RecordReader
from nnabla_influence.dataset.store import (
    ColumnSpec,
    NotUniformError,
    StoredVariable,
    VariableWriter,
    normalized,
)
from nnabla_influence.dataset.values import (
    CellError,
    Raster,
    as_float32,
    as_number,
    check_file,
    file_of,
    load_file,
    load_raster,
    load_value,
)
from nnabla_influence.errors import DatasetError, OutputError
from nnabla_influence.progress import Progress, SilentProgress

_FORMAT = 1
_TELL_EVERY = 64


@dataclass(frozen=True)
class _Variable:
    """How one input of the network is made from columns."""

    spec: ColumnSpec
    columns: tuple[Column, ...]
    keep_pixels: bool

    @property
    def file_name(self) -> str:
        return f"{self.columns[0].position}.npy"


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened dataset CSV.

    Attributes:
        path: The CSV, absolute.
        columns: Its columns, comments included.
        inputs: Names of the variables that were asked for, in that order.
        seconds_decoding: What opening spent on decoding; 0.0 where the cache was found.
    """

    path: Path
    columns: tuple[Column, ...]
    inputs: tuple[str, ...]
    seconds_decoding: float
    _records: RecordIndex
    _stored: Mapping[str, StoredVariable]

    @property
    def header(self) -> tuple[str, ...]:
        """Every column's header cell, in order, untouched."""
        return tuple(column.cell for column in self.columns)

    def __len__(self) -> int:
        """The number of rows; their ``datasource_index`` goes from 0 to one less."""
        return len(self._records)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values of some rows, as training sees them.

        Args:
            rows: Row numbers, shape (B,), in any order, repeated or not.

        Returns:
            For each input its values, shape (B, *shape), float32.

        Raises:
            IndexError: There is no such row.
        """
        rows = np.asarray(rows)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"row numbers must lie in 0..{len(self) - 1}")
        return {name: self._stored[name].gather(rows) for name in self.inputs}

    def cells(self, row: int) -> list[str]:
        """Return the cells of a row, untouched, comments included.

        Raises:
            DatasetError: The CSV has changed since it was opened.
        """
        return self._records.cells(row)

    def file_of(self, position: int, cell: str) -> Path | None:
        """Return the file that a cell names, or None where it names none.

        Args:
            position: Number of the cell's column. Comments name no files.
            cell: The cell's text.
        """
        if self.columns[position].is_comment:
            return None
        with contextlib.suppress(ValueError):  # not a number; and no file name with NUL
            if as_number(cell) is None:
                path = file_of(cell, str(self.path.parent))
                return Path(os.path.abspath(path)) if os.path.isfile(path) else None
        return None


def open_dataset(
    path: str | os.PathLike[str],
    columns: Sequence[ColumnSpec],
    *,
    normalize: bool = True,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> Dataset:
    """Open a dataset CSV and make what the network wants of it ready.

    The first time, every referenced file is decoded into a cache on disk; later the cache is used
    as long as neither the CSV nor size or modification time of a file has changed.

    Args:
        path: The CSV.
        columns: The variables to make ready; the others are kept as text only.
        normalize: Whether images are scaled to 0..1 (no_image_normalization turns it off).
        progress: Where to tell how far it is.
        cache_dir: The cache folder; by default ``$NNABLA_INFLUENCE_CACHE``, else the platform's.

    Raises:
        DatasetError: The CSV or a file that it names cannot be used.
        OutputError: The disk is full.
    """
    progress = SilentProgress() if progress is None else progress
    absolute = _checked_path(path)
    scan = _scan(absolute, columns)
    key, stamp = _name(scan, normalize)
    home = cache_home() if cache_dir is None else Path(cache_dir)
    seconds = 0.0
    stored = _load(home / f"{key}-{stamp}", scan, normalize)
    if stored is None:
        temporary = not usable_folder(home)
        if temporary:
            progress.say(
                f"{home}: cannot be written; decoded data is kept in a temporary folder for this"
                " run only (NNABLA_INFLUENCE_CACHE names another place)"
            )
            home = Path(tempfile.mkdtemp(prefix="nnabla-influence-"))
            weakref.finalize(scan.records, shutil.rmtree, home, ignore_errors=True)
        began = time.monotonic()
        shown = progress

        def write(folder: Path) -> None:
            _decode(scan, folder, normalize, shown)

        entry = make_entry(home, key, stamp, absolute, write)
        stored = _load(entry, scan, normalize)
        if stored is None:
            raise OutputError(f"{entry}: cannot be read back; name another cache folder")
        seconds = time.monotonic() - began
    return Dataset(
        path=absolute,
        columns=scan.columns,
        inputs=tuple(spec.name for spec in columns),
        seconds_decoding=seconds,
        _records=scan.records,
        _stored=stored,
    )


def _checked_path(path: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(path):
        raise DatasetError(f"{path}: is a web address; download the dataset and give its path")
    absolute = Path(os.path.abspath(path))
    if absolute.is_dir():
        raise DatasetError(f"{path}: is a folder; give the CSV file in it")
    if not absolute.exists():
        raise DatasetError(f"{path}: does not exist; check the dataset's path")
    return absolute


@dataclass(frozen=True)
class _Scan:
    """What a first reading of the CSV found."""

    path: Path
    columns: tuple[Column, ...]
    variables: tuple[_Variable, ...]
    records: RecordIndex
    fingerprint: str  # of the CSV's content
    files: str  # of size and modification time of every file


def _scan(path: Path, specs: Sequence[ColumnSpec]) -> _Scan:
    """Check the CSV's form and every cell that the network wants, without decoding files."""
    status = path.stat()
    reader = RecordReader(path)
    records = iter(reader)
    header = next(records, None)
    if header is None or not header.cells:
        raise DatasetError(f"{path}: is empty; it needs a header line and rows")
    try:
        columns = parse_header(header.cells)
        variables = tuple(
            _Variable(spec, columns_of(columns, spec.name), keep_pixels=spec.n_classes is None)
            for spec in specs
        )
    except ValueError as error:
        raise DatasetError(f"{path}, line 1: {error}") from error
    starts, ends, lines = array("q"), array("q"), array("q")
    files = hashlib.blake2b(digest_size=16)
    blank = None
    for record in records:
        if not record.cells:
            blank = blank or record
            continue
        _check_form(path, record, len(starts), len(columns), blank)
        for variable in variables:
            for column in variable.columns:
                cell = record.cells[column.position]
                try:
                    if as_number(cell) is None:
                        file = check_file(cell, str(path.parent))
                        files.update(b"%d %d\n" % (file.st_size, file.st_mtime_ns))
                except CellError as error:
                    raise _located(path, record, len(starts), column, error) from error
        starts.append(record.start)
        ends.append(record.end)
        lines.append(record.line)
    if not starts:
        raise DatasetError(f"{path}: has a header but no rows; add rows")
    index = RecordIndex(
        path,
        np.frombuffer(starts, np.int64),
        np.frombuffer(ends, np.int64),
        np.frombuffer(lines, np.int64),
        status.st_size,
        status.st_mtime_ns,
    )
    return _Scan(path, columns, variables, index, reader.fingerprint, files.hexdigest())


def _check_form(path: Path, record: Record, row: int, width: int, blank: Record | None) -> None:
    if blank is not None:
        # Behind the last row it would do no harm; here nnabla counts it as a row and fails.
        raise DatasetError(f"{path}, line {blank.line}: is empty; remove the line")
    if len(record.cells) != width:
        raise DatasetError(
            f"{path}, line {record.line}, datasource_index {row}: has {len(record.cells)} cells,"
            f" the header has {width}; correct the row (a comma within a cell needs quotes around"
            " the cell)"
        )


def _located(
    path: Path, record: Record, row: int, column: Column, error: CellError
) -> DatasetError:
    return DatasetError(
        f"{path}, line {record.line}, datasource_index {row}, column {column.cell!r}: {error}"
    )


def _name(scan: _Scan, normalize: bool) -> tuple[str, str]:
    """Return key and stamp of the cache entry."""
    import nnabla
    import PIL
    from nnabla.utils import image_utils

    specs = [(v.spec.name, v.spec.shape, v.spec.n_classes) for v in scan.variables]
    kept = (str(scan.path), specs, normalize)
    decoders = (nnabla.__version__, PIL.__version__, sorted(image_utils.get_available_backends()))
    made_from = (_FORMAT, scan.fingerprint, scan.files, decoders)
    return _short_hash(kept), _short_hash(made_from)


def _short_hash(value: object) -> str:
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _load(entry: Path, scan: _Scan, normalize: bool) -> dict[str, StoredVariable] | None:
    try:
        return {
            v.spec.name: StoredVariable(
                entry / v.file_name, v.spec, len(scan.records), normalize=normalize
            )
            for v in scan.variables
        }
    except (OSError, ValueError):
        return None


def _decode(scan: _Scan, folder: Path, normalize: bool, progress: Progress) -> None:
    variables = scan.variables
    while True:
        try:
            return _decode_as(scan, variables, folder, normalize, progress)
        except NotUniformError as mixed:
            variables = tuple(
                replace(v, keep_pixels=v.keep_pixels and v.spec.name != str(mixed))
                for v in variables
            )


def _decode_as(
    scan: _Scan,
    variables: tuple[_Variable, ...],
    folder: Path,
    normalize: bool,
    progress: Progress,
) -> None:
    writers = [VariableWriter(folder / v.file_name, v.spec, len(scan.records)) for v in variables]
    data_folder = str(scan.path.parent)
    reader = RecordReader(scan.path)
    with progress.stage(f"Decoding {scan.path.name}", len(scan.records), "rows") as stage:
        row = -1
        for record in reader:
            if record.line == 1 or not record.cells:
                continue
            row += 1
            for variable, writer in zip(variables, writers):
                cells = [record.cells[column.position] for column in variable.columns]
                try:
                    writer.append(_value(variable, cells, data_folder, normalize, row == 0))
                except CellError as error:
                    raise _located(scan.path, record, row, variable.columns[0], error) from error
            if (row + 1) % _TELL_EVERY == 0:
                stage.update(_TELL_EVERY)
        stage.update((row + 1) % _TELL_EVERY)
    for writer in writers:
        writer.flush()
    if reader.fingerprint != scan.fingerprint:
        raise DatasetError(f"{scan.path}: has changed while it was read; start again")


def _value(
    variable: _Variable, cells: list[str], folder: str, normalize: bool, first: bool
) -> np.ndarray | Raster:
    vector = is_vector(variable.columns)
    if variable.keep_pixels and not vector and as_number(cells[0]) is None:
        raster = load_raster(cells[0], folder)
        if raster is not None:
            if normalize and first:
                # Trusted once it was seen: the look-up must give the loader's own values.
                by_loader = as_float32(load_file(cells[0], folder, normalize=True))
                if not np.array_equal(by_loader, normalized(raster.pixels)):
                    raise NotUniformError(variable.spec.name)
            return raster
    return load_value(cells, folder, vector=vector, normalize=normalize)
