r"""Trace a training back: Algorithm 2 of Suzuki et al., and the exact trace it approximates.

The validation gradient :math:`u = \nabla \bar l_{val}(\theta^{[T]})` is taken backward through the
window's steps, the last one first. In step t with mini-batch :math:`S_t`, learning rate
:math:`\eta_t` and plain Sgd,

.. math::

    L_j \mathrel{+}= \frac{\eta_t}{|S_t|} \langle u, \nabla l_j(\theta_t) \rangle
    \quad \forall j \in S_t, \qquad
    u \leftarrow (I - \eta_t H_t) u,

:math:`H_t` the Hessian of the *mean* loss of the mini-batch at :math:`\theta_t` (no further
:math:`1/|S_t|` belongs there). Which parameters stand for :math:`\theta_t` is up to the trajectory:
the final ones for every step (Suzuki et al., arXiv 2103.11807), or each step's own (Hara et al.,
NeurIPS 2019); then :math:`L_j` is a derivative of the training that really happened.
:math:`L_j` is the first-order change of the mean validation loss if row j's gradient were left out
of the window's steps, all else unchanged. **Negative: without the row the loss falls, it is
harmful. Positive: helpful.**

Other solvers differ in their adjoint only (`nnabla_influence.solvers`); batch normalisations carry
the gradient by their running statistics, r, beside u.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.errors import ScoreError
from nnabla_influence.influence.step_engines import StepEngines
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trajectory import Trajectory
from nnabla_influence.runs.steps import Step
from nnabla_influence.solvers import Adjoint

GROWTH_LIMIT = 1e4
"""How many times its first length u may reach, at the final parameters, before the trace is
stopped. Far less growth already makes a ranking that is not written; see `scoring.verdict`."""


class DivergedError(ScoreError):
    """A trace grew without bound, so that no score would mean anything."""


@dataclass(frozen=True, eq=False)
class TraceInputs:
    r"""What a trace needs.

    Attributes:
        steps: The window, in the order of training.
        trajectory: The checkpoint that stands for each step, :math:`\theta_t`.
        engines: Of the training objective.
        adjoint: The solver's. It holds u, which the trace takes to the window's beginning.
        step_inputs: Gives the training data of each step.
        r: Gradient of the validation loss with respect to the running statistics of batch
            normalisations, shape ``(q,)``, taken back too; None where none are trained.
        gauss_newton: Whether the Gauss-Newton matrix takes the Hessian's place.
    """

    steps: Sequence[Step]
    trajectory: Trajectory
    engines: StepEngines
    adjoint: Adjoint
    step_inputs: StepInputs
    r: nn.NdArray | None = None
    gauss_newton: bool = False


@dataclass(frozen=True, eq=False)
class Trace:
    """A trace back, as far as it has come.

    Attributes:
        influence: L_j in units of the validation loss, shape ``(N,)``, float64.
        times_seen: How often each row was in a mini-batch, shape ``(N,)``.
        n_steps: How many steps, counted from the window's end, are in them.
        first_length: The length of u at the window's end.
        growth: The largest length of u so far, over the first one.
        moves: Where asked for, the outputs' tangents in place of the losses', of which relabel
            gains are made (`nnabla_influence.influence.relabelling`): the sum over the steps of
            :math:`J_z a / |S_t|`, shape ``(N, ...)``, float64.
    """

    influence: np.ndarray
    times_seen: np.ndarray
    n_steps: int
    first_length: float
    growth: float = 1.0
    moves: np.ndarray | None = None

    @classmethod
    def start(cls, n_rows: int, u: nn.NdArray, outputs: tuple[int, ...] | None = None) -> Trace:
        """Return the trace of no step yet, over N rows; with ``moves`` if given a row's shape."""
        length = float(np.linalg.norm(u.data))
        moves = None if outputs is None else np.zeros((n_rows, *outputs))
        return cls(np.zeros(n_rows), np.zeros(n_rows, np.int64), 0, length, moves=moves)


def trace_back(inputs: TraceInputs, trace: Trace) -> Iterator[Trace]:
    r"""Yield the trace after each further step, the last step of the window first.

    Args:
        inputs: Its adjoint and r are where ``trace`` is.
        trace: To continue; its arrays are added to in place.

    Raises:
        DivergedError: A step, which is named, gives something that is not finite, or u at the
            final parameters has grown beyond `GROWTH_LIMIT`.
    """
    adjoint, h = inputs.adjoint, nn.NdArray(inputs.adjoint.u.shape)
    for step in reversed(inputs.steps[: len(inputs.steps) - trace.n_steps]):
        engines = inputs.engines.at(inputs.trajectory.before(step))  # theta_t
        batches = inputs.step_inputs.of(step)
        before = engines.before(batches) if adjoint.needs_before else None
        a = adjoint.begin(step.learning_rate, before)  # Sgd: eta_t u
        h.zero()
        for rows, batch in reversed(list(zip(step.batches, batches))):  # S_t
            weights = np.full(len(rows), 1 / len(rows))
            engine = engines.of_size(len(rows))
            found = engine.add_products(batch, weights, a, h, inputs.r, inputs.gauss_newton)
            along = found.losses
            _check_finite(step, along)
            # add.at, since a mini-batch that straddles two epochs can hold a row twice.
            np.add.at(trace.influence, rows, weights * along)  # L_j += <a, grad l_j> / |S_t|
            np.add.at(trace.times_seen, rows, 1)
            if trace.moves is not None and found.outputs is not None:
                np.add.at(trace.moves, rows, found.outputs / len(rows))
        adjoint.finish(h)  # u <- u - H_t a
        growth = float(np.linalg.norm(adjoint.u.data)) / trace.first_length
        if not inputs.trajectory.exact:
            _check_growth(step, growth)
        trace = dataclasses.replace(
            trace, n_steps=trace.n_steps + 1, growth=max(trace.growth, growth)
        )
        yield trace


def _check_finite(step: Step, along: np.ndarray) -> None:
    if not np.isfinite(along).all():
        raise DivergedError(f"step {step.step} (epoch {step.epoch}): the influence is not finite")


def _check_growth(step: Step, growth: float) -> None:
    if growth > GROWTH_LIMIT:
        raise DivergedError(
            f"step {step.step} (epoch {step.epoch}): the traced gradient has grown {growth:.1e}"
            " times; the learning rate is too large for the final parameters; lower it, or trace"
            " fewer epochs"
        )
