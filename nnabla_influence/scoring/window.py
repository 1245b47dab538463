"""The window: which steps are traced, and how the order of their mini-batches is known."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nnabla_influence.definition import Definition
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.files import file_hash
from nnabla_influence.nnabla_cli.order import nnabla_cli_steps, shuffled_steps
from nnabla_influence.runs.run import Run, check_fits, last_epochs
from nnabla_influence.runs.steps import Step
from nnabla_influence.text import with_option

DEFAULT_TRIALS = 3


class Order(Enum):
    """How the order of the mini-batches is known."""

    RECORDED = "recorded"
    REPLAYED = "replayed"
    SHUFFLED = "shuffled"


@dataclass(frozen=True)
class Window:
    """The steps to trace.

    Attributes:
        order: How their order is known.
        trials: One sequence of steps if the order is known, else several shuffled ones.
        explanation: For the user: the order, and why it is that one.
    """

    order: Order
    trials: tuple[tuple[Step, ...], ...]
    explanation: str

    def __post_init__(self) -> None:
        if not all(self.trials):
            raise RunError("the window has no steps; train for at least one epoch")


def recorded_window(
    run: Run, train: Path, n_rows: int, epochs: int | None, *, is_ranking: bool = False
) -> Window:
    """Return the last ``epochs`` (None: all) of a recorded run.

    ``train`` is the dataset CSV that is scored, which has ``n_rows`` rows.

    Raises:
        RunError: The run was on other data, or is shorter than ``epochs``.
    """
    check_fits(run, n_rows)
    recorded = run.settings.dataset_hash if run.settings is not None else None
    if recorded is not None and recorded != file_hash(train):
        raise RunError(
            f"{train}: is not the CSV that {run.folder} was recorded on, or has changed since; give"
            f" that CSV as it was {with_option('-t', 'input-train')}, or train again"
        )
    if recorded is None and is_ranking:
        raise RunError(
            f"{train}: is a ranking, whose rows have another order than the training CSV's; give"
            f" the CSV that was trained on {with_option('-t', 'input-train')}"
        )
    steps = run.window_steps
    if epochs is not None:
        steps = last_epochs(steps, epochs)
    explanation = f"as recorded in {run.folder}"
    if epochs is None and steps and steps[0].step > 0:
        explanation += (
            f", which begins with step {steps[0].step} of the training (train --window all records"
            " all of it)"
        )
    return Window(Order.RECORDED, (tuple(steps),), explanation)


def unrecorded_window(
    definition: Definition,
    train: Path,
    n_rows: int,
    epochs: int | None,
    batch_size: int | None,
    trials: int | None,
) -> Window:
    """Return the last epochs of a training that was not recorded.

    The order is replayed as nnabla_cli draws it. Where that is not possible, as with another
    ``batch_size``, each of ``trials`` (None: `DEFAULT_TRIALS`) shuffles the rows anew.

    Raises:
        RunError: The definition trains fewer epochs, or names no batch size.
    """
    try:
        check_same_training(definition, train, n_rows, batch_size)
        steps = nnabla_cli_steps(definition, n_rows, epochs=epochs, csv=train)
        return Window(Order.REPLAYED, (steps,), "replayed as nnabla_cli draws it")
    except (RunError, UnsupportedError) as reason:
        drawn = tuple(
            shuffled_steps(definition, n_rows, seed=seed, epochs=epochs, batch_size=batch_size)
            for seed in range(trials or DEFAULT_TRIALS)
        )
        return Window(
            Order.SHUFFLED,
            drawn,
            f"unknown ({reason}); the scores are the mean over {len(drawn)} shuffled orders",
        )


def check_same_training(
    definition: Definition, train: Path, n_rows: int, batch_size: int | None
) -> None:
    """Raise unless the definition's training can have been on this CSV, at this batch size."""
    settings = definition.training
    if settings is None:
        raise RunError("the model file names no training dataset")
    if batch_size not in (None, settings.batch_size):
        raise RunError(
            f"the batch size {batch_size} is not the model's, which is {settings.batch_size}"
        )
    steps_per_epoch = definition.proto.training_config.iter_per_epoch
    if not settings.path.is_file() and n_rows // settings.batch_size != steps_per_epoch:
        raise RunError(
            f"{n_rows} rows do not give the model file's {steps_per_epoch} iterations per epoch"
        )
    if settings.path.is_file() and not filecmp.cmp(settings.path, train, shallow=False):
        raise RunError(f"{train} is not the dataset that was trained on, {settings.path}")
