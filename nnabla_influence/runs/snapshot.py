"""Take the state of a training out of nnabla while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import nnabla as nn
import nnabla.functions as F
import numpy as np

from nnabla_influence.errors import RunError
from nnabla_influence.runs.checkpoints import Array
from nnabla_influence.solvers.state import SolverState, collect_state, get_state


class Snapshot:
    """Copies parameters and a solver's state into one flat array.

    nnabla puts them end to end, in one static graph: taking each of them out is four times dearer.

    Args:
        solver: nnabla's solver.
        parameters: Everything that the network reads, by the names to use.

    Attributes:
        arrays: What lies where in the flat array; known after the first `take`.
    """

    def __init__(self, solver: Any, parameters: Mapping[str, nn.Variable]):
        self.arrays: tuple[Array, ...] = ()
        self._solver = solver
        self._parameters = dict(parameters)
        self._keys = _keys(solver, parameters)
        self._variables: list[nn.Variable] = []
        self._flat: Optional[nn.Variable] = None

    def take(self) -> tuple[int, np.ndarray]:
        """Return the solver's t, and the values of now, float32, which the next call overwrites.

        Raises:
            RunError: A shape changed since the first call, or the parameters were not updated
                together.
        """
        states = self._solver.get_states()
        state_of = {name: states[key] for name, key in self._keys.items()}
        variables = list(self._parameters.values())
        arrays = [Array(name, "", v.shape) for name, v in self._parameters.items()]
        for name, state in state_of.items():
            for kind in sorted(state.pstate):
                variables.append(state.pstate[kind])
                arrays.append(Array(name, kind, state.pstate[kind].shape))
        if self._flat is None or arrays != list(self.arrays) or variables != self._variables:
            self._build(variables, tuple(arrays))
        assert self._flat is not None
        self._flat.forward()
        t = collect_state({name: int(state.t) for name, state in state_of.items()}, {}).t
        return t, np.asarray(self._flat.data.get_data("r"), np.float32)

    def _build(self, variables: list[nn.Variable], arrays: tuple[Array, ...]) -> None:
        if self.arrays and arrays != self.arrays:
            changed = next(new for new, old in zip(arrays, self.arrays) if new != old)
            raise RunError(
                f"the parameter {changed.parameter} or its solver's state changed its shape while"
                " the training was recorded; make the Recorder after the network"
            )
        with nn.context_scope(_in_float32(nn.get_current_context())), nn.auto_forward(False):
            flat = [F.reshape(v, (v.size,), inplace=False) for v in variables]
            self._flat = F.concatenate(*flat, axis=0)
        self.arrays, self._variables = arrays, variables


def final_solver_state(
    solver: Any, parameters: Mapping[str, nn.Variable], keep: str
) -> Optional[SolverState]:
    """Return a copy of an nnabla solver's state at the end of a training.

    Args:
        solver: nnabla's solver.
        parameters: The variables that it trains, and maybe others, by the names to use.
        keep: Of the run; for ``final`` a state that cannot be told is no reason to lose it.

    Raises:
        RunError: The parameters were not updated together.
    """
    keys = _keys(solver, parameters)
    try:
        return get_state(solver, keys)
    except RunError:
        if keep == "final":
            return None
        raise


def trained_names(solver: Any, parameters: Mapping[str, nn.Variable]) -> list[str]:
    """Return the names in ``parameters`` of what an nnabla solver trains, in their order there."""
    return list(_keys(solver, parameters))


def _keys(solver: Any, parameters: Mapping[str, nn.Variable]) -> dict[str, str]:
    """Return the solver's own names, as of another parameter scope, by those in ``parameters``."""
    keys = {variable: key for key, variable in solver.get_parameters().items()}
    return {name: keys[variable] for name, variable in parameters.items() if variable in keys}


def _in_float32(context: nn.Context) -> nn.Context:
    """Return the context without half precision, which would round the copies."""
    backend = [f"{name.split(':')[0]}:float" for name in context.backend]
    return nn.Context(backend, context.array_class, context.device_id)
