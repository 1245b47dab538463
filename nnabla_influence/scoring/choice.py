"""Which method traces a training: exact where that is possible in time, else final."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path

import numpy as np

from nnabla_influence.definition import Definition, load_definition
from nnabla_influence.errors import InfluenceError, RunError, UnsupportedError
from nnabla_influence.influence.trajectory import NotReproducibleError
from nnabla_influence.progress import Progress
from nnabla_influence.scoring.inputs import Inputs
from nnabla_influence.scoring.methods import Method, exact_method, final_method
from nnabla_influence.scoring.replay import (
    NO_EXACT,
    NOT_ASKED,
    TOO_LONG,
    more_time,
    replayed_training,
)
from nnabla_influence.scoring.run_checks import check_last_steps, check_solver_state
from nnabla_influence.scoring.window import Order, Window, recorded_window, unrecorded_window


def choose(
    inputs: Inputs, progress: Progress, stack: contextlib.ExitStack
) -> tuple[Method, Window]:
    """Choose method and window, and report which, and why.

    Method ``auto`` is exact where the run has checkpoints, or where the training can be replayed
    within the user's budget; otherwise it is final. ``stack`` removes a replayed training.

    Raises:
        InfluenceError: Neither is possible, or not what the user asked for by name.
    """
    options, run = inputs.options, inputs.run
    has_checkpoints = run is not None and bool(run.checkpoints)
    chosen = None
    if options.method == "final" or (options.method == "auto" and not has_checkpoints):
        chosen = _final(inputs)  # First, since a replay would be refused for the same reasons.
    if options.method != "final":
        exact = _exact(inputs, progress, stack)
        if isinstance(exact, str):
            check_solver_state(
                inputs.definition,
                inputs.solver,
                run,
                own_parameters=inputs.own_parameters,
                or_else=f", or {more_time()}" if exact in (TOO_LONG, NOT_ASKED) else "",
            )
            method, window = chosen or _final(inputs)
            chosen = dataclasses.replace(method, why=exact), window
        else:
            chosen = exact
    assert chosen is not None
    method, window = chosen
    if method.name == "final" and run is None and inputs.own_parameters:
        note = note_on_best_epoch(inputs.definition)
        if note:
            progress.say(note)
    progress.say(
        f"Method {method.name} ({method.why}): {method.explanation}; order of the mini-batches:"
        f" {window.explanation}; {len(window.trials[0])} steps are traced"
    )
    return method, window


def _final(inputs: Inputs) -> tuple[Method, Window]:
    window = _window(inputs)
    if inputs.run is not None:
        check_last_steps(inputs.definition, inputs.run, inputs.solver, inputs.train, inputs.device)
    return final_method(inputs), window


def _exact(
    inputs: Inputs, progress: Progress, stack: contextlib.ExitStack
) -> tuple[Method, Window] | str:
    """Return the exact method; with method auto, why not, where it is not possible."""
    asked = inputs.options.method == "exact"
    run, why = inputs.run, "as asked" if asked else "the run keeps checkpoints"
    replayed = run is None or not run.checkpoints
    if replayed:
        if run is not None and run.settings is not None and run.settings.keep != "final":
            progress.say(f"Note: the checkpoints of {run.folder} are missing")
        run, why = stack.enter_context(replayed_training(inputs, progress))
    if run is None:
        return why
    inputs = dataclasses.replace(inputs, run=run)
    window = _window(inputs)
    if replayed:
        window = dataclasses.replace(
            window, order=Order.REPLAYED, explanation="of the replayed training"
        )
    try:
        return dataclasses.replace(exact_method(inputs, run), why=why), window
    except (NotReproducibleError, UnsupportedError) as reason:
        if asked:
            raise
        progress.say(f"No exact scores: {reason}")
        unsteady = isinstance(reason, NotReproducibleError)
        return "the steps cannot be replayed here" if unsteady else NO_EXACT
    except RunError as reason:
        if replayed and not asked:
            progress.say(f"No exact scores: {reason}")
            return "the replay failed"
        # It names the setting that differs, where that can be known.
        check_last_steps(inputs.definition, run, inputs.solver, inputs.train, inputs.device)
        raise


def check_trained_on(inputs: Inputs) -> None:
    """Refuse a training CSV that is not the run's, as a window would.

    Raises:
        RunError: It is another one, or has changed since.
    """
    if inputs.run is not None:
        _window(inputs)


def _window(inputs: Inputs) -> Window:
    train, options = inputs.train, inputs.options
    if inputs.run is not None:
        is_ranking = any(column.name == "datasource_index" for column in train.columns)
        return recorded_window(
            inputs.run, train.path, len(train), options.epochs, is_ranking=is_ranking
        )
    return unrecorded_window(
        inputs.definition,
        train.path,
        len(train),
        options.epochs,
        options.batch_size,
        options.n_trials,
    )


def note_on_best_epoch(definition: Definition) -> str | None:
    """Return a line for the user if the final parameters are beside the given model file.

    nnabla_cli and the Console save the best epoch as ``results.nnp`` (or ``results_best_N.nnp``)
    and the end of the training, which is traced, as ``results_current_N.nnp``.
    """
    path = definition.path
    if not re.fullmatch(r"results(_best_\d+)?\.nnp", path.name):
        return None
    by_epoch = {
        int(match[1]): other
        for other in path.parent.glob("results_current_*.nnp")
        if (match := re.search(r"_(\d+)\.nnp$", other.name))
    }
    finals = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    if not finals or _same_parameters(definition, finals[-1]):
        return None
    return (
        f"Note: {path.name} holds the parameters of the best epoch; those after the last step, to"
        f" which the traced steps belong, are in {finals[-1].name} beside it"
    )


def _same_parameters(definition: Definition, other: Path) -> bool:
    try:
        parameters = load_definition(other).parameters
    except InfluenceError:
        return True  # It cannot be recommended.
    return all(
        name in parameters and np.array_equal(value, parameters[name])
        for name, value in definition.parameters.items()
    )
