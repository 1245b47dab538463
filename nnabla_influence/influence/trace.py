r"""Trace a training run back: Algorithm 2 of Suzuki et al., and the exact trace that it stands for.

The validation gradient :math:`u = \nabla \bar l_{val}(\theta^{[T]})` is taken backward through the
window's steps, the last one first. In step t with mini-batch :math:`S_t`, learning rate
:math:`\eta_t` and plain Sgd,

.. math::

    L_j \mathrel{+}= \frac{\eta_t}{|S_t|} \langle u, \nabla l_j(\theta_t) \rangle
    \quad \forall j \in S_t, \qquad
    u \leftarrow (I - \eta_t H_t) u,

:math:`H_t` the Hessian of the *mean* loss of the mini-batch at :math:`\theta_t` (no further
:math:`1/|S_t|` belongs there). Which parameters stand for :math:`\theta_t` is the trajectory's to
say: the final ones for every step (Suzuki et al., arXiv 2103.11807), or each step's own (Hara et
al., NeurIPS 2019), and then :math:`L_j` is a derivative of the training that really happened.
:math:`L_j` is the first-order change of the mean validation loss if row j's gradient were left out
of the window's steps, all else as it was. **Negative: without the row the loss falls, it is
harmful. Positive: helpful.**

Other solvers differ in their adjoint only (`nnabla_influence.solvers`); batch normalisations carry
the gradient by their running statistics, r, beside u.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional

import nnabla as nn
import numpy as np

from nnabla_influence.engine.gradients import Derivatives
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence.step_derivatives import StepDerivatives
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trajectory import Trajectory
from nnabla_influence.progress import Progress
from nnabla_influence.runs.steps import FetchRows, Step
from nnabla_influence.solvers import Adjoint

GROWTH_LIMIT = 1e4
"""How many times its first length u may reach, at the final parameters, before the trace is not
worth going on with. Much less makes a ranking that is not written; see `scoring.verdict`."""


class DivergedError(ScoreError):
    """A trace grew without bound, so that no score would mean anything."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A trace back, as far as it is.

    Attributes:
        influence: L_j in units of the validation loss, shape ``(N,)``, float64.
        times_seen: How often each row stood in the mini-batches, shape ``(N,)``.
        n_steps: How many steps, counted from the window's end, are in them.
        first_length: That of u at the window's end, which its growth is measured by.
        growth: How many times that length u had at most.
    """

    influence: np.ndarray
    times_seen: np.ndarray
    n_steps: int
    first_length: float
    growth: float = 1.0


def validation_gradient(
    derivatives: Derivatives,
    fetch: FetchRows,
    rows: np.ndarray,
    progress: Progress,
    block: int = 256,
) -> nn.NdArray:
    r"""Return u, the gradient of the mean loss over the given validation rows, shape ``(p,)``.

    No weight decay belongs to it, and the network is in test mode.

    Raises:
        ScoreError: The gradient is zero or not finite.
    """
    u = derivatives.zeros()
    with progress.stage("Validation gradient", len(rows), "rows") as stage:
        for start in range(0, len(rows), block):
            some = rows[start : start + block]
            derivatives.add_gradient(fetch(some), np.full(len(some), 1 / len(rows)), u)
            stage.update(len(some))
    if not np.isfinite(u.data).all():
        raise ScoreError(
            "the gradient of the validation loss is not finite; the training diverged, or the"
            " validation data hold extreme values"
        )
    if not u.data.any():
        raise ScoreError(
            "the gradient of the validation loss is zero, so every influence would be zero too;"
            " check the trained parameters and the validation data"
        )
    return u


def trace_back(
    steps: Sequence[Step],
    trajectory: Trajectory,
    derivatives: StepDerivatives,
    adjoint: Adjoint,
    step_inputs: StepInputs,
    n_rows: int,
    progress: Progress,
    *,
    r: Optional[nn.NdArray] = None,
    so_far: Optional[Trace] = None,
    after_step: Optional[Callable[[Trace], None]] = None,
) -> Trace:
    """Take ``adjoint.u`` back through ``steps`` and sum each row's influence.

    Args:
        steps: The window, in the order of training.
        trajectory: The state that stands for each step.
        derivatives: Of the training objective.
        adjoint: The solver's, holding the validation gradient; left at the window's beginning.
        step_inputs: Gives the training data of each step.
        n_rows: N.
        progress: Shows one unit a step.
        r: Gradient of the validation loss with respect to the running statistics of batch
            normalisations, shape ``(q,)``, taken back too; None where none move.
        so_far: To go on from, with ``adjoint`` and ``r`` as they were there.
        after_step: Called with the trace so far, which goes on changing.

    Raises:
        DivergedError: A step gives something that is not finite, or u at the final parameters has
            grown beyond `GROWTH_LIMIT`; it is named.
    """
    trace = so_far
    if trace is None:
        length = float(np.linalg.norm(adjoint.u.data))
        trace = Trace(np.zeros(n_rows), np.zeros(n_rows, np.int64), 0, length)
    h = nn.NdArray(adjoint.u.shape)
    ahead = steps[: len(steps) - trace.n_steps]
    with progress.stage("Trace back", len(ahead), "steps") as stage:
        for step in reversed(ahead):
            derivatives.set_checkpoint(trajectory.before(step))
            inputs = step_inputs.of(step)
            before = derivatives.before(inputs) if adjoint.needs_before else None
            a = adjoint.begin(step.learning_rate, before)
            h.zero()
            for rows, batch in reversed(list(zip(step.batches, inputs))):
                weights = np.full(len(rows), 1 / len(rows))
                products = weights * derivatives.add_products(batch, weights, a, h, r)
                _check_finite(step, products)
                # add.at, since a batch that straddles two epochs can hold a row twice.
                np.add.at(trace.influence, rows, products)
                np.add.at(trace.times_seen, rows, 1)
            adjoint.finish(h)
            growth = float(np.linalg.norm(adjoint.u.data)) / trace.first_length
            if not trajectory.exact:
                _check_growth(step, growth)
            growth = max(trace.growth, growth)
            trace = dataclasses.replace(trace, n_steps=trace.n_steps + 1, growth=growth)
            if after_step is not None:
                after_step(trace)
            stage.update()
    return trace


def _check_finite(step: Step, products: np.ndarray) -> None:
    if not np.isfinite(products).all():
        raise DivergedError(f"step {step.step} (epoch {step.epoch}): the influence is not finite")


def _check_growth(step: Step, growth: float) -> None:
    if growth > GROWTH_LIMIT:
        raise DivergedError(
            f"step {step.step} (epoch {step.epoch}): the traced gradient has grown {growth:.1e}"
            " times; a learning rate that is large for the final parameters does this"
        )
