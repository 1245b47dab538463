"""The two methods: which state, and which objective, stands for each step of the trace."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.definition import (
    Definition,
    Mode,
    SolverSettings,
    build_objective,
    running_statistics,
    validation_definition,
)
from nnabla_influence.definition.objective import check_parameters
from nnabla_influence.device import Device
from nnabla_influence.engine.gradients import Derivatives
from nnabla_influence.errors import ModelError, RunError, ScoreError
from nnabla_influence.influence.step_derivatives import StepDerivatives
from nnabla_influence.influence.step_inputs import StepInputs, step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.influence.trajectory import (
    FinalTrajectory,
    RecordedTrajectory,
    ReplayedTrajectory,
    Trajectory,
)
from nnabla_influence.options import Options
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import FetchRows
from nnabla_influence.runs.storage import size_text
from nnabla_influence.scoring.chunk import LEAST, default_chunk_size
from nnabla_influence.scoring.opening import solver_that_trained
from nnabla_influence.solvers import (
    STATE_NAMES,
    Adjoint,
    SolverState,
    read_solver_state,
    with_still_elements,
)
from nnabla_influence.wording import with_option


@dataclass(frozen=True, eq=False)
class Method:
    """How the steps of a trace are seen.

    Attributes:
        at_end: Of the mean loss in test mode at the final parameters; it gives the validation
            gradient, with respect to ``n_statistics`` running statistics too. Of the network that
            validates, where it takes other inputs than the trained one.
        of_rows: Of the trained network in test mode at the final parameters: the losses and the
            predictions of training rows; mostly ``at_end``.
        of_steps: Of the training objective at each step's state. It may share its network with
            ``at_end``, whose parameters then move once the trace begins.
        trajectory: The states.
        final: The last one.
        inputs: The training data of each step.
        n_statistics: q, the number of values of running statistics that the trace takes back.
        explanation: For the user.
    """

    at_end: Derivatives
    of_rows: Derivatives
    of_steps: StepDerivatives
    trajectory: Trajectory
    final: Checkpoint
    inputs: StepInputs
    n_statistics: int
    explanation: str

    def split(self, gradient: nn.NdArray) -> tuple[nn.NdArray, nn.NdArray | None]:
        """Return copies of u and r, the parts of ``at_end``'s gradient; r is None where q is 0."""
        n_parameters = gradient.size - self.n_statistics
        u, r = nn.NdArray((n_parameters,)), nn.NdArray((self.n_statistics,))
        u.copy_from(gradient.narrow(0, 0, n_parameters))
        if not self.n_statistics:
            return u, None
        r.copy_from(gradient.narrow(0, n_parameters, self.n_statistics))
        return u, r

    def check_state(self, adjoint: Adjoint, solver: str) -> None:
        """Refuse to trace a solver whose state is needed and not known.

        Raises:
            ScoreError: It is not.
        """
        known = self.final.solver.values
        trained = set(self.at_end.objective.definition.trainable)
        if adjoint.needs_before and not all(
            trained <= set(known.get(state, ())) for state in STATE_NAMES[solver]
        ):
            raise ScoreError(
                f"the state of the solver {solver} lacks parameters that were trained; give the"
                " file of the training's last epoch, or train and record again"
            )


def final_method(
    definition: Definition,
    recorded: Run | None,
    options: Options,
    device: Device,
    fetch: FetchRows,
    *,
    model_state: bool = True,
) -> Method:
    """Every step at the final parameters, running statistics and solver state (Suzuki et al.).

    Args:
        definition: Of the training.
        recorded: The run, whose parameters and state count, if there is one.
        options: The user's.
        device: Where to compute.
        fetch: Gives the rows of the training data.
        model_state: See `final_checkpoint`.

    Raises:
        ModelError: There are no parameters, or they do not fit.
        RunError: Those of the run do not fit.
    """
    final = final_checkpoint(definition, recorded, model_state=model_state)
    chunk_size = _chunk_size(definition, recorded, options)
    normalized = running_statistics(definition) != ()
    batch_statistics = normalized and not options.running_statistics
    mode = Mode.VALIDATION if batch_statistics else Mode.TEST
    at_end, of_rows = _at_end(definition, recorded, final, chunk_size, device, mode)

    def build(size: int) -> Derivatives:
        if not batch_statistics:
            return of_rows
        return _derivatives(definition, recorded, final, size, device, Mode.BATCH)

    explanation = "every step at the final parameters"
    if batch_statistics:
        explanation += ", BatchNormalization with each mini-batch's statistics"
    elif normalized:
        explanation += ", BatchNormalization with its running statistics"
    name = solver_that_trained(definition, recorded).name
    state, n_still = with_still_elements(final.solver, name)
    if n_still:
        final = dataclasses.replace(final, solver=state)
        explanation += f"; {n_still} parameters that never had a gradient stand still"
    return Method(
        at_end=at_end,
        of_rows=of_rows,
        of_steps=StepDerivatives(build, whole=batch_statistics, chunk_size=chunk_size),
        trajectory=FinalTrajectory(final),
        final=final,
        inputs=StepInputs(fetch),
        n_statistics=_n_statistics(at_end, definition, final),
        explanation=explanation,
    )


