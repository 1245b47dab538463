"""Compare scores with what leaving rows out really does to the validation loss."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import nnabla as nn
import numpy as np

from nnabla_influence import __version__
from nnabla_influence.dataset import Dataset, note_on_equal_data
from nnabla_influence.definition import (
    Definition,
    SolverSettings,
    load_definition,
    validation_definition,
    with_seeds,
)
from nnabla_influence.device import Device, choose_device
from nnabla_influence.errors import InfluenceError, ScoreError
from nnabla_influence.files import PathLike, check_output_folder, file_hash, replacing_folder
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.influence.step_inputs import StepInputs, step_inputs
from nnabla_influence.influence.trace_file import fingerprint
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.options import ValidationOptions
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.agreement import RETEST_WEIGHT, draw_rows, draw_subsets
from nnabla_influence.retraining.evaluation import BLOCK, Evaluator
from nnabla_influence.retraining.figures import write_scatter
from nnabla_influence.retraining.retraining import (
    Parameters,
    Retraining,
    checkpoint_before,
    replayed,
)
from nnabla_influence.retraining.scores import ScoreSources, read_scores
from nnabla_influence.retraining.store import PartialValidation
from nnabla_influence.retraining.validation_result import (
    FILES,
    RESULT,
    SCATTER,
    Base,
    RetrainedWindow,
    Validation,
    write_numbers,
)
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run, read_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.inputs import (
    chosen_rows,
    ignored_rows,
    open_training,
    open_validation,
    solver_that_trained,
)
from nnabla_influence.scoring.run_checks import check_belongs, check_shapes
from nnabla_influence.scoring.window import recorded_window

Loss = Callable[[Parameters], float]


def validate(
    model: PathLike,
    *,
    run: PathLike,
    scores: ScoreSources,
    train: PathLike | None = None,
    validation: PathLike | None = None,
    output: PathLike | None = None,
    options: ValidationOptions | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Validation:
    """Compare scores with what leaving rows out really does, by retraining the window without them.

    Retraining is meant in the paper's sense: the same start, order and 1/|S| of each mini-batch;
    only the gradients of the rows that are left out are missing.

    Args:
        model: Network definition with its optimizer section.
        run: Run folder of the training, recorded with ``keep="sqrt"`` or ``"all"``.
        scores: A ranking CSV, several, or by name ranking CSVs and arrays of shape ``(N,)``.
        train: The training CSV; by default the one that the model file names.
        validation: The validation CSV; likewise.
        output: Folder to write; None for nowhere. Finished retrainings are kept beside it, in
            ``OUTPUT.partial``, so that the same call resumes after an interruption.
        options: See `ValidationOptions`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Where to report progress.

    Raises:
        InfluenceError: Something that the user can fix; see `nnabla_influence.errors`.
    """
    options, progress = options or ValidationOptions(), progress or SilentProgress()
    sample = options.sample
    folder = None if output is None else check_output_folder(output, "a validation", FILES, RESULT)
    with PartialValidation(folder) if folder else contextlib.nullcontext() as partial:
        setup = open_setup(model, run, scores, train, validation, options, device, progress)
        definition, solver = setup.definition, setup.solver
        trained, validated, loss_rows = setup.train, setup.validation, setup.loss_rows
        steps, notes, seen = setup.steps, list(setup.notes), setup.seen
        rows, subsets = draw_rows(sample, seen), draw_subsets(sample, seen)
        if len(seen) < len(trained):
            notes.append(
                f"{len(trained) - len(seen)} rows are not used in the window: without one of them"
                " nothing changes, so none was sampled"
            )
        retrained = RetrainedWindow(steps[0].step, len(steps), len({step.epoch for step in steps}))
        progress.say(
            f'"{retrained.words}": {len(steps)} steps each{", twice" if sample.retest else ""},'
            f" without {len(rows)} rows, one at a time, and without {len(subsets)} subsets"
        )
        with without_futile_imports():
            start = setup.start()
            of = fingerprint(
                definition.network.SerializeToString(deterministic=True),
                [solver, nn.__version__, setup.device.description],
                [dict(start.parameters), {k: dict(v) for k, v in start.solver.values.items()}],
                steps,
                [file_hash(trained.path), file_hash(validated.path), loss_rows],
            )
            changes = LossChanges(
                setup.retraining(start), setup.mean_loss, setup.run.parameters(), progress
            )
            progress.say(changes.base.words)
            if partial is not None:
                changes.resume(partial, of)
            weights = (0.0, RETEST_WEIGHT) if sample.retest else (0.0,)
            found = changes.without([*rows[:, None], *subsets], weights)
        result = Validation(
            window=retrained,
            base=changes.base,
            rows=rows,
            row_changes=found[0, : len(rows)],
            subsets=subsets,
            subset_changes=found[0, len(rows) :],
            scores=setup.scores,
            retest=found[1] / (1 - RETEST_WEIGHT) if sample.retest else None,
            times_seen=setup.times_seen,
            settings={
                "model": str(definition.path),
                "run": str(setup.run.folder),
                "training": str(trained.path),
                "validation": str(validated.path),
                "validation_rows": None if options.validation_rows is None else loss_rows.tolist(),
                "scores": list(setup.scores),
                "window": options.window,
                "sample": asdict(sample),
                "solver": {**asdict(solver), "hyperparameters": dict(solver.hyperparameters)},
                "device": setup.device.description,
                "command": None if options.command is None else shlex.join(options.command),
                "versions": {
                    "nnabla_influence": __version__,
                    "nnabla": nn.__version__,
                    "numpy": np.__version__,
                },
            },
            notes=tuple(notes),
        )
        if folder is not None and partial is not None:
            write_validation(folder, result)
            partial.remove()
        return result


@dataclass(frozen=True, eq=False)
class Setup:
    """What is validated: a run's window, and the scores of the rows that it used.

    Attributes:
        definition: Of the training, with the run's seeds.
        run: The run.
        solver: The one that trained.
        device: Where to compute.
        train: The training data.
        validation: The validation data.
        loss_rows: The validation rows whose loss counts.
        steps: Of the window.
        times_seen: How often these used each row, ``(N,)``.
        scores: By name, ``(N,)``.
        notes: What the user should know about the scores.
    """

    definition: Definition
    run: Run
    solver: SolverSettings
    device: Device
    train: Dataset
    validation: Dataset
    loss_rows: np.ndarray
    steps: tuple[Step, ...]
    times_seen: np.ndarray
    scores: Mapping[str, np.ndarray]
    notes: tuple[str, ...]

    @property
    def seen(self) -> np.ndarray:
        """The rows that the window used."""
        return np.flatnonzero(self.times_seen)

    @cached_property
    def _trainer(self) -> Trainer:
        return Trainer(self.definition, self.solver, self.device.context)

    @cached_property
    def _inputs(self) -> StepInputs:
        return step_inputs(self.definition, self.run, self.train.batch, self.device.context)

    @cached_property
    def _evaluator(self) -> Evaluator:
        definition = validation_definition(self.definition)
        block = default_chunk_size(definition, BLOCK)
        return Evaluator(definition, self.device.context, self.run.parameters(), block)

    def start(self) -> Checkpoint:
        """Return the checkpoint before the window."""
        return replayed(self.run, self._trainer, self.steps[0].step, self._inputs)

    def retraining(self, start: Checkpoint) -> Retraining:
        """Return the window's retraining, which has not begun."""
        return Retraining(self._trainer, start, self.steps, self._inputs, len(self.train))

    def losses(self, parameters: Parameters) -> np.ndarray:
        """Return the loss of each of the validation rows that count."""
        return self._evaluator.evaluate(parameters, self.validation.batch, self.loss_rows)[0]

    def mean_loss(self, parameters: Parameters) -> float:
        """Return the mean of their losses."""
        return self._evaluator.mean_loss(parameters, self.validation.batch, self.loss_rows)


