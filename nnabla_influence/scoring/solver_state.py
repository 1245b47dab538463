"""Whether a training left the state of its solver, which method final traces with."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

from nnabla_influence.definition import Definition, SolverSettings, load_definition
from nnabla_influence.errors import InfluenceError, ScoreError
from nnabla_influence.runs.run import SOLVER_STATES, Run
from nnabla_influence.solvers import SOLVERS, has_solver_state


def lacks_solver_state(
    definition: Definition, solver: SolverSettings, recorded: Run | None, *, own_parameters: bool
) -> bool:
    """Tell whether method final needs a state of the solver that is not there.

    Known from the listing of a run folder or of an .nnp, so before anything is decoded or built.

    Args:
        definition: Of the training.
        solver: That trained; one of `SOLVERS`.
        recorded: Its run, if there is one: its state counts alone.
        own_parameters: Whether the parameters are the model file's own, to which its state belongs.
    """
    if not SOLVERS[solver.name].needs_before:
        return False
    if recorded is not None:
        return not (recorded.folder / SOLVER_STATES).is_file()
    return not (own_parameters and has_solver_state(definition.path, definition.proto))


def check_solver_state(
    definition: Definition,
    solver: SolverSettings,
    recorded: Run | None,
    *,
    own_parameters: bool,
    or_else: str = "",
) -> None:
    """Refuse method final where the solver's state is needed and missing.

    Args:
        definition: As for `lacks_solver_state`, and so on.
        solver: That trained.
        recorded: Its run, if there is one.
        own_parameters: Whether the parameters are the model file's own.
        or_else: What else the user can do.

    Raises:
        ScoreError: It is; says how to get a training that has it, in the Console too.
    """
    if not lacks_solver_state(definition, solver, recorded, own_parameters=own_parameters):
        return
    why = f"without which method final cannot trace the solver {solver.name}"
    if recorded is not None:
        raise ScoreError(
            f"{recorded.folder}: has no {SOLVER_STATES}, {why}; save it with solver.save_states, or"
            " record the training again"
        )
    path = definition.path
    if not own_parameters:
        raise ScoreError(
            f"{path}: the parameters that were given in place of its own come without the solver's"
            f" state, {why}; give the .nnp of the end of the training alone"
        )
    if not definition.parameters:
        return  # The missing parameters are said first, by whoever reads them.
    other = _beside(path)
    if other is not None:
        raise ScoreError(
            f"{path}: carries no state of the solver, {why}; give {other.name} beside it, which"
            f" does{or_else}"
        )
    raise ScoreError(
        f"{path}: carries no state of the solver, {why}. A current Console saves it in every fifth"
        " epoch: train again there, with a number of epochs that is a multiple of 5, and choose the"
        f" file of the last epoch{or_else}"
    )


def _beside(path: Path) -> Path | None:
    """Return the file of the end of the same training, if that carries the state."""
    finals = [p for p in path.parent.glob("result*.nnp") if "current" in p.name or "last" in p.name]
    for other in sorted(finals):
        with contextlib.suppress(InfluenceError, OSError, zipfile.BadZipFile):
            proto = load_definition(other).proto
            if other != path and has_solver_state(other, proto):
                return other
    return None
