"""Train a definition file as ``nnabla_cli train`` does, recorded.

The unmodified nnabla_cli trains in a child process, so the parameters are those that it always
gives; `nnabla_influence.nnabla_cli_callback` records within it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence import nnabla_cli_callback
from nnabla_influence.dataset import ColumnSpec, note_on_equal_data, open_dataset
from nnabla_influence.definition import (
    Definition,
    Mode,
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
from nnabla_influence.engine import check_differentiable
from nnabla_influence.errors import DatasetError, InfluenceError, ModelError
from nnabla_influence.file_safety import open_archive, read_member
from nnabla_influence.files import PathLike
from nnabla_influence.nnabla_cli.child_process import run_nnabla_cli
from nnabla_influence.nnabla_cli.unsafe_inputs import check_datasets
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.runs.checkpoint_plan import (
    StorageEstimate,
    check_keep,
    nnabla_cli_plan,
    window_epochs,
)
from nnabla_influence.runs.run import (
    SETTINGS,
    Run,
    read_run,
    read_settings,
    replacing_run,
    write_settings,
)
from nnabla_influence.solvers import STATE_NAMES, check_solver

_UNKNOWN_STATES = ("", "")  # most of the solvers that cannot be traced have two


def train(
    model: PathLike,
    output: PathLike,
    *,
    parameters: PathLike | None = None,
    device: str = "auto",
    window: int | str = nnabla_cli_callback.DEFAULT_WINDOW,
    keep: str = nnabla_cli_callback.DEFAULT_KEEP,
    progress: Progress | None = None,
) -> Run:
    """Train a network definition and write the run folder, whole or not at all.

    The files of nnabla_cli itself (``results.nnp``, ``monitoring_report.yml``, ...) and its log are
    in the folder ``nnabla_cli`` of the run.

    Args:
        model: .nntxt, .prototxt or .nnp; as in nnabla_cli, parameters in it are not used.
        output: Run folder to write. An existing run is replaced.
        parameters: Start from these: .h5, .protobuf or .nnp.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; replaces the definition's context.
        window: Epochs to record, counted from the end, ``"last"`` or ``"all"``.
        keep: Checkpoints to keep beside the final state: none (``"final"``), about the square root
            of the window's steps (``"sqrt"``), or one before every step (``"all"``). The cost of
            each is reported before the training.
        progress: Where to report progress.

    Raises:
        ModelError: The definition or the parameters cannot be used.
        DatasetError: A dataset CSV, or a file that it names, cannot be used.
        DeviceError: The device does not work.
        OutputError: The run folder cannot be written, or is not a run; or the checkpoints do not
            fit the disk.
        RunError: The training failed, or could not be recorded.
    """
    progress = SilentProgress() if progress is None else progress
    epochs = window_epochs(window)
    check_keep(keep)
    with replacing_run(output) as staged:
        definition = load_definition(model, parameters)
        _check(definition, progress)
        if parameters is not None:
            _check_parameters(definition, parameters)
        check_start(definition, {} if parameters is None else definition.parameters)
        chosen = choose_device(device)
        storage = _storage(definition, epochs)
        storage.check_disk_space(staged.parent, keep)
        progress.say(storage.describe(keep))
        progress.say(f"Training {definition.path} on {chosen.description}")
        proto = nnabla_pb2.NNablaProtoBuf()
        proto.CopyFrom(definition.proto)
        seeds = seed_random_layers(proto)  # of those without, since nnabla's own are not recorded
        if seeds:
            progress.say(
                f"Random layers without a seed get one, so that they can be replayed:"
                f" {', '.join(seeds)}"
            )
        _warn_if_unscorable(with_seeds(definition, seeds), keep, progress)
        outdir = staged / "nnabla_cli"
        outdir.mkdir()
        copy = outdir / definition.path.name
        _write_copy(definition, chosen, seeds, copy)
        context = f"cudnn:{chosen.context.device_id or 0}" if chosen.is_cuda else "cpu"
        arguments = ["-c", str(copy), "-o", str(outdir), "-C", context]
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
    """Report errors before the training starts, those of the data by row and column.

    Scoring uses the decoded data again, from the cache.
    """
    if definition.training is None:
        raise ModelError(f"{definition.path}: names no training dataset")
    iter_per_epoch = definition.proto.training_config.iter_per_epoch
    if definition.max_epoch * iter_per_epoch < definition.solver.update_interval:
        raise ModelError(
            f"{definition.path}: trains too little for one update (max_epoch"
            f" {definition.max_epoch}, iter_per_epoch {iter_per_epoch}); raise max_epoch"
        )
    for dataset in definition.proto.dataset:
        if not dataset.uri.strip():
            raise ModelError(
                f"{definition.path}: the dataset {dataset.name!r} has no CSV; set its uri"
            )
    named = [("training", definition, definition.training)]
    if definition.validation is not None:
        named.append(("validation", validation_definition(definition), definition.validation))
    for what, _, settings in named:
        if "://" not in settings.uri:
            advice = "write the path of the CSV into the definition (uri)"
            refuse_missing_csv(definition.path, settings, what, advice)
    check_datasets(definition)
    datasets = [
        open_dataset(s.path, column_specs(d), normalize=s.normalize, progress=progress)
        for _, d, s in named
    ]
    n_rows, size = len(datasets[0]), definition.training.batch_size
    if definition.training.shuffle and n_rows < size:  # its order cannot be recorded
        raise DatasetError(
            f"{datasets[0].path}: has {n_rows} rows, fewer than the batch size {size} in"
            f" {definition.path}; choose a batch size of at most {n_rows}, or add rows"
        )
    note = note_on_equal_data(*datasets) if len(datasets) == 2 else None
    if note:
        progress.say(note)


def column_specs(definition: Definition) -> list[ColumnSpec]:
    """Return what the network expects of its dataset's columns."""
    return [
        ColumnSpec(i.column, i.shape, i.n_classes, i.ignores_negative) for i in definition.inputs
    ]


