"""Read the files of a model: the definition as a protobuf, the parameters as arrays.

nnabla's own loaders put what they read into nnabla's global scope, or merge a text that holds
parameters twice, and they log; the formats are simple, so they are read here.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from nnabla.utils import nnabla_pb2

from nnabla_influence.archive import open_archive, read_member
from nnabla_influence.errors import ModelError
from nnabla_influence.files import check_regular
from nnabla_influence.hdf5 import open_checked, read_arrays
from nnabla_influence.limits import ADVICE, raised

TEXT_SUFFIXES = (".nntxt", ".prototxt")
PARAMETER_SUFFIXES = (".h5", ".protobuf")
MODEL_SUFFIXES = (*TEXT_SUFFIXES, ".nnp")

_MOST_TEXT = 2**24  # which takes a minute to read; no network has so many functions
_HDF5 = b"\x89HDF\r\n\x1a\n"


class ModelFiles(NamedTuple):
    """What the files of a model hold.

    Attributes:
        proto: The definition, without parameters.
        parameters: float32 arrays by nnabla's names.
    """

    proto: Any
    parameters: dict[str, np.ndarray]


def read_model_files(path: Path, parameters: Path | None = None) -> ModelFiles:
    """Read a definition file and, if given, a separate file of parameters.

    Args:
        path: An .nnp of nnabla_cli, Neural Network Console or its desktop version, or an .nntxt or
            .prototxt.
        parameters: An .h5, .protobuf or .nnp whose parameters take the place of the model's own.

    Raises:
        ModelError: A file is missing, damaged, or of another kind.
    """
    if path.suffix.lower() not in MODEL_SUFFIXES:
        raise ModelError(f"{path}: is no model file; give an .nnp, .nntxt or .prototxt")
    files = _read(path)
    if not files.proto.network:
        raise ModelError(
            f"{path}: holds no network; give the .nnp, .nntxt or .prototxt that was trained"
        )
    if parameters is None:
        return files
    return ModelFiles(files.proto, read_parameters(parameters))


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """Return the parameters of an .h5, .protobuf, .nnp, .nntxt or .prototxt, by nnabla's names.

    Raises:
        ModelError: The file is missing, damaged, of another kind, or holds no parameter.
    """
    if path.suffix.lower() not in (*PARAMETER_SUFFIXES, *MODEL_SUFFIXES):
        raise ModelError(f"{path}: is no file of parameters; give an .h5, .protobuf or .nnp")
    parameters = _read(path).parameters
    if not parameters:
        raise ModelError(f"{path}: holds no parameters; give the .h5 or .nnp of the training")
    return parameters


def _read(path: Path) -> ModelFiles:
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; give the model file in it")
    suffix = path.suffix.lower()
    try:
        if suffix == ".nnp":
            return _read_nnp(path)
        check_regular(path)
        return _read_part(str(path), suffix, path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path}: does not exist; check the path") from error
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror or error}); check the file"
        ) from error


def _read_nnp(path: Path) -> ModelFiles:
    proto = nnabla_pb2.NNablaProtoBuf()
    parameters: dict[str, np.ndarray] = {}
    try:
        with open_archive(path) as archive:
            members = [(name, Path(name).suffix.lower()) for name in archive.namelist()]
            texts = [name for name, suffix in members if suffix in TEXT_SUFFIXES]
            if len(texts) != 1:
                raise ModelError(
                    f"{path}: holds {len(texts)} network definitions"
                    f"{' (' + ', '.join(texts) + ')' if texts else ''} instead of one; give an"
                    " .nnp that nnabla_cli or the Console wrote"
                )
            text = archive.getinfo(texts[0])
            if text.file_size > raised(max(_MOST_TEXT, 20 * text.compress_size)):
                raise ModelError(
                    f"{path}, {texts[0]}: would unpack to {text.file_size:,} bytes of text;"
                    f" {ADVICE}"
                )
            for name, suffix in members:
                if suffix in (*TEXT_SUFFIXES, *PARAMETER_SUFFIXES):
                    content = read_member(archive, name)
                    found = _read_part(f"{path}, {name}", suffix, content)
                    proto.MergeFrom(found.proto)
                    parameters.update(found.parameters)
                elif ".h5" in name.lower():  # a solver's states, which nnabla_cli would read
                    _check_h5(f"{path}, {name}", read_member(archive, name))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, RuntimeError) as error:
        raise ModelError(
            f"{path}: is no whole .nnp archive ({error}); write or copy it again"
        ) from error
    return ModelFiles(proto, parameters)


def _read_part(where: str, suffix: str, content: bytes) -> ModelFiles:
    if suffix == ".h5":
        return ModelFiles(nnabla_pb2.NNablaProtoBuf(), _read_h5(where, content))
    if suffix == ".protobuf":
        return _split(where, _parse_binary(where, content))
    return _split(where, _parse_text(where, content))


def _parse_binary(where: str, content: bytes) -> Any:
    proto = nnabla_pb2.NNablaProtoBuf()
    try:
        proto.MergeFromString(content)
    except DecodeError as error:
        raise ModelError(f"{where}: is no .protobuf of nnabla; write or copy it again") from error
    return proto


def _parse_text(where: str, content: bytes) -> Any:
    proto = nnabla_pb2.NNablaProtoBuf()
    try:
        text_format.Merge(content.decode("utf-8-sig"), proto)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{where}: is no network definition that nnabla 1.39 understands ({reason})"
            "; give the .nntxt or .prototxt that was trained"
        ) from error
    return proto


def _split(where: str, proto: Any) -> ModelFiles:
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
                f" shape {shape}; write the file again"
            ) from error
    del proto.parameter[:]
    return ModelFiles(proto, parameters)


def _read_h5(where: str, content: bytes) -> dict[str, np.ndarray]:
    with _damage_named(where, "whole .h5 of parameters"):
        arrays = read_arrays(io.BytesIO(content), len(content))
        return {name: np.asarray(value, np.float32) for name, value in arrays.items()}


def _check_h5(where: str, content: bytes) -> None:
    if _HDF5 not in content:
        return  # It cannot be opened as one either.
    with (
        _damage_named(where, "whole .h5 of a solver's states"),
        open_checked(io.BytesIO(content), len(content)),
    ):
        pass


@contextlib.contextmanager
def _damage_named(where: str, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{where}: is no {what} ({reason}); write or copy it again") from error


def check_parameters(
    path: Path, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]
) -> None:
    """Check that parameters are there and of the right shapes.

    nnabla initialises a missing parameter at random without a word, so this comes before building.

    Args:
        path: The model file, for the message.
        wanted: Shapes by name.
        given: Arrays by name; more than the wanted ones do no harm.

    Raises:
        ModelError: A parameter is missing, of another shape, or not finite.
    """
    missing = [name for name in wanted if name not in given]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ModelError(
            f"{path}: {len(missing)} of the network's {len(wanted)} parameters are missing"
            f" ({shown}); give the trained parameters, an .nnp or an .h5 beside the .nntxt"
        )
    for name, shape in wanted.items():
        given_shape = tuple(np.shape(given[name]))
        if given_shape != shape:
            raise ModelError(
                f"{path}: the parameter {name!r} has shape {given_shape}, and the network wants"
                f" {shape}; give the parameters that were trained with this network"
            )
        if not np.isfinite(given[name]).all():
            raise ModelError(
                f"{path}: the parameter {name!r} holds values that are not finite, so the training"
                " diverged; train again, with a lower learning rate"
            )
