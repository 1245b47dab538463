"""Which method traces a training: exact where that is possible in time, final elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Definition, SolverSettings
from nnabla_influence.device import Device
from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.files import PathLike
from nnabla_influence.influence.trajectory import NotReproducibleError
from nnabla_influence.options import Options
from nnabla_influence.progress import Progress
from nnabla_influence.runs.run import Run
from nnabla_influence.scoring.best_epoch import note_on_best_epoch
from nnabla_influence.scoring.last_steps import check_last_steps
from nnabla_influence.scoring.methods import Method, exact_method, final_method
from nnabla_influence.scoring.solver_state import check_solver_state
from nnabla_influence.scoring.taking_up import (
    NO_EXACT,
    NOT_ASKED,
    TOO_LONG,
    more_time,
    replayed_training,
)
from nnabla_influence.scoring.window import Order, Window, recorded_window, unrecorded_window


@dataclass(frozen=True, eq=False)
class Given:
    """What is to be scored, opened.

    Attributes:
        definition: Of the training.
        recorded: Its run, if there is one.
        solver: That trained it.
        trained: The training data.
        validated: The validation data.
        output: The ranking that will be written, if any.
        own_parameters: Whether the parameters are the model file's own, so that its solver state
            belongs to them.
        options: The user's.
        device: Where to compute.
    """

    definition: Definition
    recorded: Run | None
    solver: SolverSettings
    trained: Dataset
    validated: Dataset
    output: PathLike | None
    own_parameters: bool
    options: Options
    device: Device


@dataclass(frozen=True, eq=False)
class Choice:
    """What is traced, how, and why so.

    Attributes:
        method: Stands for the steps.
        window: The steps.
        why: A few words for the ranking's header, without commas.
    """

    method: Method
    window: Window
    why: str


def choose(given: Given, progress: Progress, stack: contextlib.ExitStack) -> Choice:
    """Choose method and window, and say which, and why.

    Method ``auto`` is exact where the run keeps checkpoints, or where the training can be replayed
    within the user's budget; elsewhere it is final.

    Args:
        given: What is scored.
        progress: Where to say it.
        stack: Removes a replayed training in the end.

    Raises:
        InfluenceError: Neither is possible, or not what the user asked for by name.
    """
    options, recorded = given.options, given.recorded
    kept = recorded is not None and bool(recorded.checkpoints)
    choice = None
    if options.method == "final" or (options.method == "auto" and not kept):
        choice = _final(given, "as asked")  # First, since what it refuses no replay can mend.
    if options.method != "final":
        exact = _exact(given, progress, stack)
        if isinstance(exact, Choice):
            choice = exact
        else:
            check_solver_state(
                *(given.definition, given.solver, recorded),
                own_parameters=given.own_parameters,
                or_else=f", or {more_time()}" if exact in (TOO_LONG, NOT_ASKED) else "",
            )
            choice = choice or _final(given, exact)
            choice = dataclasses.replace(choice, why=exact)
    assert choice is not None
    name = "exact" if choice.method.trajectory.exact else "final"
    if name == "final" and recorded is None and given.own_parameters:
        note = note_on_best_epoch(given.definition)
        if note:
            progress.say(note)
    progress.say(
        f"Method {name} ({choice.why}): {choice.method.explanation}; order of the mini-batches:"
        f" {choice.window.explanation}; {len(choice.window.trials[0])} steps are traced"
    )
    return choice


def _exact(given: Given, progress: Progress, stack: contextlib.ExitStack) -> Choice | str:
    """Return the exact method; where it cannot be had and need not be, why not."""
    asked = given.options.method == "exact"
    run, why = given.recorded, "as asked" if asked else "the run keeps checkpoints"
    replayed = run is None or not run.checkpoints
    if replayed:
        settings = None if given.recorded is None else given.recorded.settings
        if settings is not None and settings.keep != "final":
            assert given.recorded is not None
            progress.say(f"Note: the checkpoints of {given.recorded.folder} are gone")
        run, why = stack.enter_context(
            replayed_training(
                *(given.definition, given.recorded, given.trained, given.validated.path),
                *(given.output, given.options, given.device),
                progress,
            )
        )
    if run is None:
        return why
    window = _window(given, run)
    if replayed:
        window = dataclasses.replace(
            window, order=Order.REPLAYED, explanation="of the replayed training"
        )
    try:
        method = exact_method(
            *(given.definition, run, given.solver, given.options, given.device),
            given.trained.batch,
        )
    except (NotReproducibleError, UnsupportedError) as reason:
        if asked:
            raise
        progress.say(f"No exact trace: {reason}")
        unsteady = isinstance(reason, NotReproducibleError)
        return "the steps cannot be replayed here" if unsteady else NO_EXACT
    except RunError as reason:
        if replayed and not asked:
            progress.say(f"No exact trace: {reason}")
            return "the replay failed"
        # Which setting differs, where that can be known.
        check_last_steps(given.definition, run, given.solver, given.trained, given.device)
        raise
    return Choice(method, window, why)


def _final(given: Given, why: str) -> Choice:
    window = _window(given, given.recorded)
    if given.recorded is not None:
        check_last_steps(
            given.definition, given.recorded, given.solver, given.trained, given.device
        )
    method = final_method(
        *(given.definition, given.recorded, given.options, given.device, given.trained.batch),
        model_state=given.own_parameters,
    )
    return Choice(method, window, why)


def _window(given: Given, run: Run | None) -> Window:
    trained, options = given.trained, given.options
    if run is not None:
        is_ranking = any(column.name == "datasource_index" for column in trained.columns)
        return recorded_window(
            run, trained.path, len(trained), options.epochs, is_ranking=is_ranking
        )
    return unrecorded_window(
        given.definition,
        trained.path,
        len(trained),
        options.epochs,
        options.batch_size,
        options.n_trials,
    )
