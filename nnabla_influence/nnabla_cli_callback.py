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
    Epochs to record, counted from the end, or ``all``; 2 by default.

What a resumed training (``-r``) leaves holds the steps since it was resumed. A training never fails
because it is recorded: where it cannot be, a line in the log says why.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, Union

import nnabla as nn
from nnabla.config import nnabla_config
from nnabla.logger import logger
from nnabla.utils import load as nnabla_load
from nnabla.utils.communicator_util import current_communicator

from nnabla_influence.errors import RunError, UnsupportedError
from nnabla_influence.files import file_hash
from nnabla_influence.recording import RecordedSolver, Recording, hyperparameters, solver_name
from nnabla_influence.row_numbers import WatchedIterator
from nnabla_influence.run import RunSettings, write_run

RUN_VARIABLE = "NNABLA_INFLUENCE_RUN"
WINDOW_VARIABLE = "NNABLA_INFLUENCE_WINDOW"
PARENT_VARIABLE = "NNABLA_INFLUENCE_PARENT"
"""Set by `nnabla_influence.training`: end when standard input does, since the parent has. It lists,
in JSON, the folders to remove then; a path may hold any character that could separate paths."""
DEFAULT_WINDOW = 2


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


def parse_window(text: str) -> Optional[int]:
    """Return the number of epochs that a window names; None for ``all``.

    Raises:
        RunError: It is neither.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise RunError(f"window: {text!r} is neither a number of epochs from 1 nor 'all'")
    return int(text)


def update_status(state: Any = None, start: bool = False, start_time: Any = None) -> None:
    """Take part in a training; nnabla_cli calls this at its start, on the way and at its end.

    Args:
        state: The parsed arguments at the start, ``"finished"`` or ``"failed"`` at the end.
        start: Passed on to other callback modules, as is ``start_time``.
        start_time: See ``start``.
    """
    if hasattr(state, "resume") and hasattr(state, "outdir"):
        if os.environ.get(PARENT_VARIABLE):
            threading.Thread(target=_end_with_parent, daemon=True).start()
        _safely(_begin, state)
    elif state == "finished":
        _safely(_finish)
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


def _end_with_parent() -> None:
    """Wait until the parent is gone, remove what it can no longer remove, and end."""
    while os.read(0, 1):
        pass
    for folder in json.loads(os.environ[PARENT_VARIABLE]):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _safely(call: Callable[..., None], *arguments: Any) -> None:
    try:
        call(*arguments)
    except Exception as error:
        _say_not_recorded(error)


def _say_not_recorded(error: Exception) -> None:
    logger.log(99, f"This training is not recorded for nnabla-influence: {error}")


class _SafeRecording(Recording):
    """A recording that stops at its first failure, and lets the training go on."""

    failure: Optional[Exception] = None

    def _try(self, note: Callable[..., None], *arguments: Any) -> None:
        if self.failure is None:
            try:
                note(*arguments)
            except Exception as error:
                self.failure = error
                _say_not_recorded(error)

    def batch(self, rows: Any) -> None:
        self._try(super().batch, rows)

    def zeroed(self) -> None:
        self._try(super().zeroed)

    def decayed(self, rate: float, *, replaces: bool = False) -> None:
        self._try(lambda: super(_SafeRecording, self).decayed(rate, replaces=replaces))

    def updated(self, learning_rate: float, epoch: Optional[int] = None) -> None:
        self._try(super().updated, learning_rate, epoch)


class _Training:
    """One training of this process: what was loaded, and what was noted of it."""

    def __init__(self, arguments: Any, window: str):
        self.arguments = arguments
        self.window = window
        self.recording: Optional[_SafeRecording] = None
        parse_window(window)

    def watch(self, info: Any) -> None:
        """Put a noting solver and data iterator in the place of the loaded ones."""
        if current_communicator():
            raise UnsupportedError("it runs on several processes")
        if len(info.optimizers) != 1:
            raise UnsupportedError(f"it has {len(info.optimizers)} optimizers, not one")
        (optimizer,) = info.optimizers.values()
        if len(optimizer.data_iterators) != 1:
            raise UnsupportedError(f"it has {len(optimizer.data_iterators)} datasets, not one")
        if optimizer.start_iter or optimizer.end_iter:
            raise UnsupportedError("its optimizer runs in a part of the iterations only")
        ((dataset, make_iterator),) = optimizer.data_iterators.items()
        self.info, self.optimizer, self.dataset = info, optimizer, info.datasets[dataset]
        uri = self.dataset.uri
        self.dataset_hash = file_hash(uri) if os.path.isfile(uri) else None
        self.iter_per_epoch = max(info.training_config.iter_per_epoch, 1)
        recording = _SafeRecording(
            0,  # Not known before the data are opened.
            parse_window(self.window),
            lambda n_updates, n_batches: (n_batches - 1) // self.iter_per_epoch,
        )

        def make_watched_iterator() -> Any:
            iterator = make_iterator()
            try:
                watched = WatchedIterator(iterator, recording.batch)
            except Exception as error:
                recording.failure = error
                _say_not_recorded(error)
                return iterator
            recording.n_rows = iterator.size
            return watched

        optimizer.data_iterators[dataset] = make_watched_iterator
        optimizer.solver = RecordedSolver(optimizer.solver, recording)
        self.recording = recording

    def write(self) -> None:
        """Write the run folder."""
        recording = self.recording
        if recording is None or recording.failure is not None:
            return  # The reason was said when it came up.
        configuration = self.info.training_config
        n_iterations = configuration.max_epoch * self.iter_per_epoch
        # A resumed training begins after the iterations that it does not do.
        resumed_at = n_iterations - recording.n_batches
        interval = self.optimizer.update_interval
        steps = recording.steps(
            first_step=n_iterations // interval - recording.n_updates,
            first_epoch=resumed_at // self.iter_per_epoch,
        )
        folder = Path(
            os.environ.get(RUN_VARIABLE) or os.path.join(self.arguments.outdir, "run")
        ).absolute()
        solver = self.optimizer.solver
        words = "all" if self.window == "all" else f"last {self.window} epochs"
        if resumed_at:
            words += f", resumed at epoch {resumed_at // self.iter_per_epoch}"
        write_run(
            folder,
            parameters={
                name: variable.data.get_data("r")
                for name, variable in nn.get_parameters(grad_only=False).items()
            },
            trainable=set(solver.get_parameters()),
            steps=steps,
            settings=RunSettings(
                n_rows=recording.n_rows,
                total_steps=n_iterations // interval,
                solver=solver_name(solver),
                hyperparameters=hyperparameters(solver),
                weight_decay=recording.weight_decay(),
                network=self.optimizer.proto.network_name,
                definition=os.path.abspath(self.arguments.config),
                dataset=os.path.abspath(self.dataset.uri),
                dataset_hash=self.dataset_hash,
                window=words,
                context=str(self.info.default_context),
                recorded_by="nnabla_cli",
            ),
        )
        logger.log(99, f"Recorded for nnabla-influence: {folder} ({len(steps)} steps)")


_training: Optional[_Training] = None


def _begin(arguments: Any) -> None:
    global _training
    _training = None  # nnabla_cli trains once a process; a caller of its functions may do more.
    training = _Training(arguments, os.environ.get(WINDOW_VARIABLE) or str(DEFAULT_WINDOW))
    load = nnabla_load.load

    def load_and_watch(*positional: Any, **named: Any) -> Any:
        nnabla_load.load = load
        info = load(*positional, **named)
        _safely(training.watch, info)
        return info

    # The training's own call comes next; there is no hook between it and the first iteration.
    nnabla_load.load = load_and_watch
    _training = training


def _finish() -> None:
    global _training
    training, _training = _training, None
    if training is not None:
        training.write()
