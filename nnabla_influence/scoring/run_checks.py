"""Refuse a run that does not fit the model file or the data, or lacks what a method needs."""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
from pathlib import Path

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.file_hashes import first_difference, hash_contents
from nnabla_influence.definition import Definition, SolverSettings, load_definition
from nnabla_influence.definition.fingerprint import describe_other_network, network_fingerprint
from nnabla_influence.definition.refusals import check_parameters
from nnabla_influence.device import Device
from nnabla_influence.errors import (
    DatasetError,
    InfluenceError,
    ModelError,
    RunError,
    ScoreError,
    UnsupportedError,
)
from nnabla_influence.files import file_hash
from nnabla_influence.influence.step_inputs import step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.influence.trajectory import OTHERWISE, relative_distance
from nnabla_influence.progress import Progress
from nnabla_influence.runs.fed_batch import FedInput, describe_other_values
from nnabla_influence.runs.run import SOLVER_STATES, Run
from nnabla_influence.solvers import SOLVERS, has_solver_state

FURTHEST = 0.1
"""How far a replay of the last steps may end from the final parameters, over the distance that they
moved: rounding on another device stays far below; another loss or other inputs are off by about
1."""


def check_shapes(definition: Definition, run: Run) -> None:
    """Refuse a run whose parameters do not fit the network.

    Raises:
        RunError: One is missing or of another shape.
    """
    shapes = {variable.name: tuple(variable.shape.dim) for variable in definition.network.variable}
    wanted = {name: shapes[name] for name in definition.trainable if name in shapes}
    try:
        check_parameters(definition.path, wanted, run.parameters())
    except ModelError as error:
        raise RunError(f"{run.folder}: does not fit the model; {error}") from error


def check_belongs(definition: Definition, run: Run, trained: Dataset, progress: Progress) -> None:
    """Refuse a run of another network, or of data that have changed since.

    The definition has the run's seeds. What may be a mistake is noted in ``progress``.

    Raises:
        DatasetError: A file that the CSV names has changed since the training.
        RunError: The network is another one, or the training saw other values than the CSV's.
    """
    if run.settings is None:
        return
    _check_same_network(definition, run)
    if run.settings.weight_decay == 0 and definition.solver.weight_decay:
        progress.say(
            f"Note: the model file has the weight decay {definition.solver.weight_decay:g}, and the"
            " run was recorded with none, which is used"
        )
    if run.settings.dataset_hash not in (None, file_hash(trained.path)):
        return  # `recorded_window` refuses it.
    _check_contents(run, trained)
    _check_fed(run, trained)


def _check_same_network(definition: Definition, run: Run) -> None:
    if run.settings is None or not run.settings.network_functions:
        return
    recorded = list(run.settings.network_functions)
    current = list(network_fingerprint(definition.path, definition.network, definition.optimizer))
    if run.settings.nnabla_version != nn.__version__:
        # Functions get new arguments with new versions; their types stay.
        recorded, current = ([f.partition(" ")[0] for f in each] for each in (recorded, current))
    difference = describe_other_network(recorded, current)
    if difference is not None:
        raise RunError(
            f"{run.folder}: was recorded with another network than {definition.path} has:"
            f" {difference}; give the model file that was trained, or train again"
        )


def _check_contents(run: Run, trained: Dataset) -> None:
    recorded = run.contents()
    if not recorded or first_difference(recorded, trained.contents()) is None:
        return
    # Now from the files themselves, since the cached hashes may be damaged.
    difference = first_difference(recorded, hash_contents(trained.path, trained.inputs))
    if difference is None:
        return
    row, name = difference
    column = next(c for c in trained.columns if c.name == name and not c.is_comment)
    cell = trained.cells(row)[column.position]
    raise DatasetError(
        f"{trained.file_of(cell)}: has changed since {run.folder} was recorded"
        f" ({trained.place(row, column.cell)}); restore the file, or train again"
    )


def _check_fed(run: Run, trained: Dataset) -> None:
    assert run.settings is not None
    fed = run.settings.fed
    if fed is None or not fed.rows or max(fed.rows) >= len(trained):
        return
    batch = trained.batch(np.array(fed.rows))
    sizes = {name: values[0].size for name, values in batch.items()}
    for position, item in enumerate(fed.inputs):
        name = _column_of(item, position, len(fed.inputs), sizes)
        if name is None:
            continue
        difference = describe_other_values(item, batch[name])
        if difference is not None:
            raise RunError(
                f"{run.folder}: the training saw {difference} in column {name!r} of"
                f" {trained.path} (datasource_index {fed.rows[0]} and the mini-batch that it"
                " belongs to); give a CSV that holds what the script fed, or train on what the CSV"
                " holds (images are divided by 255, unless the model file says"
                " no_image_normalization; augmentation belongs into the network)"
            )


