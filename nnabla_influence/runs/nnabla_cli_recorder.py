"""The recorder for nnabla_cli: one training of its process, for the callback module."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nnabla as nn
from nnabla.logger import logger
from nnabla.utils.communicator_util import current_communicator

from nnabla_influence.definition.fingerprint import network_fingerprint
from nnabla_influence.definition.graph import find_network
from nnabla_influence.errors import UnsupportedError
from nnabla_influence.files import file_hash
from nnabla_influence.runs.checkpoint_plan import (
    CheckpointSelection,
    WindowPlan,
    check_keep,
    nnabla_cli_plan,
    window_epochs,
    window_words,
)
from nnabla_influence.runs.checkpoint_writer import (
    CheckpointWriter,
    final_solver_state,
    trained_names,
)
from nnabla_influence.runs.row_numbers import WatchedIterator
from nnabla_influence.runs.run import RunSettings, describe_kept, write_run
from nnabla_influence.runs.step_log import (
    RecordedSolver,
    StepLog,
    contents_of,
    hyperparameters,
    solver_name,
)
from nnabla_influence.text import printable


def safely(call: Callable[..., None], *arguments: Any) -> None:
    """Call, and log a failure as the reason why the training is not recorded."""
    try:
        call(*arguments)
    except Exception as error:
        _log_not_recorded(error)


def _log_not_recorded(error: Exception) -> None:
    logger.log(99, printable(f"This training is not recorded for nnabla-influence: {error}"))


class _SafeStepLog(StepLog):
    """A log that ends at its first failure, while the training continues."""

    failure: Exception | None = None

    def attempt(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call, unless something failed before; a failure ends the log, and gives None."""
        if self.failure is None:
            try:
                return call(*arguments)
            except Exception as error:
                self.failure = error
                _log_not_recorded(error)
                if self.checkpoints is not None:
                    self.checkpoints.close()
        return None

    def batch(self, rows: Any) -> None:
        self.attempt(super().batch, rows)

    def zeroed(self) -> None:
        self.attempt(super().zeroed)

    def decayed(self, rate: float, *, replaces: bool = False) -> None:
        self.attempt(lambda: super(_SafeStepLog, self).decayed(rate, replaces=replaces))

    def updated(self, learning_rate: float, epoch: int | None = None) -> None:
        self.attempt(super().updated, learning_rate, epoch)

    def started(self) -> None:
        self.attempt(super().started)


class NnablaCliRecorder:
    """Records one training of this process.

    Args:
        arguments: The parsed arguments of nnabla_cli.
        folder: The run folder to write.
        window: Epochs, ``last`` or ``all``.
        keep: ``final``, ``sqrt`` or ``all``.

    Raises:
        RunError: ``window`` or ``keep`` is something else.
    """

    def __init__(self, arguments: Any, folder: str, window: str, keep: str):
        self.arguments = arguments
        self.folder = Path(folder).absolute()
        self.window = window_epochs(window)
        self.keep = check_keep(keep)
        self.log: _SafeStepLog | None = None
        self.resumed_epoch = 0

    def epoch_begins(self, number: int) -> None:
        """Log the number of an epoch, from 1; the first one shows where it was resumed."""
        if self.log is None or self.log.n_batches == 0:
            self.resumed_epoch = number - 1

    def watch(self, info: Any) -> None:
        """Replace the loaded solver and data iterator by ones that are watched.

        Args:
            info: What nnabla loaded from the definition.

        Raises:
            UnsupportedError: The training is of a kind that cannot be recorded.
        """
        if current_communicator():
            raise UnsupportedError("it runs on several processes")
        if len(info.optimizers) != 1:
            raise UnsupportedError(f"it has {len(info.optimizers)} optimizers, not one")
        (optimizer,) = info.optimizers.values()
        if len(optimizer.data_iterators) != 1:
            raise UnsupportedError(f"it has {len(optimizer.data_iterators)} datasets, not one")
        if optimizer.start_iter or optimizer.end_iter:
            raise UnsupportedError("its optimizer runs only in some iterations")
        ((dataset, make_iterator),) = optimizer.data_iterators.items()
        self.info, self.optimizer, self.dataset = info, optimizer, info.datasets[dataset]
        uri = self.dataset.uri
        self.dataset_hash = file_hash(uri) if os.path.isfile(uri) else None
        self.contents = contents_of(uri, [d.data_name for d in optimizer.proto.data_variable])
        self.iter_per_epoch = max(info.training_config.iter_per_epoch, 1)
        log = _SafeStepLog(
            0,  # known when the data are opened
            self.window,
            lambda n_updates, n_batches: (n_batches - 1) // self.iter_per_epoch,
        )

        def drawn(rows: Any) -> None:
            if log.n_batches == 0:
                log.attempt(self.start)
            log.batch(rows)

        def make_watched_iterator() -> Any:
            iterator = make_iterator()
            log.n_rows = iterator.size
            return log.attempt(WatchedIterator, iterator, drawn) or iterator

        optimizer.data_iterators[dataset] = make_watched_iterator
        optimizer.solver = RecordedSolver(optimizer.solver, log)
        self.log = log

    def start(self) -> None:
        """Start to write checkpoints: all is loaded, and the first iteration comes next."""
        if self.keep == "final" or self.log is None:
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
        ahead = WindowPlan(plan.first - resumed_step, plan.end - resumed_step)
        self.log.checkpoints = CheckpointWriter(
            self.folder,
            self.optimizer.solver,
            nn.get_parameters(grad_only=False),
            CheckpointSelection(self.keep, ahead, certain=True),
        )
        self.log.started()

    def write(self) -> None:
        """Write the run folder."""
        log = self.log
        if log is None or log.failure is not None:
            return  # for a reason that was logged
        configuration = self.info.training_config
        n_iterations = configuration.max_epoch * self.iter_per_epoch
        # A resumed training starts after the iterations that were done before.
        resumed_at = n_iterations - log.n_batches
        n_steps = n_iterations // self.optimizer.update_interval
        first_step = n_steps - log.n_updates
        steps = log.steps(first_step, resumed_at // self.iter_per_epoch)
        solver, checkpoints = self.optimizer.solver, log.checkpoints
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
            checkpoints=None
            if checkpoints is None
            else partial(checkpoints.publish, steps=steps, first_step=first_step),
            contents=self.contents,
            settings=RunSettings(
                n_rows=log.n_rows,
                total_steps=n_steps,
                solver=solver_name(solver),
                hyperparameters=hyperparameters(solver),
                weight_decay=log.weight_decay(),
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
        text = f"{self.folder} ({len(steps)} steps; {describe_kept(run)})"
        logger.log(99, printable(f"Recorded for nnabla-influence: {text}"))

    def _network_functions(self) -> tuple[str, ...]:
        # After the training, since nnabla may draw random numbers when it builds a function.
        proto, path = self.optimizer.proto, Path(self.arguments.config)
        network = find_network(self.info.proto, proto.network_name)
        return () if network is None else network_fingerprint(path, network, proto)

    def close(self) -> None:
        """Remove the checkpoints outside the run folder."""
        if self.log is not None and self.log.checkpoints is not None:
            self.log.checkpoints.close()
