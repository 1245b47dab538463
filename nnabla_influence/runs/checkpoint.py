"""A checkpoint of a training: all that its next step depends on, except data and learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnabla_influence.errors import RunError
from nnabla_influence.solvers.state import SolverState


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training between two steps.

    It is the state after an update and before the next step's forward, which moves the running
    statistics of BatchNormalization.

    Attributes:
        step: Number of the next update, from 0.
        parameters: Every parameter that the network reads, running statistics too, float32, by
            nnabla's names (``affine/W``).
        solver: The solver's state.

    Raises:
        RunError: The step is negative, or an array is not float32 or not finite.
    """

    step: int
    parameters: Mapping[str, np.ndarray]
    solver: SolverState

    def __post_init__(self) -> None:
        if self.step < 0:
            raise RunError(f"a checkpoint before step {self.step}: steps are numbered from 0")
        if not self.parameters:
            raise RunError(f"the checkpoint before step {self.step} holds no parameters")
        for name, value in self.parameters.items():
            self._check(f"parameter {name}", value)
        for state, values in self.solver.values.items():
            for name, value in values.items():
                if name not in self.parameters:
                    raise RunError(
                        f"the checkpoint before step {self.step}: the solver has a state {state} of"
                        f" {name}, which is not a parameter"
                    )
                self._check(f"solver state {state} of {name}", value)

    @property
    def n_bytes(self) -> int:
        """Its size in memory, in bytes."""
        states = (value for values in self.solver.values.values() for value in values.values())
        return sum(value.nbytes for value in (*self.parameters.values(), *states))

    def _check(self, what: str, value: np.ndarray) -> None:
        where = f"the checkpoint before step {self.step}: {what}"
        if value.dtype != np.float32:
            raise RunError(f"{where} is {value.dtype}, not float32")
        if not np.isfinite(value).all():
            raise RunError(
                f"{where} is not finite; the training diverged, train again with a lower learning"
                " rate"
            )