def _column_of(item: FedInput, position: int, n_fed: int, sizes: dict[str, int]) -> str | None:
    """Return the column that was fed: the one of this name, else the one at this position."""
    if item.name in sizes:
        return item.name if sizes[item.name] == item.size else None
    alike = [name for name, size in sizes.items() if size == item.size]
    if len(alike) == 1:
        return alike[0]
    # Of several, the one at the same position, unless they are scalars and could be swapped.
    at_place = list(sizes)[position] if n_fed == len(sizes) else None
    return at_place if at_place in alike and item.size > 1 else None


def check_solver_state(
    definition: Definition,
    solver: SolverSettings,
    run: Run | None,
    *,
    own_parameters: bool,
    or_else: str = "",
) -> None:
    """Refuse method final where it needs a solver state that was not saved.

    Known from the listing of a run folder or of an .nnp, so before anything is decoded or built.
    With a run its state alone counts; the model file's belongs to its ``own_parameters``.

    Raises:
        ScoreError: Says how to get a training with a state, in the Console too, ``or_else``.
    """
    if not SOLVERS[solver.name].needs_before:
        return
    if run is not None:
        has_state = (run.folder / SOLVER_STATES).is_file()
    else:
        has_state = own_parameters and has_solver_state(definition.path, definition.proto)
    if has_state or (run is None and own_parameters and not definition.parameters):
        return  # `final_checkpoint` refuses a model file without parameters.
    path = definition.path if run is None else run.folder
    beside = _beside(path) if run is None and own_parameters else None
    if run is not None:
        advice = "save it with solver.save_states, or record the training again"
    elif not own_parameters:
        advice = "an .h5 does not hold it; give the .nnp of the end of the training alone"
    elif beside is not None:
        advice = f"give {beside.name} beside it, which has it{or_else}"
    else:
        advice = (
            "a current Console saves it in every fifth epoch: train again there, with a number of"
            " epochs that is a multiple of 5, and choose the file of the last epoch"
            f"{or_else}"
        )
    raise ScoreError(
        f"{path}: has no {SOLVER_STATES if run is not None else 'solver state'}, without which"
        f" method final cannot trace the solver {solver.name}; {advice}"
    )


def _beside(path: Path) -> Path | None:
    """Return the file of the end of the same training, if it holds the state."""
    finals = [p for p in path.parent.glob("result*.nnp") if "current" in p.name or "last" in p.name]
    for other in sorted(finals):
        with contextlib.suppress(InfluenceError, OSError, zipfile.BadZipFile):
            proto = load_definition(other).proto
            if other != path and has_solver_state(other, proto):
                return other
    return None


def check_last_steps(
    definition: Definition, run: Run, solver: SolverSettings, trained: Dataset, device: Device
) -> None:
    """Refuse to trace a run at its final parameters if a replay does not lead there.

    The steps after the last checkpoint, if the run has any, are replayed. A weight decay that the
    model file has and the recorder did not see is noticed however small.

    Raises:
        RunError: The replay gives other parameters.
    """
    if not run.checkpoints:
        return
    off = _distance_of_replay(definition, run, solver, trained, device)
    if not off:
        return
    decay = definition.solver.weight_decay
    if decay != solver.weight_decay:
        with_decay = dataclasses.replace(solver, weight_decay=decay)
        by_definition = _distance_of_replay(definition, run, with_decay, trained, device)
        if by_definition is not None and by_definition < off / 10:
            raise RunError(
                f"{run.folder}: was trained with the weight decay {decay:g} of {definition.path},"
                f" but recorded with {solver.weight_decay:g}; call recorder.solver.weight_decay, or"
                " give Recorder(weight_decay=...)"
            )
    if not off <= FURTHEST:  # NaN too
        raise RunError(
            f"{run.folder}: replaying the steps from {run.checkpoints[-1]} on gives other"
            f" parameters (relative error {off:.2g}); {OTHERWISE}, so its scores would be"
            " wrong"
        )


def _distance_of_replay(
    definition: Definition, run: Run, solver: SolverSettings, trained: Dataset, device: Device
) -> float | None:
    """Return how far the replay ends from the final parameters; None where it is not possible."""
    start = run.checkpoint(run.checkpoints[-1])
    try:
        inputs = step_inputs(definition, run, trained.batch, device.context)
        trainer = Trainer(definition, solver, device.context)
        trainer.start(start)
        for step in run.steps:
            if step.step >= start.step:
                trainer.step(step, inputs)
    except (ModelError, UnsupportedError):
        return None  # Method final needs no replay.
    got, final = trainer.checkpoint().parameters, run.parameters()
    return relative_distance(got, final, start.parameters, trainer.trainable)