def open_setup(
    model: PathLike,
    run: PathLike,
    scores: ScoreSources,
    train: PathLike | None,
    validation: PathLike | None,
    options: ValidationOptions,
    device: str,
    progress: Progress,
) -> Setup:
    """Read and check what is validated; see `validate`."""
    chosen = choose_device(device)
    progress.say(f"Computing on {chosen.description}")
    definition, recorded = load_definition(model), read_run(run)
    check_shapes(definition, recorded)
    if recorded.settings is not None:
        definition = with_seeds(definition, recorded.settings.random_seeds)
    trained = open_training(definition, train, progress)
    check_belongs(definition, recorded, trained, progress)
    validated = open_validation(definition, validation, progress)
    note = note_on_equal_data(trained, validated)
    if note:
        progress.say(note)
    loss_rows = chosen_rows(options.validation_rows, validated)
    is_ranking = any(column.name == "datasource_index" for column in trained.columns)
    steps = recorded_window(
        recorded, trained.path, len(trained), options.epochs, is_ranking=is_ranking
    ).trials[0]
    checkpoint_before(recorded, steps[0].step)  # now rather than after the scores are read
    times_seen = np.bincount(np.concatenate([s.rows for s in steps]), minlength=len(trained))
    times_seen *= ~ignored_rows(definition, trained)  # as `score` has it
    given, notes = read_scores(scores, trained, times_seen)
    return Setup(
        definition=definition,
        run=recorded,
        solver=solver_that_trained(definition, recorded),
        device=chosen,
        train=trained,
        validation=validated,
        loss_rows=loss_rows,
        steps=tuple(steps),
        times_seen=times_seen,
        scores=given,
        notes=tuple(notes),
    )


