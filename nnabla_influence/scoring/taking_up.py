"""Exact scores of a training that kept no states: it is done again first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from nnabla_influence.dataset import Dataset
from nnabla_influence.errors import InfluenceError, ModelError, RunError, UnsupportedError
from nnabla_influence.network import Definition, Mode, check_differentiable
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress
from nnabla_influence.runs.run import Run
from nnabla_influence.scoring.opening import PathLike
from nnabla_influence.scoring.past_training import folder_to_train_in, train_again
from nnabla_influence.scoring.window import check_same_training


@contextlib.contextmanager
def taken_up(
    definition: Definition,
    recorded: Run | None,
    trained: Dataset,
    validation: Path,
    output: PathLike | None,
    options: Options,
    progress: Progress,
) -> Iterator[Run | None]:
    """Yield a run of the training done again, with states; None where it arrives elsewhere.

    Args:
        definition: Of the training.
        recorded: What was recorded of it, if anything; its parameters count.
        trained: The training data that is scored.
        validation: The validation CSV, for the training's monitors where theirs has gone.
        output: The ranking that will be written.
        options: The user's.
        progress: Tells the user what is scored.

    Raises:
        InfluenceError: It cannot be done again.
    """
    by = recorded.settings.recorded_by if recorded is not None and recorded.settings else None
    if recorded is not None and by != "nnabla_cli":
        raise RunError(
            f"{recorded.folder}: keeps the final parameters only, and a script's training cannot be"
            " done again from here; record it with Recorder(..., keep='sqrt'), or use --method"
            " final"
        )
    parameters = definition.parameters if recorded is None else recorded.parameters()
    if not parameters:
        raise ModelError(
            f"{definition.path}: holds no trained parameters; give them with -p (an .h5), or a"
            " recorded run with --run"
        )
    check_differentiable(definition, Mode.TRAINING)  # before it is done in vain
    try:
        check_same_training(definition, trained.path, len(trained), options.batch_size)
    except (RunError, UnsupportedError) as reason:
        raise InfluenceError(
            f"exact scores need the training done again, which cannot be: {reason}; record it"
            " (train --keep sqrt) and give --run, or use --method final"
        ) from reason
    progress.say(
        "No states of the training are kept: it is done again, to be traced exactly"
        " (train --keep sqrt, or all, keeps them)"
    )
    with folder_to_train_in(output) as folder:
        past = train_again(
            definition,
            parameters,
            trained.path,
            validation,
            folder,
            device=options.device,
            window=options.epochs,
            progress=progress,
        )
        if past.stands_for_it:
            of = "" if past.distance == 0 else "; the scores are those of the training done again"
            progress.say(f"{past.explanation}{of}")
            try:
                yield past.run
            except KeyboardInterrupt:
                if output is not None:
                    progress.say(
                        f"The training done again stays in {folder.parent.name} for the same"
                        " command; remove it to begin anew"
                    )
                raise
        else:
            progress.say(
                f"{past.explanation}: another device, another nnabla, other data or other initial"
                " parameters trained them, so there is no exact trace. Scored instead: method"
                " final, every step at the trained parameters"
            )
            yield None
