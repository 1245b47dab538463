"""Train a definition file as ``nnabla_cli train`` does, recorded.

It is nnabla's own nnabla_cli that trains, in a process of its own, so that the parameters are those
that it always gives; `nnabla_influence.nnabla_cli_callback` records within it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence import nnabla_cli_callback
from nnabla_influence.context import Device, choose_device
from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.errors import ModelError, RunError
from nnabla_influence.network import Definition, load_definition
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.run import (
    SETTINGS,
    Run,
    read_run,
    read_settings,
    replacing_run,
    write_settings,
)

_Path = Union[str, "os.PathLike[str]"]

_EPOCH = re.compile(r"epoch (\d+) of \d+ cost=")
_NOT_RECORDED = re.compile(r"This training is not recorded for nnabla-influence: (.*)")
# nnabla_cli's exit code does not tell a training that stopped from one that finished.
_FINISHED = "Training Completed."
_DIVERGED = "Cost is Nan"


def train(
    definition_path: _Path,
    run_folder: _Path,
    *,
    parameters: Optional[_Path] = None,
    device: str = "auto",
    window: Union[int, str] = nnabla_cli_callback.DEFAULT_WINDOW,
    progress: Optional[Progress] = None,
) -> Run:
    """Train a network definition and write the run folder, whole or not at all.

    What nnabla_cli itself writes (``results.nnp``, ``monitoring_report.yml``, ...) lies in the run
    folder's ``nnabla_cli``, with its log.

    Args:
        definition_path: .nntxt, .prototxt or .nnp; as for nnabla_cli, parameters in it are not
            used.
        run_folder: To write. A run that is there is replaced.
        parameters: Start from these: .h5, .protobuf or .nnp.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, in place of the definition's context.
        window: Epochs to record, counted from the end, or ``"all"``.
        progress: Where to tell how far it is.

    Raises:
        ModelError: The definition or the parameters cannot be used.
        DatasetError: A dataset CSV, or a file that it names, cannot be used.
        DeviceError: The device that was asked for does not work.
        OutputError: The run folder cannot be written, or holds other things than a run.
        RunError: The training failed, or could not be recorded.
    """
    progress = SilentProgress() if progress is None else progress
    words = "1" if window == "last" else str(window)
    nnabla_cli_callback.parse_window(words)
    with replacing_run(run_folder) as staged:
        definition = load_definition(definition_path, parameters)
        _check(definition, progress)
        if parameters is not None:
            _check_start(definition, parameters)
        chosen = choose_device(device)
        progress.say(f"Training {definition.path} on {chosen.description}")
        outdir = staged / "nnabla_cli"
        outdir.mkdir()
        copy = outdir / definition.path.name
        _write_copy(definition, chosen, copy)
        arguments = ["-c", str(copy), "-o", str(outdir), "-C", _context_argument(chosen)]
        if parameters is not None:
            arguments += ["-p", os.path.abspath(parameters)]
        recorded = staged / "recorded"
        _run_nnabla_cli(definition, arguments, recorded, words, outdir / "log.txt", progress)
        for entry in recorded.iterdir():
            entry.replace(staged / entry.name)
        recorded.rmdir()
        settings = read_settings(staged / SETTINGS)
        written = os.path.abspath(definition.path)
        write_settings(staged / SETTINGS, dataclasses.replace(settings, definition=written))
    return read_run(run_folder)


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
    columns = [ColumnSpec(i.column, i.shape, i.n_classes) for i in definition.inputs]
    for settings in (definition.training, definition.validation):
        if settings is not None and not _is_remote(settings.uri):
            open_dataset(settings.path, columns, normalize=settings.normalize, progress=progress)


def _check_start(definition: Definition, parameters: _Path) -> None:
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


def _is_remote(uri: str) -> bool:
    return "://" in uri


def _write_copy(definition: Definition, device: Device, copy: Path) -> None:
    """Write the definition with absolute paths of the datasets, and the context to train in.

    nnabla_cli looks for datasets from the current folder only, and builds a part of the graph in
    the file's context even where it is told another.
    """
    if definition.path.suffix.lower() != ".nnp":
        copy.write_text(_edited(definition, device, definition.path.read_bytes()), "ascii")
        return
    with zipfile.ZipFile(definition.path) as archive, zipfile.ZipFile(copy, "w") as edited:
        for name in archive.namelist():
            content = archive.read(name)
            if name.lower().endswith((".nntxt", ".prototxt")):
                content = _edited(definition, device, content).encode("ascii")
            edited.writestr(name, content)


def _edited(definition: Definition, device: Device, content: bytes) -> str:
    proto = nnabla_pb2.NNablaProtoBuf()
    text_format.Merge(content.decode("utf-8-sig"), proto)
    for dataset in proto.dataset:
        if not _is_remote(dataset.uri):
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


def _run_nnabla_cli(
    definition: Definition,
    arguments: list[str],
    recorded: Path,
    window: str,
    log: Path,
    progress: Progress,
) -> None:
    """Run ``nnabla_cli train`` until it is finished, and say why it if it did not.

    Raises:
        RunError: It did not finish, or recorded nothing.
    """
    lines: deque[str] = deque(maxlen=200)
    with (
        _nnabla_cli(arguments, recorded, window) as process,
        log.open("w", encoding="utf-8") as file,
        progress.stage("Training", definition.max_epoch, "epoch") as stage,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            lines.append(line.rstrip())
            if _EPOCH.search(line):
                stage.update()
    output = "\n".join(lines)
    if _FINISHED not in output:
        raise RunError(f"{definition.path}: {_reason(list(lines))}")
    if not recorded.is_dir():
        said = _NOT_RECORDED.search(output)
        reason = said.group(1) if said else "nnabla_cli did not load the callback module"
        raise RunError(f"{definition.path}: trained, but the run was not recorded: {reason}")


@contextlib.contextmanager
def _nnabla_cli(
    arguments: list[str], recorded: Path, window: str
) -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryDirectory() as folder:
        configuration = os.path.join(folder, "nnabla.conf")
        nnabla_cli_callback.write_configuration(configuration)
        package = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        with subprocess.Popen(
            [sys.executable, "-m", "nnabla.utils.cli.cli", "train", *arguments],
            env={
                **os.environ,
                "NNABLA_CONFIG_FILE_PATH": configuration,
                "PYTHONPATH": path,
                "PYTHONIOENCODING": "utf-8",
                # nnabla decodes the data into it, and leaves that behind where it is stopped.
                **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
                nnabla_cli_callback.RUN_VARIABLE: str(recorded),
                nnabla_cli_callback.WINDOW_VARIABLE: window,
                nnabla_cli_callback.PARENT_VARIABLE: json.dumps([folder, str(recorded.parent)]),
            },
            # This process's end of the pipe closes when it ends, however it ends.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()  # At once; without it the child would see the pipe close.
                raise


def _reason(lines: list[str]) -> str:
    """Return one line for what nnabla_cli says at its end."""
    if any(_DIVERGED in line for line in lines):
        epoch = 1 + max((int(m.group(1)) for m in map(_EPOCH.search, lines) if m), default=0)
        return (
            f"the training diverged in epoch {epoch} (the cost is not finite); lower the learning"
            " rate, or look for values that are not numbers in the dataset"
        )
    errors = [line for line in lines if re.match(r"[A-Za-z_.]+(Error|Exception|Interrupt)\b", line)]
    logged = [line.split("]: ", 1)[1] for line in lines if re.search(r"\[(CRITICAL|Fatal)", line)]
    said: Any = (logged[-1:] + errors[-1:]) or lines[-1:] or ["nothing"]
    return f"nnabla_cli did not finish the training; it said: {'; '.join(said)[:500]}"