def write_validation(folder: Path, validation: Validation) -> None:
    """Write the output folder, whole or not at all."""
    with replacing_folder(folder) as temporary:
        write_numbers(temporary, validation)
        write_scatter(temporary / SCATTER, validation)


class LossChanges:
    """How the mean validation loss changes without rows, against the loss with every row.

    Args:
        retraining: It has not begun: the retraining with every row is done here.
        loss: Returns the mean validation loss of parameters.
        final: The run's parameters, which the retraining with every row is compared with.
        progress: Where to report progress.

    Attributes:
        base: The retraining with every row.

    Raises:
        RunError, ScoreError: The retraining diverges.
    """

    def __init__(self, retraining: Retraining, loss: Loss, final: Parameters, progress: Progress):
        self._retraining, self._loss_of, self._progress = retraining, loss, progress
        self._partial: PartialValidation | None = None
        self._losses: dict[str, float] = {}
        parameters = retraining.base(progress)
        reached, difference = self._loss(parameters), _difference(parameters, final)
        self.base = Base(reached, reached, 0.0, 0.0)
        if difference:
            noise = abs(self._loss(retraining.base(progress)) - reached)
            self.base = Base(reached, loss(final), difference, noise)

    def resume(self, partial: PartialValidation, fingerprint: str) -> None:
        """Use the retrainings in ``partial`` with this fingerprint, and keep new ones there."""
        # Where retraining reproduces, a machine with another loss must not continue.
        same = self.base.loss.hex() if self.base.noise == 0 else ""
        partial.open(fingerprint + same)
        self._partial, self._losses = partial, partial.losses
        if self._losses:
            self._progress.say(
                f"{partial.folder}: resuming from {len(self._losses)} finished retrainings"
            )

    def without(
        self, left_out: Sequence[np.ndarray], weights: Sequence[float] = (0.0,)
    ) -> np.ndarray:
        """Return the changes without each array of row numbers, ``(len(weights), len(left_out))``.

        Args:
            left_out: Row numbers, an array for each retraining.
            weights: Of the rows' gradients; 0 leaves them out.
        """
        keys = [(tuple(rows.tolist()), weight) for weight in weights for rows in left_out]
        names = {key: fingerprint(*key) for key in keys}
        missing = [key for key in names if names[key] not in self._losses]
        try:
            with self._progress.stage("Retraining", len(missing), "retrainings") as stage:
                for key in missing:
                    loss = self._loss_without(*key)
                    self._losses[names[key]] = loss
                    if self._partial is not None:
                        self._partial.add(names[key], loss)
                    stage.update()
        except KeyboardInterrupt:
            if self._partial is not None and self._losses:
                self._progress.say(
                    f"The same command resumes from {self._partial.folder}; remove it to start anew"
                )
            raise
        losses = np.array([self._losses[names[key]] for key in keys])
        return losses.reshape(len(weights), len(left_out)) - self.base.loss

    def _loss_without(self, rows: tuple[int, ...], weight: float) -> float:
        try:
            return self._loss(self._retraining.without(rows, weight))
        except InfluenceError as error:
            named = f"row {rows[0]}" if len(rows) == 1 else f"{len(rows)} rows"
            raise ScoreError(f"without {named}: {error}") from error

    def _loss(self, parameters: Parameters) -> float:
        loss = self._loss_of(parameters)
        if not np.isfinite(loss):
            raise ScoreError(
                "the retraining diverges (its loss is not finite); choose a shorter window, or"
                " train with a lower learning rate"
            )
        return loss


def _difference(parameters: Parameters, final: Parameters) -> float:
    """Return the largest difference of a parameter, 0.0 only where all bytes are equal."""
    largest = 0.0
    for name, value in parameters.items():
        if value.tobytes() != final[name].tobytes():
            # At least the smallest number: -0.0 and 0.0 differ too.
            distance = float(np.abs(value.astype(np.float64) - final[name]).max())
            largest = max(largest, distance, float(np.finfo(np.float64).tiny))
    return largest
