"""Record any unmodified ``nnabla_cli train``, through nnabla's own callback module.

``nnabla.conf`` names callback modules for ``nnabla_cli``; with this one among them, every finished
training leaves a run folder in its output folder. Write such a file once (`write_configuration`)::

    [CALLBACK]
    util_callback_module = nnabla_influence.nnabla_cli_callback

and train as always, naming the file in ``NNABLA_CONFIG_FILE_PATH``; nnabla reads it after, not in
place of, its other configuration files. More environment variables:

``NNABLA_INFLUENCE_RUN``
    The run folder; ``run`` in nnabla_cli's output folder by default.
``NNABLA_INFLUENCE_WINDOW``
    Epochs to record, counted from the end, ``last`` (1) or ``all``; 2 by default.
``NNABLA_INFLUENCE_KEEP``
    Which checkpoints to keep beside the final state: ``sqrt`` (about the square root of the steps,
    the default), ``all`` (one before every step) or ``final`` (none).

The run of a resumed training (``-r``) holds the steps since it was resumed. A training never fails
because of the recording: where it cannot be recorded, a line in the log says why.
"""

from __future__ import annotations

import configparser
import json
import os
from pathlib import Path
from typing import Any

import numpy
from nnabla.config import nnabla_config
from nnabla.utils import load as nnabla_load

from nnabla_influence.lifeline import end_with_pipe
from nnabla_influence.runs.nnabla_cli_recorder import NnablaCliRecorder, safely

RUN_VARIABLE = "NNABLA_INFLUENCE_RUN"
WINDOW_VARIABLE = "NNABLA_INFLUENCE_WINDOW"
KEEP_VARIABLE = "NNABLA_INFLUENCE_KEEP"
PARENT_VARIABLE = "NNABLA_INFLUENCE_PARENT"
"""Set by `nnabla_influence.nnabla_cli`: end with the parent (`end_with_pipe`), and remove these
folders then, a JSON list."""
DEFAULT_WINDOW = 2
DEFAULT_KEEP = "sqrt"


def write_configuration(path: str | os.PathLike[str]) -> None:
    """Write an ``nnabla.conf`` that records every training.

    Name it in ``NNABLA_CONFIG_FILE_PATH``. It keeps the entries of the file that is named there
    now, and the callback modules that nnabla is configured with.
    """
    configuration = configparser.RawConfigParser()
    configuration.read(os.environ.get("NNABLA_CONFIG_FILE_PATH", ""))
    if not configuration.has_section("CALLBACK"):
        configuration.add_section("CALLBACK")
    present = nnabla_config.get("CALLBACK", "util_callback_module").strip("[] ")
    modules = [module.strip() for module in present.split(",") if module.strip()]
    if __name__ not in modules:
        modules.insert(0, __name__)
    configuration.set("CALLBACK", "util_callback_module", f"[{','.join(modules)}]")
    with Path(path).open("w") as file:  # In the locale's encoding, as nnabla reads it.
        configuration.write(file)


def update_status(state: Any = None, start: bool = False, start_time: Any = None) -> None:
    """Follow a training; nnabla_cli calls this at its start, during it and at its end.

    Args:
        state: The parsed arguments at the start, ``"finished"`` or ``"failed"`` at the end.
        start: Passed on to other callback modules, as is ``start_time``.
        start_time: See ``start``.
    """
    if hasattr(state, "resume") and hasattr(state, "outdir"):
        if os.environ.get(PARENT_VARIABLE):
            _forbid_pickles()
            end_with_pipe(remove=json.loads(os.environ[PARENT_VARIABLE]))
        safely(_begin, state)
    elif isinstance(state, tuple) and state[0] == "epoch.current":
        if _training is not None:
            _training.epoch_begins(state[1])
    elif state in ("finished", "failed"):
        safely(_end, state == "finished")
    _pass_on(state, start, start_time)


def _pass_on(state: Any, start: bool, start_time: Any) -> None:
    # nnabla calls only the first module that has a function; a console's own comes after this one.
    from nnabla.utils.callback import callback_list

    names = [module.__name__ for module in callback_list]
    if __name__ in names:
        for module in callback_list[names.index(__name__) + 1 :]:
            if hasattr(module, "update_status"):
                module.update_status(state, start, start_time)
                return


def _forbid_pickles() -> None:
    """Let nnabla read arrays of numbers only: the data may have changed since they were checked."""
    load = numpy.load

    def load_numbers(*arguments: Any, **named: Any) -> Any:
        return load(*arguments, **{**named, "allow_pickle": False})

    numpy.load = load_numbers


_training: NnablaCliRecorder | None = None


def _begin(arguments: Any) -> None:
    global _training
    _training = None  # nnabla_cli trains once a process; a caller of its functions may do more.
    training = NnablaCliRecorder(
        arguments,
        os.environ.get(RUN_VARIABLE) or os.path.join(arguments.outdir, "run"),
        os.environ.get(WINDOW_VARIABLE) or str(DEFAULT_WINDOW),
        os.environ.get(KEEP_VARIABLE) or DEFAULT_KEEP,
    )
    load = nnabla_load.load

    def load_and_watch(*positional: Any, **named: Any) -> Any:
        nnabla_load.load = load
        info = load(*positional, **named)
        safely(training.watch, info)
        return info

    # The training's own call comes next; there is no hook between it and the first iteration.
    nnabla_load.load = load_and_watch
    _training = training


def _end(finished: bool) -> None:
    global _training
    training, _training = _training, None
    if training is not None:
        try:
            if finished:
                training.write()
        finally:
            training.close()
