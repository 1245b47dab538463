"""The whole way from a recorded run and its scores to how well they agree with retraining."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Optional, Union

import nnabla as nn
import numpy as np

from nnabla_influence import __version__
from nnabla_influence.dataset import Dataset, note_on_equal_data
from nnabla_influence.definition import load_definition, validation_definition, with_seeds
from nnabla_influence.device import choose_device
from nnabla_influence.errors import RunError
from nnabla_influence.files import file_hash
from nnabla_influence.influence.step_inputs import StepInputs, step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.retraining.given_scores import GivenScores, PathLike, read_scores
from nnabla_influence.retraining.journal import Journal
from nnabla_influence.retraining.measurement import measure
from nnabla_influence.retraining.retraining import MeanLoss, Retraining
from nnabla_influence.retraining.sampling import RETEST_WEIGHT, Sample, draw_rows, draw_subsets
from nnabla_influence.retraining.validation_files import check_output, write_validation
from nnabla_influence.retraining.validation_result import Question, Validation
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run, read_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.belonging import check_belongs, check_shapes
from nnabla_influence.scoring.chunk import default_chunk_size
from nnabla_influence.scoring.ignored import ignored_rows
from nnabla_influence.scoring.opening import (
    chosen_rows,
    open_training,
    open_validation,
    solver_that_trained,
)
from nnabla_influence.scoring.resuming import fingerprint
from nnabla_influence.scoring.window import recorded_window

BLOCK = 256


def validate(
    model: PathLike,
    *,
    run: PathLike,
    scores: GivenScores,
    train: Optional[PathLike] = None,
    validation: Optional[PathLike] = None,
    output: Optional[PathLike] = None,
    window: Union[int, str] = "last",
    sample: Optional[Sample] = None,
    validation_rows: Optional[Sequence[int]] = None,
    device: str = "auto",
    command: Optional[Sequence[str]] = None,
    progress: Optional[Progress] = None,
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
        output: Folder to write; None for nowhere. What is finished is kept beside it until then,
            in ``OUTPUT.partial``, so that the same call after an interruption goes on.
        window: Steps to redo: of the ``last`` epoch, of ``all`` epochs that the run holds, or of
            a number of last epochs.
        sample: How many rows and subsets to leave out.
        validation_rows: Rows of the validation CSV whose mean loss is asked about; None for all.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        command: What the user typed, for the reader of ``result.json``.
        progress: Where to tell how far it is.

    Raises:
        InfluenceError: Something that the user can act on; see `nnabla_influence.errors`.
    """
    options = Options(window=window, validation_rows=validation_rows, device=device)
    sample, progress = sample or Sample(), progress or SilentProgress()
    folder = None if output is None else check_output(output)
    with _journal(folder) as journal:
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
        asked = chosen_rows(validation_rows, validated)
        steps = _window(recorded, trained, options)
        kept = _kept_before(recorded, steps[0])
        times_seen = np.bincount(np.concatenate([s.rows for s in steps]), minlength=len(trained))
        times_seen *= ~ignored_rows(definition, trained)  # as `score` has it
        given, notes = read_scores(scores, trained, times_seen)
        seen = np.flatnonzero(times_seen)
        rows, subsets = draw_rows(sample, seen), draw_subsets(sample, seen)
        if len(seen) < len(trained):
            notes.append(
                f"{len(trained) - len(seen)} rows are not seen in the window: without one of them"
                " nothing changes, so none was sampled"
            )
        question = Question(steps[0].step, len(steps), len({step.epoch for step in steps}))
        progress.say(
            f'The question: "{question.words}". To retrain{" twice" if sample.retest else ""}:'
            f" without {len(rows)} rows, one at a time, and without {len(subsets)} subsets;"
            f" {len(steps)} steps each"
        )
        solver, final = solver_that_trained(definition, recorded), recorded.parameters()
        block = default_chunk_size(definition, BLOCK)
        validating = validation_definition(definition)
        loss = MeanLoss(validating, chosen.context, final, validated.batch, asked, block)
        trainer = Trainer(definition, solver, chosen.context)
        inputs = step_inputs(definition, recorded, trained.batch, chosen.context)
        with without_futile_imports():
            start = _replayed(recorded, trainer, kept, steps[0].step, inputs)
            base, changes = measure(
                Retraining(trainer, start, steps, inputs, loss, len(trained)),
                final,
                loss,
                [*rows[:, None], *subsets],
                progress,
                journal,
                fingerprint(
                    definition.network.SerializeToString(deterministic=True),
                    [solver, nn.__version__, chosen.description],
                    [dict(start.parameters), {k: dict(v) for k, v in start.solver.values.items()}],
                    steps,
                    [file_hash(trained.path), file_hash(validated.path), asked],
                ),
                (0.0, RETEST_WEIGHT) if sample.retest else (0.0,),
            )
        result = Validation(
            question=question,
            base=base,
            rows=rows,
            row_changes=changes[0, : len(rows)],
            subsets=subsets,
            subset_changes=changes[0, len(rows) :],
            scores=given,
            retest=changes[1] / (1 - RETEST_WEIGHT) if sample.retest else None,
            times_seen=times_seen,
            settings={
                "model": str(definition.path),
                "run": str(recorded.folder),
                "training": str(trained.path),
                "validation": str(validated.path),
                "validation_rows": None if validation_rows is None else asked.tolist(),
                "scores": list(given),
                "window": window,
                "sample": asdict(sample),
                "solver": {**asdict(solver), "hyperparameters": dict(solver.hyperparameters)},
                "device": chosen.description,
                "command": None if command is None else shlex.join(command),
                "versions": {
                    "nnabla_influence": __version__,
                    "nnabla": nn.__version__,
                    "numpy": np.__version__,
                },
            },
            notes=tuple(notes),
        )
        if folder is not None and journal is not None:
            write_validation(folder, result)
            journal.remove()
        return result


