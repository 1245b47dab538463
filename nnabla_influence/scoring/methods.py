"""The two methods: which checkpoint, and which objective, stands for each step of the trace."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.definition import (
    Definition,
    Mode,
    Objective,
    build_objective,
    running_statistics,
    validation_definition,
)
from nnabla_influence.definition.refusals import check_parameters
from nnabla_influence.engine import Engine, build_engine, check_differentiable
from nnabla_influence.errors import ModelError, RunError
from nnabla_influence.influence.step_engines import (
    LEAST_CHUNK,
    StepEngines,
    default_chunk_size,
)
from nnabla_influence.influence.step_inputs import StepInputs, step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.influence.trajectory import (
    FinalTrajectory,
    RecordedTrajectory,
    ReplayedTrajectory,
    Trajectory,
)
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run
from nnabla_influence.scoring.inputs import Inputs
from nnabla_influence.solvers import SolverState, read_solver_state, with_still_elements
from nnabla_influence.text import size_text, with_option

BLOCK = 256


@dataclass(frozen=True, eq=False)
class Method:
    """How the steps of a trace are computed.

    Attributes:
        at_end: Of the mean loss in test mode at the final parameters; it gives the validation
            gradient, with respect to ``n_statistics`` running statistics too. Of the network that
            validates, where that has other inputs than the trained one.
        of_rows: Of the trained network in test mode at the final parameters, for the losses and
            predictions of training rows; mostly ``at_end``.
        of_steps: Of the training objective at each step's checkpoint. It may share its network
            with ``at_end``, whose parameters then change once the trace begins.
        objective: Builds that of the steps, at the final checkpoint, for mini-batches of a size.
        trajectory: The checkpoints.
        final: The last one.
        step_inputs: The training data of each step.
        n_statistics: q, the number of values of running statistics that the trace takes back.
        explanation: For the user.
        why: Why it was chosen, in a few words for the ranking's header, without commas.
    """

    at_end: Engine
    of_rows: Engine
    of_steps: StepEngines
    objective: Callable[[int], Objective]
    trajectory: Trajectory
    final: Checkpoint
    step_inputs: StepInputs
    n_statistics: int
    explanation: str
    why: str = "as asked"

    @property
    def name(self) -> str:
        """``exact`` or ``final``."""
        return "exact" if self.trajectory.exact else "final"

    def split(self, gradient: nn.NdArray) -> tuple[nn.NdArray, nn.NdArray | None]:
        """Return copies of u and r, the parts of ``at_end``'s gradient; r is None where q is 0."""
        n_parameters = gradient.size - self.n_statistics
        u, r = nn.NdArray((n_parameters,)), nn.NdArray((self.n_statistics,))
        u.copy_from(gradient.narrow(0, 0, n_parameters))
        if not self.n_statistics:
            return u, None
        r.copy_from(gradient.narrow(0, n_parameters, self.n_statistics))
        return u, r


def final_method(inputs: Inputs) -> Method:
    """Every step at the final parameters, running statistics and solver state (Suzuki et al.).

    Raises:
        ModelError: There are no parameters, or they do not fit.
        RunError: Those of the run do not fit.
    """
    definition, options = inputs.definition, inputs.options
    final = final_checkpoint(inputs)
    chunk_size = _chunk_size(inputs)
    normalized = running_statistics(definition) != ()
    in_test_mode = options.running_statistics or options.method == "influence-function"
    batch_statistics = normalized and not in_test_mode
    mode = Mode.VALIDATION if batch_statistics else Mode.TEST
    at_end, of_rows = _at_end(inputs, final, chunk_size, mode)
    steps_mode = Mode.BATCH if batch_statistics else Mode.TEST
    objective = functools.partial(_objective, inputs, definition, final, steps_mode)

    def build(size: int) -> Engine:
        return _built(inputs, objective(size)) if batch_statistics else of_rows

    explanation = "every step at the final parameters"
    if batch_statistics:
        explanation += ", BatchNormalization with each mini-batch's statistics"
    elif normalized:
        explanation += ", BatchNormalization with its running statistics"
    state, n_still = with_still_elements(final.solver, inputs.solver.name)
    if n_still:
        final = dataclasses.replace(final, solver=state)
        explanation += f"; {n_still} parameters that never had a gradient are kept fixed"
    return Method(
        at_end=at_end,
        of_rows=of_rows,
        of_steps=StepEngines(build, whole=batch_statistics, chunk_size=chunk_size),
        objective=objective,
        trajectory=FinalTrajectory(final),
        final=final,
        step_inputs=StepInputs(inputs.train.batch),
        n_statistics=_n_statistics(at_end, definition, final),
        explanation=explanation,
    )


