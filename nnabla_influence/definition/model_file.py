"""Read model files: the definition as a protobuf, parameters and other arrays by name.

nnabla's own loaders write to its global scope, or merge a text that holds parameters twice.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from nnabla.utils import nnabla_pb2

from nnabla_influence.errors import InfluenceError, ModelError
from nnabla_influence.file_safety import ADVICE, open_archive, raised, read_member
from nnabla_influence.files import check_regular
from nnabla_influence.hdf5 import open_checked, read_arrays

TEXT_SUFFIXES = (".nntxt", ".prototxt")
PARAMETER_SUFFIXES = (".h5", ".protobuf")
MODEL_SUFFIXES = (*TEXT_SUFFIXES, ".nnp")

_MOST_TEXT = 2**24  # takes a minute to read; no network has so many functions
_HDF5 = b"\x89HDF\r\n\x1a\n"
_DAMAGE = (
    OSError,
    RuntimeError,
    KeyError,
    TypeError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    DecodeError,
    text_format.ParseError,
)


class Part(NamedTuple):
    """A member of an .nnp, or a whole file of another kind."""

    where: str  # for messages: the file and the member
    name: str  # of the member or file, in lower case
    content: bytes


@contextlib.contextmanager
def naming_damage(
    where: str | Path,
    what: str,
    advice: str = "export or copy it again",
    error: type[InfluenceError] = ModelError,
) -> Iterator[None]:
    """Turn whatever reading a missing or damaged file raises into one error.

    The message says that ``where`` is not ``what``, such as "a valid .nnp archive", and ``advice``.
    """
    try:
        yield
    except FileNotFoundError as cause:
        raise error(f"{where}: does not exist; check the path") from cause
    except _DAMAGE as cause:
        reason = getattr(cause, "strerror", None) or " ".join(str(cause).split())[:200]
        raise error(f"{where}: is not {what} ({reason}); {advice}") from cause


def read_model_file(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the definition in an .nnp, .nntxt or .prototxt, and its parameters by nnabla's names.

    Raises:
        ModelError: The file is missing, damaged, or of another kind.
    """
    if path.suffix.lower() not in MODEL_SUFFIXES:
        raise ModelError(f"{path}: is not a model file; give an .nnp, .nntxt or .prototxt")
    proto, parameters = _read(path)
    if not proto.network:
        raise ModelError(
            f"{path}: holds no network; give the .nnp, .nntxt or .prototxt that was trained"
        )
    return proto, parameters


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """Return the parameters of an .h5, .protobuf, .nnp, .nntxt or .prototxt, by nnabla's names.

    Raises:
        ModelError: The file is missing, damaged, of another kind, or holds no parameter.
    """
    if path.suffix.lower() not in (*PARAMETER_SUFFIXES, *MODEL_SUFFIXES):
        raise ModelError(f"{path}: is not a parameter file; give an .h5, .protobuf or .nnp")
    _, parameters = _read(path)
    if not parameters:
        raise ModelError(f"{path}: holds no parameters; give the .h5 or .nnp of the training")
    return parameters


def read_parts(path: Path, wanted: Callable[[str], bool]) -> Iterator[Part]:
    """Yield a file as its one part, or the ``wanted`` parts of an .nnp, by name in lower case.

    Raises:
        ModelError: The file is missing or damaged, holds several definitions, or would grow far
            beyond its own size.
    """
    if path.suffix.lower() != ".nnp":
        with naming_damage(path, "a readable file"):
            check_regular(path)
            content = path.read_bytes()
        yield Part(str(path), path.name.lower(), content)
        return
    with naming_damage(path, "a valid .nnp archive"), open_archive(path) as archive:
        texts = [name for name in archive.namelist() if name.lower().endswith(TEXT_SUFFIXES)]
        if len(texts) > 1:
            raise ModelError(
                f"{path}: holds {len(texts)} network definitions ({', '.join(texts)}) instead of"
                " one; give an .nnp that nnabla_cli or the Console wrote"
            )
        for member in archive.infolist():
            where, name = f"{path}, {member.filename}", member.filename.lower()
            if not wanted(name):
                continue
            most = raised(max(_MOST_TEXT, 20 * member.compress_size))
            if name.endswith(TEXT_SUFFIXES) and member.file_size > most:
                raise ModelError(
                    f"{where}: would unpack to {member.file_size:,} bytes of text; {ADVICE}"
                )
            yield Part(where, name, read_member(archive, member.filename))


def read_proto(part: Part) -> Any:
    """Return the ``NNablaProtoBuf`` of a part, a text or a binary."""
    proto = nnabla_pb2.NNablaProtoBuf()
    if part.name.endswith(TEXT_SUFFIXES):
        advice = "give the .nntxt or .prototxt that was trained"
        with naming_damage(part.where, "a network definition of nnabla 1.39", advice):
            text_format.Merge(part.content.decode("utf-8-sig"), proto)
    else:
        with naming_damage(part.where, "a valid .protobuf of nnabla"):
            proto.MergeFromString(part.content)
    return proto


def _read(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    proto = nnabla_pb2.NNablaProtoBuf()
    parameters: dict[str, np.ndarray] = {}
    for part in read_parts(path, _is_read):
        suffix = Path(part.name).suffix
        if suffix in (*TEXT_SUFFIXES, ".protobuf"):
            found = read_proto(part)
            parameters.update(_removed_parameters(part.where, found))
            proto.MergeFrom(found)
        elif suffix == ".h5":
            with naming_damage(part.where, "a valid .h5 of parameters"):
                arrays = read_arrays(part.content)
                parameters.update({n: np.asarray(v, np.float32) for n, v in arrays.items()})
        elif _HDF5 in part.content:
            with (
                naming_damage(part.where, "a valid .h5 of a solver's states"),
                open_checked(part.content),
            ):
                pass
    return proto, parameters


def _is_read(name: str) -> bool:
    # nnabla_cli would read the states of a solver, of which the names only contain ".h5".
    return name.endswith((*TEXT_SUFFIXES, *PARAMETER_SUFFIXES)) or ".h5" in name


def _removed_parameters(where: str, proto: Any) -> dict[str, np.ndarray]:
    """Return the parameters of a protobuf, and remove them from it."""
    parameters = {}
    for parameter in proto.parameter:
        shape = tuple(parameter.shape.dim)
        values = np.array(parameter.data, np.float32)
        try:
            if min(shape, default=0) < 0:
                raise ValueError
            parameters[parameter.variable_name] = values.reshape(shape)
        except ValueError as error:
            raise ModelError(
                f"{where}: parameter {parameter.variable_name!r} has {values.size} values for"
                f" shape {shape}; export the file again"
            ) from error
    del proto.parameter[:]
    return parameters