def set_absolute_uris(proto: Any, folder: Path) -> None:
    """Make the paths of the datasets absolute: from ``folder``, or else from the current one."""
    for dataset in proto.dataset:
        beside = folder / dataset.uri
        dataset.uri = os.path.abspath(beside if beside.exists() else dataset.uri)


def _check_parameters(definition: Definition, parameters: str | os.PathLike[str]) -> None:
    """Refuse parameters that nnabla_cli would ignore silently."""
    shapes = {
        variable.name: tuple(variable.shape.dim)
        for variable in definition.network.variable
        if variable.type == "Parameter"
    }
    known = {name: v.shape for name, v in definition.parameters.items() if name in shapes}
    repeated = any("{" in name for name in shapes)  # their copies have other names
    advice = "give a file that was saved from this network"
    if not known and not repeated:
        names = ", ".join([*shapes][:3])
        raise ModelError(f"{parameters}: holds none of the parameters {names}, ...; {advice}")
    for name, shape in known.items():
        if shape != shapes[name]:
            raise ModelError(
                f"{parameters}: parameter {name!r} has shape {shape}, not {shapes[name]}; {advice}"
            )


def _storage(definition: Definition, window: int | None) -> StorageEstimate:
    """Return the cost of keeping checkpoints of this training."""
    expanded = expand(definition.path, definition.network)
    sizes = {name: math.prod(v.shape) for name, v in expanded.parameters.items()}
    n_trained = sum(sizes[name] for name in definition.trainable)
    solver = definition.solver
    n_states = len(STATE_NAMES.get(solver.name, _UNKNOWN_STATES))
    return StorageEstimate(
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


def _warn_if_unscorable(definition: Definition, keep: str, progress: Progress) -> None:
    """Report before the training what scoring will refuse after it."""
    try:
        check_solver(definition.solver.name, definition.path)
        check_differentiable(definition)
    except InfluenceError as error:
        progress.say(f"Note: this training cannot be scored: {error}")
        return
    if keep != "final":
        try:
            check_differentiable(definition, Mode.TRAINING)
        except InfluenceError as error:
            progress.say(f"Note: this training will have no exact scores: {error}")


def _write_copy(
    definition: Definition, device: Device, seeds: Mapping[str, int], copy: Path
) -> None:
    """Write the definition with absolute paths of the datasets, and the context to train in.

    nnabla_cli resolves paths from the current folder only, and builds a part of the graph in the
    file's context whatever its ``-C``.
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
                edited.writestr(name, read_member(archive, name))  # nothing else is used


def _edited(
    definition: Definition, device: Device, seeds: Mapping[str, int], content: bytes
) -> str:
    """Return the text of a copy."""
    proto = nnabla_pb2.NNablaProtoBuf()
    text_format.Merge(content.decode("utf-8-sig"), proto)
    set_seeds(proto, seeds)
    set_absolute_uris(proto, definition.path.parent)
    contexts = [proto.global_config.default_context]
    contexts += [o.solver.context for o in proto.optimizer if o.solver.HasField("context")]
    for context in contexts:
        context.Clear()
        context.backends.extend(device.context.backend)
        context.array_class = device.context.array_class
        context.device_id = device.context.device_id or "0"
    # Escaped to ASCII, as nnabla_cli reads the file in the locale's encoding.
    return str(text_format.MessageToString(proto))
