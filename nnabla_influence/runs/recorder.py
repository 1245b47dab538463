"""The recorder for scripts: two or three lines around an existing training loop."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition.definition import load_definition
from nnabla_influence.definition.fingerprint import network_fingerprint
from nnabla_influence.errors import InfluenceError, RunError
from nnabla_influence.files import file_hash
from nnabla_influence.options import RecorderOptions
from nnabla_influence.runs.checkpoint_plan import (
    CheckpointSelection,
    check_keep,
    recorder_plan,
    window_epochs,
    window_words,
)
from nnabla_influence.runs.checkpoint_writer import (
    CheckpointWriter,
    final_solver_state,
    trained_names,
)
from nnabla_influence.runs.fed_batch import fed_batch
from nnabla_influence.runs.row_numbers import WatchedIterator
from nnabla_influence.runs.run import Run, RunSettings, write_run
from nnabla_influence.runs.run_files import NETWORK, check_replaceable
from nnabla_influence.runs.script_network import ScriptNetwork
from nnabla_influence.runs.step_log import (
    RecordedSolver,
    StepLog,
    contents_of,
    hyperparameters,
    solver_name,
)


class Recorder:
    """Records a training and writes its run folder on leaving the ``with`` block.

    With an nnabla data iterator, use the recorder's solver and iterator in the place of yours::

        with Recorder("run", solver=solver, iterator=iterator) as recorder:
            for i in range(max_iter):
                x.d, t.d = recorder.iterator.next()
                loss.forward()
                recorder.solver.zero_grad()
                loss.backward()
                recorder.solver.weight_decay(1e-4)
                recorder.solver.update()

    With data of your own, keep your loop and give the rows after each update, numbered from 0 as in
    the dataset CSV that you will score with::

        with Recorder("run", solver=solver, n_rows=len(x_train), weight_decay=1e-4) as recorder:
            ...
                solver.update()
                recorder.step(rows)

    With `nnabla.experimental.framework`, pass `updated` to the Updater as
    ``solver_update_callback_on_finish`` and feed from ``recorder.iterator`` (or call `batch`).

    The loss must be the mean over the mini-batch: a recorded step stands for the gradient
    (1/|batch|) sum grad l_k, summed over the mini-batches that were drawn since the last update,
    plus weight decay. Gradients that ``recorder.solver`` clips or scales are refused. Draw from
    ``recorder.iterator`` only what is trained on.

    Attributes:
        solver: The solver, watched.
        iterator: The data iterator, watched; None if none was given.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        solver: Any,
        iterator: Any = None,
        n_rows: int | None = None,
        weight_decay: float | None = None,
        inputs: Mapping[str, nn.Variable] | None = None,
        loss: nn.Variable | None = None,
        dataset: str | None = None,
        options: RecorderOptions | None = None,
    ):
        """Prepare to record; before the first step, after loading the initial parameters.

        Args:
            folder: The run folder to write. An existing run is replaced.
            solver: The solver, its parameters set.
            iterator: The nnabla ``DataIterator`` of the training, best as soon as it is made.
            n_rows: Rows of the training dataset; the iterator's by default.
            weight_decay: The rate, where the loop does not call ``recorder.solver.weight_decay``.
            inputs: The network's inputs by the dataset's columns, such as ``{"x": x, "y": y}``.
                With ``loss``, the network definition is written into the run folder, as
                ``network.nntxt``, to score with.
            loss: The loss that the loop trains: the mean over the mini-batch, as `F.mean` gives
                it, or one value for each example.
            dataset: Path of the training dataset's CSV; scoring notices another one, or a change.
            options: See `RecorderOptions`.

        Raises:
            ModelError: The network reads something that is neither an input nor a parameter.
            OutputError: The folder exists and is not a run.
            RunError: ``n_rows`` is missing, parameters of the solver are not in scope, or inputs
                and loss do not fit each other.
            UnsupportedError: The rows of this iterator are unknown, or the loss cannot be scored.
        """
        options = options or RecorderOptions()
        self.folder = Path(folder)
        check_replaceable(self.folder)
        if n_rows is None and iterator is None:
            raise RunError("give the data iterator, or n_rows, the number of rows of the dataset")
        epochs = window_epochs(options.window)
        self._raw_solver = solver
        self._parameters = _parameters_of(solver, options.parameters)
        definition, network = options.definition, options.network
        self._network: ScriptNetwork | None = None
        if inputs is not None or loss is not None:
            if inputs is None or loss is None or options.definition is not None:
                raise RunError("give inputs and loss, both, or a definition of your own")
            self._network = ScriptNetwork(inputs, loss, self._parameters, solver)
            definition, network = os.path.abspath(self.folder / NETWORK), self._network.name
        self._weight_decay = weight_decay
        self._keep_on_error = options.keep_on_error
        self._described = RunSettings(
            dataset=dataset,
            dataset_hash=file_hash(dataset) if dataset and os.path.isfile(dataset) else None,
            definition=definition,
            network=network,
            window=window_words(epochs),
            keep=check_keep(options.keep),
        )
        self._contents = contents_of(dataset)
        steps_per_epoch = options.steps_per_epoch
        self._log = StepLog(
            int(iterator.size if n_rows is None else n_rows),
            epochs,
            (lambda n_updates, n_batches: n_updates // steps_per_epoch)
            if steps_per_epoch
            else None,
        )
        if options.keep != "final":
            plan = recorder_plan(options.total_steps, steps_per_epoch, epochs)
            selection = CheckpointSelection(options.keep, plan)
            self._log.checkpoints = CheckpointWriter(
                self.folder, solver, self._parameters, selection
            )
            self._log.started()
        self.solver = RecordedSolver(solver, self._log)
        self.iterator: Any = None if iterator is None else self.watch(iterator)

    def watch(self, iterator: Any) -> WatchedIterator:
        """Return a watched iterator, where more than one feeds the training.

        Raises:
            UnsupportedError: The rows of this iterator are unknown.
        """
        return WatchedIterator(iterator, self._drawn, self._fed)

    def _drawn(self, rows: Any) -> None:
        if self._log.n_batches == 0:
            self._log.started()  # again: the initial parameters may have been loaded since
        self._log.batch(rows)

    def _fed(self, rows: np.ndarray, names: Sequence[str], data: Any) -> None:
        if self._log.n_batches == 1:
            fed = fed_batch(rows, names, data)
            self._described = dataclasses.replace(self._described, fed=fed)

    def batch(self, rows: Any) -> None:
        """Log that the next update adds the gradient of the mini-batch of these rows.

        Raises:
            RunError: They are not rows of the dataset.
        """
        self._log.batch(rows)

    def updated(self, i: int | None = None, e: int | None = None) -> None:
        """Log that the script's own solver has updated the parameters.

        Its arguments are those of the Updater's ``solver_update_callback_on_finish``.

        Args:
            i: Not used.
            e: The epoch, from 0; counted by default.
        """
        self._log.updated(self._raw_solver.learning_rate(), e)

    def step(self, *batches: Any, epoch: int | None = None) -> None:
        """Log that the script's own solver has updated the parameters with these rows.

        Args:
            batches: The row numbers of the mini-batch; of several where gradients were summed.
            epoch: From 0; counted by default.

        Raises:
            RunError: They are not rows of the dataset.
        """
        for rows in batches:
            self._log.batch(rows)
        self.updated(e=epoch)

    def save(self) -> Run:
        """Write the run folder now; leaving the ``with`` block does it, too.

        Raises:
            OutputError: It cannot be written.
            RunError: No update was recorded.
            UnsupportedError: The weight decay changed within the window.
        """
        decay = self._log.weight_decay()
        if self._weight_decay is not None:
            if decay:
                raise RunError(
                    "weight_decay is given, but recorder.solver.weight_decay was also called;"
                    " remove the argument"
                )
            decay = float(np.float32(self._weight_decay))
        solver, checkpoints = self._raw_solver, self._log.checkpoints
        steps = self._log.steps()
        return write_run(
            self.folder,
            parameters={name: v.data.get_data("r") for name, v in self._parameters.items()},
            trainable=trained_names(solver, self._parameters),
            steps=steps,
            solver_state=final_solver_state(solver, self._parameters, self._described.keep),
            checkpoints=None if checkpoints is None else partial(checkpoints.publish, steps=steps),
            network=None
            if self._network is None
            else self._network.text(steps, decay, self._described.dataset),
            contents=self._contents,
            settings=dataclasses.replace(
                self._described,
                network_functions=self._network_functions(),
                n_rows=self._log.n_rows,
                total_steps=self._log.n_updates,
                solver=solver_name(solver),
                hyperparameters=hyperparameters(solver),
                weight_decay=decay,
                window_start=self._log.window_start(steps),
                context=str(nn.get_current_context()),
                recorded_by="Recorder",
            ),
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None or (self._keep_on_error and self._log.n_updates):
                self.save()
        finally:
            if self._log.checkpoints is not None:
                self._log.checkpoints.close()

    def _network_functions(self) -> tuple[str, ...]:
        """Return what the network computes; nothing where it is unknown."""
        try:
            if self._network is not None:
                return self._network.functions()
            if self._described.definition is None:
                return ()
            read = load_definition(self._described.definition)
            return network_fingerprint(read.path, read.network, read.optimizer)
        except InfluenceError:
            return ()  # scoring gives the reason


def _parameters_of(
    solver: Any, parameters: Mapping[str, nn.Variable] | None
) -> Mapping[str, nn.Variable]:
    """Return the variables to save, which must include the solver's."""
    trained = solver.get_parameters()
    if not trained:
        raise RunError("the solver has no parameters; call its set_parameters before the Recorder")
    variables = dict(nn.get_parameters(grad_only=False) if parameters is None else parameters)
    present = set(variables.values())
    missing = [name for name, variable in trained.items() if variable not in present]
    if missing:
        raise RunError(
            f"the solver's parameter {missing[0]} is not among the parameters to save; make the"
            " Recorder in the parameter scope of the network, or give options.parameters"
        )
    return variables
