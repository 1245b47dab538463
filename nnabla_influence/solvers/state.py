"""The state of a solver beside the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.errors import RunError

STATE_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Sgd": (),
        "SgdW": ("m",),
        "Momentum": ("m",),
        "Nesterov": ("m",),
        "Adam": ("mean", "var"),
        "AdamW": ("mean", "var"),
        "AMSGRAD": ("m", "v", "v_hat"),
        "Adamax": ("m", "u"),
        "RMSprop": ("v",),
        "Adagrad": ("v",),
        "Adadelta": ("e_sqr_grad", "e_sqr_delta"),
    }
)
"""nnabla's names of the states, by solver."""

SECOND_MOMENT: Mapping[str, str] = MappingProxyType(
    {
        "Adam": "var",
        "AdamW": "var",
        "AMSGRAD": "v_hat",
        "Adamax": "u",
        "RMSprop": "v",
        "Adagrad": "v",
        "Adadelta": "e_sqr_grad",
    }
)
"""The state that the update is divided by, by solver; 0 where no gradient has been."""


@dataclass(frozen=True, eq=False)
class SolverState:
    """A solver between two updates.

    Attributes:
        t: How many updates have been done.
        values: By nnabla's name of the state (``mean``, ``var``, ...) and then by parameter,
            float32 arrays of the parameter's shape. Empty for a solver without states.

    Raises:
        RunError: ``t`` is not a number of updates, or the states differ in parameters or shapes.
    """

    t: int
    values: Mapping[str, Mapping[str, np.ndarray]]

    def __post_init__(self) -> None:
        if self.t != int(self.t) or self.t < 0:
            raise RunError(f"solver state: {self.t!r} is not a number of updates, from 0")
        values = {
            name: {key: np.asarray(array, np.float32) for key, array in arrays.items()}
            for name, arrays in self.values.items()
        }
        shapes = {
            name: {key: array.shape for key, array in arrays.items()}
            for name, arrays in values.items()
        }
        if any(some != next(iter(shapes.values())) for some in shapes.values()):
            raise RunError(
                f"solver state: {' and '.join(values)} differ in parameters or shapes; the file"
                " is damaged"
            )
        object.__setattr__(self, "t", int(self.t))
        object.__setattr__(self, "values", values)


def with_still_elements(state: SolverState, solver: str) -> tuple[SolverState, int]:
    r"""Return the state with elements that never had a gradient kept fixed, and their number.

    Their second moment is 0, and a first gradient would move them by :math:`1 / \varepsilon`, 1e8,
    times what it moves others. A trace that takes every step at the final state can meet such a
    gradient, which the training never had (a unit that was dead until its end, and is not quite
    dead at the final parameters): in the training the element did not move in any step. So its
    second moment is the largest number here, and the step 0.

    Args:
        state: The solver's, after the last step.
        solver: nnabla's name.
    """
    name = SECOND_MOMENT.get(solver, "")
    if name not in state.values:
        return state, 0
    zero = {key: value == 0 for key, value in state.values[name].items()}
    n_still = int(sum(still.sum() for still in zero.values()))
    if not n_still:
        return state, 0
    moments = {
        key: np.where(zero[key], np.finfo(np.float32).max, value)
        for key, value in state.values[name].items()
    }
    return SolverState(state.t, {**state.values, name: moments}), n_still


def collect_state(
    updates: Mapping[str, int], states: Mapping[str, Mapping[str, np.ndarray]]
) -> SolverState:
    """Return the state of parameters that were all updated together.

    nnabla counts the updates of each parameter; one whose gradient was never computed stays at 0.

    Args:
        updates: The counts, by parameter.
        states: Arrays by parameter and then by state.

    Raises:
        RunError: Other counts differ.
    """
    counts = sorted(set(updates.values()) - {0})
    if len(counts) > 1:
        raise RunError(
            f"solver state: some parameters were updated {counts[0]} times and others"
            f" {counts[-1]} times; train with all of them from the beginning to the end"
        )
    values: dict[str, dict[str, np.ndarray]] = {}
    for parameter, arrays in states.items():
        for name, array in arrays.items():
            values.setdefault(name, {})[parameter] = array
    return SolverState(counts[0] if counts else 0, values)


def get_state(solver: Any, names: Mapping[str, str] | None = None) -> SolverState:
    """Return the state of nnabla's solver, as copies.

    Args:
        solver: One that has its parameters.
        names: By parameter name, the key under which it was given to the solver; if left out,
            every parameter under its key.

    Raises:
        KeyError: The solver has no such parameter.
        RunError: It did not update all of them together.
    """
    states = solver.get_states()
    names = {key: key for key in states} if names is None else names
    return collect_state(
        {name: int(states[key].t) for name, key in names.items()},
        {
            name: {state: np.array(v.d, np.float32) for state, v in states[key].pstate.items()}
            for name, key in names.items()
        },
    )


def set_state(solver: Any, state: SolverState, names: Mapping[str, str] | None = None) -> None:
    """Set the state of nnabla's solver to copies of ``state``.

    Args:
        solver: One that has its parameters.
        state: Of at least the parameters that are set.
        names: As for `get_state`.

    Raises:
        KeyError: The solver has no such parameter.
        RunError: The state is not this solver's: other names, parameters or shapes.
    """
    states = solver.get_states()
    parameters = solver.get_parameters()
    names = {key: key for key in states} if names is None else names
    chosen = {}
    for name, key in names.items():
        changed = states[key]
        if set(changed.pstate) != set(state.values):
            raise RunError(
                f"solver state: it holds {_listed(state.values)}, but {solver.name} has"
                f" {_listed(changed.pstate)}; give the state of the same solver"
            )
        for kind, arrays in state.values.items():
            # nnabla would read beyond the end of an array of another shape.
            if name not in arrays or arrays[name].shape != parameters[key].shape:
                found = f"has shape {arrays[name].shape}" if name in arrays else "is missing"
                raise RunError(
                    f"solver state: {kind} of the parameter {name!r} {found}, and the network needs"
                    f" {parameters[key].shape}; give the state that was trained with this network"
                )
            changed.pstate[kind] = nn.Variable.from_numpy_array(arrays[name].copy())
        changed.t = state.t
        chosen[key] = changed
    solver.set_states(chosen)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "nothing"
