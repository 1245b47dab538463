"""Record the training of a script: two or three lines around the loop that is there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Union

import nnabla as nn
import numpy as np

from nnabla_influence.errors import RunError
from nnabla_influence.files import file_hash
from nnabla_influence.recording import RecordedSolver, Recording, hyperparameters, solver_name
from nnabla_influence.row_numbers import WatchedIterator
from nnabla_influence.run import Run, RunSettings, check_replaceable, write_run


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
    plus weight decay. Clipped or scaled gradients are refused. Draw from ``recorder.iterator`` only
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
        steps_per_epoch: Optional[int] = None,
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
            window: Epochs to keep, counted from the end; ``"all"`` for every step.
            steps_per_epoch: Solver updates of an epoch. By default epochs are counted back from
                the end: the last one is the last updates that hold no more than ``n_rows`` rows.
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
        if not (window == "all" or (isinstance(window, int) and window >= 1)):
            raise RunError(f"window: {window!r} is neither a number of epochs from 1 nor 'all'")
        self._raw_solver = solver
        self._parameters = _parameters_of(solver, parameters)
        self._window = window
        self._weight_decay = weight_decay
        self._keep_on_error = keep_on_error
        known = dataset is not None and os.path.isfile(dataset)
        self._described = RunSettings(
            dataset=dataset,
            dataset_hash=file_hash(dataset) if dataset is not None and known else None,
            definition=definition,
            network=network,
        )
        self._recording = Recording(
            int(iterator.size if n_rows is None else n_rows),
            None if isinstance(window, str) else window,
            (lambda n_updates, n_batches: n_updates // steps_per_epoch)
            if steps_per_epoch
            else None,
        )
        self.solver = RecordedSolver(solver, self._recording)
        self.iterator = None if iterator is None else self.watch(iterator)

    def watch(self, iterator: Any) -> WatchedIterator:
        """Return an iterator whose mini-batches are noted, where more than one feeds the training.

        Raises:
            UnsupportedError: The rows of this iterator cannot be told.
        """
        return WatchedIterator(iterator, self._recording.batch)

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
        epochs = "all" if isinstance(self._window, str) else f"last {self._window} epochs"
        solver = self._raw_solver
        trainable = set(solver.get_parameters().values())
        return write_run(
            self.folder,
            parameters={name: v.data.get_data("r") for name, v in self._parameters.items()},
            trainable={name for name, v in self._parameters.items() if v in trainable},
            steps=self._recording.steps(),
            settings=dataclasses.replace(
                self._described,
                n_rows=self._recording.n_rows,
                total_steps=self._recording.n_updates,
                solver=solver_name(solver),
                hyperparameters=hyperparameters(solver),
                weight_decay=decay,
                window=epochs,
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
        if error is None or (self._keep_on_error and self._recording.n_updates):
            self.save()


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
