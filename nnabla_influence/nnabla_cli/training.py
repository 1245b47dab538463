"""Train a definition file as ``nnabla_cli train`` does, recorded.

It is nnabla's own nnabla_cli that trains, in a process of its own, so that the parameters are those
that it always gives; `nnabla_influence.nnabla_cli_callback` records within it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence import nnabla_cli_callback
from nnabla_influence.dataset import ColumnSpec, Dataset, note_on_equal_data, open_dataset
from nnabla_influence.definition import (
    DatasetSettings,
    Definition,
    Mode,
    check_differentiable,
    load_definition,
    seed_random_layers,
    set_seeds,
    validation_definition,
    with_seeds,
)
from nnabla_influence.definition.datasets import refuse_missing_csv
from nnabla_influence.definition.model_file import TEXT_SUFFIXES
from nnabla_influence.definition.training_network import check_start
from nnabla_influence.definition.unrolled import expand
from nnabla_influence.device import Device, choose_device
from nnabla_influence.errors import DatasetError, InfluenceError, ModelError
from nnabla_influence.file_safety import open_archive, read_member
from nnabla_influence.nnabla_cli.checking import check_datasets
from nnabla_influence.nnabla_cli.process import run_nnabla_cli
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.runs.keep import check_keep, nnabla_cli_plan, window_epochs
from nnabla_influence.runs.run import (
    SETTINGS,
    Run,
    read_run,
    read_settings,
    replacing_run,
    write_settings,
)
from nnabla_influence.runs.staging import in_use, remove_leftovers
from nnabla_influence.runs.storage import Storage
from nnabla_influence.solvers import STATE_NAMES, check_solver

_Path = Union[str, "os.PathLike[str]"]

_UNKNOWN_STATES = ("", "")  # most of the solvers that cannot be traced have two


def train(
    model: _Path,
    output: _Path,
    *,
    parameters: Optional[_Path] = None,
    device: str = "auto",
    window: Union[int, str] = nnabla_cli_callback.DEFAULT_WINDOW,
    keep: str = nnabla_cli_callback.DEFAULT_KEEP,
    progress: Optional[Progress] = None,
) -> Run:
    """Train a network definition and write the run folder, whole or not at all.

    What nnabla_cli itself writes (``results.nnp``, ``monitoring_report.yml``, ...) lies in the run
    folder's ``nnabla_cli``, with its log.

    Args:
        model: .nntxt, .prototxt or .nnp; as for nnabla_cli, parameters in it are not
            used.
        output: Run folder to write. An existing run is replaced.
        parameters: Start from these: .h5, .protobuf or .nnp.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, in place of the definition's context.
        window: Epochs to record, counted from the end, ``"last"`` or ``"all"``.
        keep: Which states of the training to keep beside the last: none (``"final"``), so many
            that the others are quickly computed again (``"sqrt"``), or that before every step of
            the window (``"all"``). What each takes is said before the training.
        progress: Where to tell how far it is.

    Raises:
        ModelError: The definition or the parameters cannot be used.
        DatasetError: A dataset CSV, or a file that it names, cannot be used.
        DeviceError: The device that was asked for does not work.
        OutputError: The run folder cannot be written, or holds other things than a run; or what is
            to be kept does not fit the disk.
        RunError: The training failed, or could not be recorded.
    """
    progress = SilentProgress() if progress is None else progress
    epochs = window_epochs(window)
    check_keep(keep)
    remove_leftovers(Path(os.path.realpath(output)), ".tmp")
    with replacing_run(output) as staged, in_use(staged):
        definition = load_definition(model, parameters)
        _check(definition, progress)
        if parameters is not None:
            _check_given(definition, parameters)
        check_start(definition, {} if parameters is None else definition.parameters)
        chosen = choose_device(device)
        storage = _storage(definition, epochs)
        storage.check_room(staged, keep)
        progress.say(storage.describe(keep, storage.measure_writing(staged)))
        progress.say(f"Training {definition.path} on {chosen.description}")
        seeds = _seeds(definition)
        if seeds:
            progress.say(
                f"Random layers without a seed get one, to be drawn again: {', '.join(seeds)}"
            )
        _foretell(with_seeds(definition, seeds), keep, progress)
        outdir = staged / "nnabla_cli"
        outdir.mkdir()
        copy = outdir / definition.path.name
        _write_copy(definition, chosen, seeds, copy)
        arguments = ["-c", str(copy), "-o", str(outdir), "-C", _context_argument(chosen)]
        if parameters is not None:
            arguments += ["-p", os.path.abspath(parameters)]
        recorded = staged / "recorded"
        variables = {
            nnabla_cli_callback.WINDOW_VARIABLE: str(epochs or "all"),
            nnabla_cli_callback.KEEP_VARIABLE: keep,
        }
        run_nnabla_cli(definition, arguments, recorded, variables, outdir / "log.txt", progress)
        for entry in recorded.iterdir():
            entry.replace(staged / entry.name)
        recorded.rmdir()
        settings = read_settings(staged / SETTINGS)
        written = os.path.abspath(definition.path)
        settings = dataclasses.replace(settings, definition=written, random_seeds=seeds)
        write_settings(staged / SETTINGS, settings)
    return read_run(output)


def _check(definition: Definition, progress: Progress) -> None:
    """Name faults before the training begins, those of the data by row and column.

    Nothing is done twice: scoring finds the decoded data in the cache.
    """
    if definition.training is None:
        raise ModelError(f"{definition.path}: names no training dataset")
    iterations = definition.max_epoch * definition.proto.training_config.iter_per_epoch
    if iterations < definition.solver.update_interval:
        raise ModelError(
            f"{definition.path}: trains too little for one update (max_epoch"
            f" {definition.max_epoch}, iter_per_epoch"
            f" {definition.proto.training_config.iter_per_epoch}); raise max_epoch"
        )
    for dataset in definition.proto.dataset:
        if not dataset.uri.strip():
            raise ModelError(
                f"{definition.path}: dataset {dataset.name!r} names no CSV; set its uri"
            )
    named = {
        "training": (definition, definition.training),
        "validation": (validation_definition(definition), definition.validation),
    }
    for what, (_, settings) in named.items():
        if settings is not None and "://" not in settings.uri:
            advice = "write where the CSV lies into the definition (uri)"
            refuse_missing_csv(definition.path, settings, what, advice)
    check_datasets(definition)
    opened = []
    for read_by, settings in named.values():
        if settings is None:
            continue
        columns = [
            ColumnSpec(i.column, i.shape, i.n_classes, i.ignores_negative) for i in read_by.inputs
        ]
        dataset = open_dataset(
            settings.path, columns, normalize=settings.normalize, progress=progress
        )
        if settings is definition.training:
            _check_size(definition, settings, dataset)
        opened.append(dataset)
    note = note_on_equal_data(*opened) if len(opened) == 2 else None
    if note:
        progress.say(note)


def _check_size(definition: Definition, settings: DatasetSettings, dataset: Dataset) -> None:
    """Refuse a data set of less than one mini-batch, whose shuffled order cannot be recorded."""
    if settings.shuffle and len(dataset) < settings.batch_size:
        raise DatasetError(
            f"{dataset.path}: has {len(dataset)} rows, fewer than the batch size"
            f" {settings.batch_size} that {definition.path} names; choose a batch size of at most"
            f" {len(dataset)}, or add rows"
        )


def _check_given(definition: Definition, parameters: _Path) -> None:
    """Refuse parameters that nnabla_cli would pass over without a word."""
    shapes = {
        variable.name: tuple(variable.shape.dim)
        for variable in definition.network.variable
        if variable.type == "Parameter"
    }
    given = {name: v.shape for name, v in definition.parameters.items() if name in shapes}
    repeated = any("{" in name for name in shapes)  # their copies have names of their own
    if not given and not repeated:
        raise ModelError(
            f"{parameters}: holds none of the network's parameters ({', '.join(list(shapes)[:3])},"
            " ...); give a file that was saved from this network"
        )
    for name, shape in given.items():
        if shape != shapes[name]:
            raise ModelError(
                f"{parameters}: parameter {name!r} has shape {shape}, and the network wants"
                f" {shapes[name]}; give a file that was saved from this network"
            )


def _storage(definition: Definition, window: Optional[int]) -> Storage:
    """Return what keeping states of this training takes."""
    expanded = expand(definition.path, definition.network)
    sizes = {name: math.prod(v.shape) for name, v in expanded.parameters.items()}
    n_trained = sum(sizes[name] for name in definition.trainable)
    solver = definition.solver
    n_states = len(STATE_NAMES.get(solver.name, _UNKNOWN_STATES))
    return Storage(
        n_parameters=sum(sizes.values()),
        n_states=n_trained * n_states,
        n_arrays=len(sizes) + len(definition.trainable) * max(n_states, 1),
        plan=nnabla_cli_plan(
            definition.max_epoch,
            max(definition.proto.training_config.iter_per_epoch, 1),
            solver.update_interval,
            window,
        ),
    )


def _seeds(definition: Definition) -> dict[str, int]:
    """Return seeds for the random layers that have none: what nnabla draws then is lost."""
    proto = nnabla_pb2.NNablaProtoBuf()
    proto.CopyFrom(definition.proto)
    return seed_random_layers(proto)


def _foretell(definition: Definition, keep: str, progress: Progress) -> None:
    """Say before the training what scoring will refuse after it."""
    try:
        check_solver(definition.solver.name, definition.path)
        check_differentiable(definition)
    except InfluenceError as error:
        progress.say(f"Note: this training will not be scored: {error}")
        return
    if keep != "final":
        try:
            check_differentiable(definition, Mode.TRAINING)
        except InfluenceError as error:
            progress.say(f"Note: this training will not be scored exactly: {error}")


def _write_copy(
    definition: Definition, device: Device, seeds: Mapping[str, int], copy: Path
) -> None:
    """Write the definition with absolute paths of the datasets, and the context to train in.

    nnabla_cli looks for datasets from the current folder only, and builds a part of the graph in
    the file's context even where it is told another.
    """
    if definition.path.suffix.lower() != ".nnp":
        copy.write_text(_edited(definition, device, seeds, definition.path.read_bytes()), "ascii")
        return
    with open_archive(definition.path) as archive, zipfile.ZipFile(copy, "w") as edited:
        for name in archive.namelist():
            if name.lower().endswith(TEXT_SUFFIXES):
                text = _edited(definition, device, seeds, read_member(archive, name))
                edited.writestr(Path(name).name, text)
            elif name.endswith((".h5.optimizer", ".protobuf.optimizer")):
                edited.writestr(name, read_member(archive, name))  # all else is not used


def _edited(
    definition: Definition, device: Device, seeds: Mapping[str, int], content: bytes
) -> str:
    proto = nnabla_pb2.NNablaProtoBuf()
    text_format.Merge(content.decode("utf-8-sig"), proto)
    set_seeds(proto, seeds)
    for dataset in proto.dataset:
        beside = definition.path.parent / dataset.uri
        dataset.uri = os.path.abspath(beside if beside.exists() else dataset.uri)
    contexts = [proto.global_config.default_context]
    contexts += [o.solver.context for o in proto.optimizer if o.solver.HasField("context")]
    for context in contexts:
        context.Clear()
        context.backends.extend(device.context.backend)
        context.array_class = device.context.array_class
        context.device_id = device.context.device_id or "0"
    # Escaped to ASCII, as nnabla_cli reads the file in the locale's encoding.
    return str(text_format.MessageToString(proto))


def _context_argument(device: Device) -> str:
    if any(backend.startswith("cudnn") for backend in device.context.backend):
        return f"cudnn:{device.context.device_id or 0}"
    return "cpu"
