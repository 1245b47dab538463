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
    Which checkpoints to keep beside the final state: ``sqrt`` (so many that those between are
    quickly replayed, the default), ``all`` (one before every step) or ``final`` (none).

What a resumed training (``-r``) leaves holds the steps since it was resumed. A training never fails
because it is recorded: where it cannot be, a line in the log says why.
"""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Optional, Union

import numpy
from nnabla.config import nnabla_config
from nnabla.utils import load as nnabla_load

from nnabla_influence.runs.nnabla_cli_training import Training, safely

RUN_VARIABLE = "NNABLA_INFLUENCE_RUN"
WINDOW_VARIABLE = "NNABLA_INFLUENCE_WINDOW"
KEEP_VARIABLE = "NNABLA_INFLUENCE_KEEP"
PARENT_VARIABLE = "NNABLA_INFLUENCE_PARENT"
"""Set where `nnabla_influence.nnabla_cli` trains: end when standard input does, as the parent has.
It lists, in JSON, the folders to remove then; a path may hold any character that could separate
paths."""
DEFAULT_WINDOW = 2
DEFAULT_KEEP = "sqrt"


def write_configuration(path: Union[str, os.PathLike[str]]) -> None:
    """Write an ``nnabla.conf`` that records every training.

    Name it in ``NNABLA_CONFIG_FILE_PATH``. What the file named there now says, and the callback
    modules that nnabla is configured with, are taken over.
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
    """Take part in a training; nnabla_cli calls this at its start, on the way and at its end.

    Args:
        state: The parsed arguments at the start, ``"finished"`` or ``"failed"`` at the end.
        start: Passed on to other callback modules, as is ``start_time``.
        start_time: See ``start``.
    """
    if hasattr(state, "resume") and hasattr(state, "outdir"):
        if os.environ.get(PARENT_VARIABLE):
            _unpickle_nothing()
            threading.Thread(target=_end_with_parent, daemon=True).start()
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


def _unpickle_nothing() -> None:
    """Let nnabla read arrays of numbers only; the data were checked, but not in this process."""
    load = numpy.load

    def load_numbers(*arguments: Any, **named: Any) -> Any:
        return load(*arguments, **{**named, "allow_pickle": False})

    numpy.load = load_numbers


_REMOVE = "import shutil, sys; sys.stdin.read(); [shutil.rmtree(f, True) for f in sys.argv[1:]]"


def _end_with_parent() -> None:
    """Wait until the parent is gone, end, and have removed what it can no longer remove."""
    while os.read(0, 1):
        pass
    # The training goes on writing until this process ends, so another one removes, after that: its
    # standard input closes then.
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _REMOVE, *json.loads(os.environ[PARENT_VARIABLE])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os._exit(1)


_training: Optional[Training] = None


def _begin(arguments: Any) -> None:
    global _training
    _training = None  # nnabla_cli trains once a process; a caller of its functions may do more.
    training = Training(
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