@contextlib.contextmanager
def _journal(folder: Optional[Path]) -> Iterator[Optional[Journal]]:
    if folder is None:
        yield None
        return
    import nnabla_influence.retraining.scatter  # noqa: F401 - a missing matplotlib is told now

    journal = Journal(folder)
    try:
        yield journal
    finally:
        journal.leave()


def _window(recorded: Run, trained: Dataset, options: Options) -> tuple[Step, ...]:
    is_ranking = any(column.name == "datasource_index" for column in trained.columns)
    window = recorded_window(
        recorded, trained.path, len(trained), options.epochs, is_ranking=is_ranking
    )
    return window.trials[0]


def _kept_before(recorded: Run, first: Step) -> int:
    """Return the last step, at or before the window's first one, whose checkpoint the run keeps."""
    earlier = [number for number in recorded.checkpoints if number <= first.step]
    if not earlier:
        raise RunError(
            f"{recorded.folder}: keeps no parameters from before step {first.step}, where the"
            " window begins, so there is nothing to retrain from; record the training with"
            " nnabla-influence train --keep sqrt, or with Recorder(..., keep='sqrt')"
        )
    return max(earlier)


def _replayed(
    recorded: Run, trainer: Trainer, kept: int, first: int, inputs: StepInputs
) -> Checkpoint:
    """Return the checkpoint before step ``first``, replayed from the kept one."""
    checkpoint = recorded.checkpoint(kept)
    if kept == first:
        return checkpoint
    between = [step for step in recorded.steps if kept <= step.step < first]
    if not between or between[0].step != kept:
        raise RunError(
            f"{recorded.folder}: steps.csv has no step {kept}, which the replay of the window's"
            " beginning starts with; record the training again"
        )
    trainer.start(checkpoint)
    for step in between:
        trainer.step(step, inputs, {})
    return trainer.checkpoint()
