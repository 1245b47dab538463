"""The solvers that can be traced: each update rule with its adjoint, and the solvers' states."""

from nnabla_influence.solvers.adjoint import Adjoint, Before
from nnabla_influence.solvers.build import SOLVERS, build_adjoint, build_solver, check_solver
from nnabla_influence.solvers.saved_state import has_solver_state, read_solver_state
from nnabla_influence.solvers.settings import FUSED_DECAY
from nnabla_influence.solvers.state import (
    STATE_NAMES,
    SolverState,
    get_state,
    set_state,
    with_still_elements,
)

__all__ = [
    "FUSED_DECAY",
    "SOLVERS",
    "STATE_NAMES",
    "Adjoint",
    "Before",
    "SolverState",
    "build_adjoint",
    "build_solver",
    "check_solver",
    "get_state",
    "has_solver_state",
    "read_solver_state",
    "set_state",
    "with_still_elements",
]