def exact_method(
    definition: Definition,
    recorded: Run,
    solver: SolverSettings,
    options: Options,
    device: Device,
    fetch: FetchRows,
) -> Method:
    """Every step at its own parameters, batch statistics and solver state.

    Args:
        definition: Of the training.
        recorded: Keeps states (`Run.checkpoints`).
        solver: That trained.
        options: The user's.
        device: Where to compute.
        fetch: Gives the rows of the training data, to replay what the run does not keep.

    Raises:
        ModelError: The network cannot be built.
        NotReproducibleError: This device does not give the run's last steps again.
        RunError: The run does not fit the model.
        UnsupportedError: The training network cannot be traced.
    """
    final = final_checkpoint(definition, recorded)
    chunk_size = _chunk_size(definition, recorded, options)
    at_end, of_rows = _at_end(definition, recorded, final, chunk_size, device, Mode.VALIDATION)
    inputs = step_inputs(definition, recorded, fetch, device.context)

    @functools.cache
    def build(size: int) -> Derivatives:
        return _derivatives(definition, recorded, final, size, device, Mode.TRAINING)

    if running_statistics(definition) or inputs.random:
        largest = max(len(batch) for step in recorded.steps for batch in step.batches)
        whole = build(largest).objective.whole_batch
        of_steps = StepDerivatives(build, whole=whole, chunk_size=chunk_size)
    else:
        of_steps = StepDerivatives(lambda size: of_rows, whole=False, chunk_size=chunk_size)
    numbers = [step.step for step in recorded.steps]
    trainer = Trainer(definition, solver, device.context)
    trajectory: Trajectory
    if set(numbers) <= set(recorded.checkpoints):
        trajectory = kept = RecordedTrajectory(recorded, recorded.steps)
        kept.check(trainer, inputs)
        explanation = "every step at its own parameters, as the run kept them"
    else:
        trajectory = replayed = ReplayedTrajectory(recorded, trainer, inputs)
        replayed.before(recorded.steps[-1])  # It ends at the final parameters, or says so now.
        memory = size_text(final.n_bytes * (replayed.longest_segment + 1))
        explanation = (
            "every step at its own parameters, replayed from"
            f" {len(recorded.checkpoints)} sets that the run kept (up to {memory} of memory)"
        )
    return Method(
        at_end=at_end,
        of_rows=of_rows,
        of_steps=of_steps,
        trajectory=trajectory,
        final=final,
        inputs=inputs,
        n_statistics=_n_statistics(at_end, definition, final),
        explanation=explanation,
    )


def final_checkpoint(
    definition: Definition, recorded: Run | None, *, model_state: bool = True
) -> Checkpoint:
    """Return the state after the last step.

    Args:
        definition: Of the training.
        recorded: The run, whose parameters and state count, if there is one.
        model_state: Whether the solver's state in the model file belongs to the parameters.

    Raises:
        ModelError: There are no trained parameters, or they are not finite.
    """
    if recorded is not None:
        parameters: Mapping[str, np.ndarray] = recorded.parameters()
        state = recorded.solver_state()
        n_steps = recorded.steps[-1].step + 1
    else:
        parameters, n_steps = definition.parameters, 0
        state = read_solver_state(definition.path) if model_state else None
        if not parameters:
            raise ModelError(
                f"{definition.path}: holds no trained parameters; choose the .nnp of the training,"
                f" or give an .h5 {with_option('-p')} or a run {with_option('--run', 'run')}"
            )
        shapes = {name: value.shape for name, value in parameters.items()}
        check_parameters(definition.path, shapes, parameters)  # finite?
    return Checkpoint(n_steps, parameters, state or SolverState(n_steps, {}))


def _at_end(
    definition: Definition,
    recorded: Run | None,
    final: Checkpoint,
    size: int,
    device: Device,
    mode: Mode,
) -> tuple[Derivatives, Derivatives]:
    """Return the derivatives for the validation rows, and those for the training rows."""
    validating = validation_definition(definition)
    at_end = _derivatives(validating, recorded, final, size, device, mode)
    if validating is definition:
        return at_end, at_end
    return at_end, _derivatives(definition, recorded, final, size, device, Mode.TEST)


def _n_statistics(at_end: Derivatives, definition: Definition, final: Checkpoint) -> int:
    return at_end.size - sum(final.parameters[name].size for name in definition.trainable)


def _derivatives(
    definition: Definition,
    recorded: Run | None,
    checkpoint: Checkpoint,
    size: int,
    device: Device,
    mode: Mode,
) -> Derivatives:
    try:
        objective = build_objective(definition, size, device.context, checkpoint.parameters, mode)
    except ModelError as error:
        if recorded is None:
            raise
        raise RunError(f"{recorded.folder}: does not fit the model; {error}") from error
    return Derivatives(objective, device.context)


def _chunk_size(definition: Definition, run: Run | None, options: Options) -> int:
    if options.chunk_size is not None:
        return max(options.chunk_size, LEAST)
    if run is not None:
        batch_size = max(len(batch) for step in run.steps for batch in step.batches)
    else:
        defined = definition.training.batch_size if definition.training else 0
        batch_size = options.batch_size or defined
    return default_chunk_size(definition, batch_size)