def exact_method(inputs: Inputs, run: Run) -> Method:
    """Every step at its own parameters, batch statistics and solver state (Hara et al.).

    The steps between the run's checkpoints are replayed.

    Raises:
        ModelError: The network cannot be built.
        NotReproducibleError: A replay on this device does not give the run's last steps.
        RunError: The run does not fit the model.
        UnsupportedError: The training network cannot be traced.
    """
    definition, context = inputs.definition, inputs.device.context
    final = final_checkpoint(inputs)
    chunk_size = _chunk_size(inputs)
    at_end, of_rows = _at_end(inputs, final, chunk_size, Mode.VALIDATION)
    of_batches = step_inputs(definition, run, inputs.train.batch, context)

    objective = functools.partial(_objective, inputs, definition, final, Mode.TRAINING)

    @functools.cache
    def build(size: int) -> Engine:
        return _built(inputs, objective(size))

    if running_statistics(definition) or of_batches.random:
        largest = max(len(batch) for step in run.steps for batch in step.batches)
        whole = build(largest).objective.whole_batch
        of_steps = StepEngines(build, whole=whole, chunk_size=chunk_size)
    else:
        of_steps = StepEngines(lambda size: of_rows, whole=False, chunk_size=chunk_size)
    trainer = Trainer(definition, inputs.solver, context)
    trajectory: Trajectory
    if {step.step for step in run.steps} <= set(run.checkpoints):
        trajectory = kept = RecordedTrajectory(run, run.steps)
        kept.check(trainer, of_batches)
        explanation = "every step at its own parameters, as the run kept them"
    else:
        trajectory = replayed = ReplayedTrajectory(run, trainer, of_batches)
        replayed.before(run.steps[-1])  # It must end at the final parameters.
        memory = size_text(final.n_bytes * (replayed.longest_segment + 1))
        explanation = (
            f"every step at its own parameters, replayed from {len(run.checkpoints)} checkpoints"
            f" (up to {memory} of memory)"
        )
    return Method(
        at_end=at_end,
        of_rows=of_rows,
        of_steps=of_steps,
        objective=objective,
        trajectory=trajectory,
        final=final,
        step_inputs=of_batches,
        n_statistics=_n_statistics(at_end, definition, final),
        explanation=explanation,
    )


def final_checkpoint(inputs: Inputs) -> Checkpoint:
    """Return the checkpoint after the last step: the run's, else the model file's.

    Raises:
        ModelError: There are no trained parameters, or they are not finite.
    """
    definition, run = inputs.definition, inputs.run
    if run is not None:
        n_steps = run.steps[-1].step + 1
        state = run.solver_state()
        return Checkpoint(n_steps, run.parameters(), state or SolverState(n_steps, {}))
    parameters: Mapping[str, np.ndarray] = definition.parameters
    state = read_solver_state(definition.path) if inputs.own_parameters else None
    if not parameters:
        raise ModelError(
            f"{definition.path}: holds no trained parameters; choose the .nnp of the training,"
            f" or give an .h5 {with_option('-p')} or a run {with_option('--run', 'run')}"
        )
    shapes = {name: value.shape for name, value in parameters.items()}
    check_parameters(definition.path, shapes, parameters)  # finite?
    return Checkpoint(0, parameters, state or SolverState(0, {}))


def _at_end(inputs: Inputs, final: Checkpoint, size: int, mode: Mode) -> tuple[Engine, Engine]:
    """Return the engines at the final parameters, for the target and for the training rows."""
    validating = validation_definition(inputs.definition)
    at_end = _built(inputs, _objective(inputs, validating, final, mode, size))
    if validating is inputs.definition:
        return at_end, at_end
    of_rows = _objective(inputs, inputs.definition, final, Mode.TEST, size)
    return at_end, _built(inputs, of_rows)


def _built(inputs: Inputs, objective: Objective) -> Engine:
    check_differentiable(objective.definition)
    return build_engine(objective, inputs.device.context)


def _n_statistics(at_end: Engine, definition: Definition, final: Checkpoint) -> int:
    return at_end.size - sum(final.parameters[name].size for name in definition.trainable)


def _objective(
    inputs: Inputs, definition: Definition, checkpoint: Checkpoint, mode: Mode, size: int
) -> Objective:
    try:
        return build_objective(definition, size, inputs.device.context, checkpoint.parameters, mode)
    except ModelError as error:
        if inputs.run is None:
            raise
        raise RunError(f"{inputs.run.folder}: does not fit the model; {error}") from error


def _chunk_size(inputs: Inputs) -> int:
    definition, options = inputs.definition, inputs.options
    if options.chunk_size is not None:
        return max(options.chunk_size, LEAST_CHUNK)
    if options.method == "influence-function":
        return default_chunk_size(definition, BLOCK)  # it has no mini-batches
    if inputs.run is not None:
        batch_size = max(len(batch) for step in inputs.run.steps for batch in step.batches)
    else:
        defined = definition.training.batch_size if definition.training else 0
        batch_size = options.batch_size or defined
    return default_chunk_size(definition, batch_size)
