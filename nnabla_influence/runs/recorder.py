"""Record the training of a script: two or three lines around the loop that is there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Union

import nnabla as nn
import numpy as np

from nnabla_influence.definition.definition import load_definition
from nnabla_influence.definition.fingerprint import network_fingerprint
from nnabla_influence.errors import InfluenceError, RunError
from nnabla_influence.files import file_hash
from nnabla_influence.runs.capture import CheckpointKeeper
from nnabla_influence.runs.fed_batch import fed_batch
from nnabla_influence.runs.keep import Kept, check_keep, recorder_plan, window_epochs, window_words
from nnabla_influence.runs.recording import (
    RecordedSolver,
    Recording,
    contents_of,
    hyperparameters,
    solver_name,
)
from nnabla_influence.runs.row_numbers import WatchedIterator
from nnabla_influence.runs.run import Run, RunSettings, check_replaceable, write_run
from nnabla_influence.runs.snapshot import final_solver_state, trained_names
from nnabla_influence.runs.staging import remove_leftovers


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

    With data of your own, keep your loop and say after each update which rows it used, numbered
    from 0 as in the dataset CSV that you will score with::

        with Recorder("run", solver=solver, n_rows=len(x_train), weight_decay=1e-4) as recorder:
            ...
                solver.update()
                recorder.step(rows)

    With `nnabla.experimental.framework`, hand `updated` to the Updater as
    ``solver_update_callback_on_finish`` and feed from ``recorder.iterator`` (or call `batch`).

    The loss must be the mean over the mini-batch: a recorded step stands for the gradient
    (1/|batch|) sum grad l_k, summed over the mini-batches that were drawn since the last update,
    plus weight decay. Gradients that ``recorder.solver`` clips or scales are
    refused. Draw from ``recorder.iterator`` only
    what is trained on.

    Attributes:
        solver: The solver, noted.
        iterator: The data iterator, noted; None if none was given.
    """

    def __init__(
        self,
        folder: Union[str, os.PathLike[str]],
        *,
        solver: Any,
        iterator: Any = None,
        n_rows: Optional[int] = None,
        weight_decay: Optional[float] = None,
        window: Union[int, str] = 2,
        keep: str = "sqrt",
        steps_per_epoch: Optional[int] = None,
        total_steps: Optional[int] = None,
        parameters: Optional[Mapping[str, nn.Variable]] = None,
        dataset: Optional[str] = None,
        definition: Optional[str] = None,
        network: Optional[str] = None,
        keep_on_error: bool = False,
    ):
        """Prepare to record.

        Args:
            folder: The run folder to write. A run that is there is replaced.
            solver: The solver, its parameters set.
            iterator: The nnabla ``DataIterator`` of the training, best as soon as it is made.
            n_rows: Rows of the training data set; the iterator's by default.
            weight_decay: The rate, where the loop does not call ``recorder.solver.weight_decay``.
            window: Epochs to keep, counted from the end; ``"last"`` for one, ``"all"`` for every
                step.
            keep: Which states of the training to keep beside the last: none (``"final"``), so many
                that the others are quickly computed again (``"sqrt"``), or that before every step
                (``"all"``; they are written through the whole training, and those that fall out of
                the window removed). Make the Recorder before the first step, after loading what the
                training starts from.
            steps_per_epoch: Solver updates of an epoch. By default epochs are counted back from
                the end: the last one is the last updates that hold no more than ``n_rows`` rows.
            total_steps: Solver updates of the whole training, so that ``keep="sqrt"`` finds the
                spacing at once; by default the states thin out as the training goes on. A
                window of a number of epochs needs ``steps_per_epoch`` too.
            parameters: All that the network reads, by the names of the network definition; by
                default those of the current parameter scope.
            dataset: Path of the training data set's CSV; scoring notices another one, or a change.
            definition: Path of the network definition, for the reader.
            network: Name of the network in it, for the reader.
            keep_on_error: Write what there is also where the block ends with an exception, such
                as the KeyboardInterrupt of Ctrl-C.

        Raises:
            OutputError: The folder holds other things than a run.
            RunError: ``n_rows`` is missing, or parameters of the solver are not in scope.
            UnsupportedError: The rows of this iterator cannot be told.
        """
        self.folder = Path(folder)
        check_replaceable(self.folder)
        if n_rows is None and iterator is None:
            raise RunError("give the data iterator, or n_rows, the number of rows of the dataset")
        epochs = window_epochs(window)
        self._raw_solver = solver
        self._parameters = _parameters_of(solver, parameters)
        self._weight_decay = weight_decay
        self._keep_on_error = keep_on_error
        known = dataset is not None and os.path.isfile(dataset)
        self._described = RunSettings(
            dataset=dataset,
            dataset_hash=file_hash(dataset) if dataset is not None and known else None,
            definition=definition,
            network=network,
            window=window_words(epochs),
            keep=check_keep(keep),
        )
        self._contents = contents_of(dataset)
        self._recording = Recording(
            int(iterator.size if n_rows is None else n_rows),
            epochs,
            (lambda n_updates, n_batches: n_updates // steps_per_epoch)
            if steps_per_epoch
            else None,
        )
        remove_leftovers(self.folder)
        if keep != "final":
            plan = recorder_plan(total_steps, steps_per_epoch, epochs)
            kept = Kept(keep, plan)
            self._recording.keeper = CheckpointKeeper(self.folder, solver, self._parameters, kept)
            self._recording.begun()
        self.solver = RecordedSolver(solver, self._recording)
        self.iterator = None if iterator is None else self.watch(iterator)

    def watch(self, iterator: Any) -> WatchedIterator:
        """Return an iterator whose mini-batches are noted, where more than one feeds the training.

        Raises:
            UnsupportedError: The rows of this iterator cannot be told.
        """
        return WatchedIterator(iterator, self._drawn, self._note_fed)

    def _drawn(self, rows: Any) -> None:
        if self._recording.n_batches == 0:
            self._recording.begun()  # once more: what it starts from may have been loaded since
        self._recording.batch(rows)

    def _note_fed(self, rows: np.ndarray, names: Sequence[str], data: Any) -> None:
        if self._recording.n_batches == 1:
            fed = fed_batch(rows, names, data)
            self._described = dataclasses.replace(self._described, fed=fed)

    def batch(self, rows: Any) -> None:
        """Say that the next update adds the gradient of the mini-batch of these rows.

        Raises:
            RunError: They are not rows of the data set.
        """
        self._recording.batch(rows)

    def updated(self, i: Optional[int] = None, e: Optional[int] = None) -> None:
        """Say that the solver, not the recorder's, has updated the parameters.

        Its arguments are those of the Updater's ``solver_update_callback_on_finish``.

        Args:
            i: Not used.
            e: The epoch, from 0; counted by default.
        """
        self._recording.updated(self._raw_solver.learning_rate(), e)

    def step(self, *batches: Any, epoch: Optional[int] = None) -> None:
        """Say that the solver has updated the parameters with these rows.

        Args:
            batches: The row numbers of the mini-batch; of several where gradients were summed.
            epoch: From 0; counted by default.

        Raises:
            RunError: They are not rows of the data set.
        """
        for rows in batches:
            self._recording.batch(rows)
        self.updated(e=epoch)

    def save(self) -> Run:
        """Write the run folder as of now; leaving the ``with`` block does it.

        Raises:
            OutputError: It cannot be written.
            RunError: No update was recorded.
            UnsupportedError: The weight decay changed within the window.
        """
        noted = self._recording.weight_decay()
        if noted and self._weight_decay is not None:
            raise RunError(
                "the weight decay was noted from recorder.solver and also given as weight_decay;"
                " leave the argument out"
            )
        decay = noted if self._weight_decay is None else float(np.float32(self._weight_decay))
        solver, keeper = self._raw_solver, self._recording.keeper
        steps = self._recording.steps()
        return write_run(
            self.folder,
            parameters={name: v.data.get_data("r") for name, v in self._parameters.items()},
            trainable=trained_names(solver, self._parameters),
            steps=steps,
            solver_state=final_solver_state(solver, self._parameters, self._described.keep),
            checkpoints=None if keeper is None else keeper.publisher(steps),
            contents=self._contents,
            settings=dataclasses.replace(
                self._described,
                network_functions=_network_functions(self._described.definition),
                n_rows=self._recording.n_rows,
                total_steps=self._recording.n_updates,
                solver=solver_name(solver),
                hyperparameters=hyperparameters(solver),
                weight_decay=decay,
                window_start=self._recording.window_start(steps),
                context=str(nn.get_current_context()),
                recorded_by="Recorder",
            ),
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            if error is None or (self._keep_on_error and self._recording.n_updates):
                self.save()
        finally:
            if self._recording.keeper is not None:
                self._recording.keeper.close()


def _network_functions(definition: Optional[str]) -> tuple[str, ...]:
    """Return what the network of a definition computes; none where that cannot be known."""
    if definition is None or not os.path.isfile(definition):
        return ()
    try:
        read = load_definition(definition)
        return network_fingerprint(read.path, read.network, read.optimizer)
    except InfluenceError:
        return ()  # Scoring it says why.


def _parameters_of(
    solver: Any, given: Optional[Mapping[str, nn.Variable]]
) -> Mapping[str, nn.Variable]:
    """Return the variables to save, which must hold the solver's."""
    trained = solver.get_parameters()
    if not trained:
        raise RunError(
            "the solver has no parameters; call solver.set_parameters(...) before the Recorder"
        )
    variables = dict(nn.get_parameters(grad_only=False) if given is None else given)
    present = set(variables.values())
    missing = [name for name, variable in trained.items() if variable not in present]
    if missing:
        raise RunError(
            f"the solver's parameter {missing[0]} is not among the parameters to save; make the"
            " Recorder in the parameter scope of the network, or give parameters="
        )
    return variables
