"""One training of nnabla_cli, watched from within its process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import nnabla as nn
from nnabla.logger import logger
from nnabla.utils.communicator_util import current_communicator

from nnabla_influence.definition.fingerprint import network_fingerprint
from nnabla_influence.definition.graph import find_network
from nnabla_influence.errors import UnsupportedError
from nnabla_influence.files import file_hash
from nnabla_influence.runs.capture import CheckpointKeeper
from nnabla_influence.runs.keep import (
    Kept,
    Plan,
    check_keep,
    nnabla_cli_plan,
    window_epochs,
    window_words,
)
from nnabla_influence.runs.recording import (
    RecordedSolver,
    Recording,
    contents_of,
    hyperparameters,
    solver_name,
)
from nnabla_influence.runs.row_numbers import WatchedIterator
from nnabla_influence.runs.run import RunSettings, write_run
from nnabla_influence.runs.snapshot import final_solver_state, trained_names
from nnabla_influence.runs.staging import remove_leftovers
from nnabla_influence.runs.storage import describe_kept
from nnabla_influence.text import printable


def safely(call: Callable[..., None], *arguments: Any) -> None:
    """Call, and log a failure as the reason why the training is not recorded."""
    try:
        call(*arguments)
    except Exception as error:
        say_not_recorded(error)


def say_not_recorded(error: Exception) -> None:
    """Log why the training is not recorded."""
    logger.log(99, printable(f"This training is not recorded for nnabla-influence: {error}"))


class _SafeRecording(Recording):
    """A recording that stops at its first failure, and lets the training go on."""

    failure: Optional[Exception] = None

    def attempt(self, note: Callable[..., None], *arguments: Any) -> None:
        """Call, unless something failed before; a failure is logged, and nothing more recorded."""
        if self.failure is None:
            try:
                note(*arguments)
            except Exception as error:
                self.failure = error
                say_not_recorded(error)
                if self.keeper is not None:
                    self.keeper.close()

    def batch(self, rows: Any) -> None:
        self.attempt(super().batch, rows)

    def zeroed(self) -> None:
        self.attempt(super().zeroed)

    def decayed(self, rate: float, *, replaces: bool = False) -> None:
        self.attempt(lambda: super(_SafeRecording, self).decayed(rate, replaces=replaces))

    def updated(self, learning_rate: float, epoch: Optional[int] = None) -> None:
        self.attempt(super().updated, learning_rate, epoch)

    def begun(self) -> None:
        self.attempt(super().begun)


class Training:
    """One training of this process: what was loaded, and what was noted of it.

    Args:
        arguments: nnabla_cli's own, parsed.
        folder: The run folder to write.
        window: Epochs, ``last`` or ``all``.
        keep: ``final``, ``sqrt`` or ``all``.

    Raises:
        RunError: ``window`` or ``keep`` is none of these.
    """

    def __init__(self, arguments: Any, folder: str, window: str, keep: str):
        self.arguments = arguments
        self.folder = Path(folder).absolute()
        self.window = window_epochs(window)
        self.keep = check_keep(keep)
        self.recording: Optional[_SafeRecording] = None
        self.resumed_epoch = 0

    def epoch_begins(self, number: int) -> None:
        """Note the number of an epoch, from 1; the first one tells where it was resumed."""
        if self.recording is None or self.recording.n_batches == 0:
            self.resumed_epoch = number - 1

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
        self.contents = contents_of(uri, [d.data_name for d in optimizer.proto.data_variable])
        self.iter_per_epoch = max(info.training_config.iter_per_epoch, 1)
        recording = _SafeRecording(
            0,  # Not known before the data are opened.
            self.window,
            lambda n_updates, n_batches: (n_batches - 1) // self.iter_per_epoch,
        )

        def drawn(rows: Any) -> None:
            if recording.n_batches == 0:
                recording.attempt(self.begin)
            recording.batch(rows)

        def make_watched_iterator() -> Any:
            iterator = make_iterator()
            try:
                watched = WatchedIterator(iterator, drawn)
            except Exception as error:
                recording.failure = error
                say_not_recorded(error)
                return iterator
            recording.n_rows = iterator.size
            return watched

        optimizer.data_iterators[dataset] = make_watched_iterator
        optimizer.solver = RecordedSolver(optimizer.solver, recording)
        self.recording = recording

    def begin(self) -> None:
        """Begin to keep checkpoints: all is loaded, and the first iteration comes next."""
        remove_leftovers(self.folder)
        if self.keep == "final" or self.recording is None:
            return
        interval = self.optimizer.update_interval
        plan = nnabla_cli_plan(
            self.info.training_config.max_epoch,
            self.iter_per_epoch,
            interval,
            self.window,
            self.resumed_epoch,
        )
        resumed_step = self.resumed_epoch * self.iter_per_epoch // interval
        ahead = Plan(plan.first - resumed_step, plan.end - resumed_step)
        self.recording.keeper = CheckpointKeeper(
            self.folder,
            self.optimizer.solver,
            nn.get_parameters(grad_only=False),
            Kept(self.keep, ahead, certain=True),
        )
        self.recording.begun()

    def write(self) -> None:
        """Write the run folder."""
        recording = self.recording
        if recording is None or recording.failure is not None:
            return  # The reason was said when it came up.
        configuration = self.info.training_config
        n_iterations = configuration.max_epoch * self.iter_per_epoch
        # A resumed training begins after the iterations that it does not do.
        resumed_at = n_iterations - recording.n_batches
        n_steps = n_iterations // self.optimizer.update_interval
        first_step = n_steps - recording.n_updates
        steps = recording.steps(first_step, resumed_at // self.iter_per_epoch)
        solver, keeper = self.optimizer.solver, recording.keeper
        words = window_words(self.window)
        if resumed_at:
            words += f", resumed at epoch {resumed_at // self.iter_per_epoch}"
        parameters = nn.get_parameters(grad_only=False)
        run = write_run(
            self.folder,
            parameters={name: v.data.get_data("r") for name, v in parameters.items()},
            trainable=trained_names(solver, parameters),
            steps=steps,
            solver_state=final_solver_state(solver, parameters, self.keep),
            checkpoints=None if keeper is None else keeper.publisher(steps, first_step),
            contents=self.contents,
            settings=RunSettings(
                n_rows=recording.n_rows,
                total_steps=n_steps,
                solver=solver_name(solver),
                hyperparameters=hyperparameters(solver),
                weight_decay=recording.weight_decay(),
                network=self.optimizer.proto.network_name,
                network_functions=self._network_functions(),
                definition=os.path.abspath(self.arguments.config),
                dataset=os.path.abspath(self.dataset.uri),
                dataset_hash=self.dataset_hash,
                window=words,
                keep=self.keep,
                context=str(self.info.default_context),
                recorded_by="nnabla_cli",
            ),
        )
        kept = describe_kept(run)
        said = f"Recorded for nnabla-influence: {self.folder} ({len(steps)} steps; {kept})"
        logger.log(99, printable(said))

    def _network_functions(self) -> tuple[str, ...]:
        # At the end: a function that nnabla makes may draw from the generator of the training.
        proto, path = self.optimizer.proto, Path(self.arguments.config)
        network = find_network(self.info.proto, proto.network_name)
        return () if network is None else network_fingerprint(path, network, proto)

    def close(self) -> None:
        """Remove what was kept on the way."""
        if self.recording is not None and self.recording.keeper is not None:
            self.recording.keeper.close()
