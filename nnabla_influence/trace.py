r"""Algorithm 2 of Suzuki et al. (arXiv 2103.11807): trace a training run back.

The validation gradient :math:`u = \nabla \bar l_{val}(\theta^{[T]})` is taken backward through the
window's steps, the last one first. In step t with mini-batch :math:`S_t`, learning rate
:math:`\eta_t` and plain Sgd,

.. math::

    L_j \mathrel{+}= \frac{\eta_t}{|S_t|} \langle u, \nabla l_j(\theta) \rangle
    \quad \forall j \in S_t, \qquad
    u \leftarrow (I - \eta_t H_t) u,

:math:`H_t` the Hessian of the *mean* loss of the mini-batch (no further :math:`1/|S_t|` belongs
there), everything at the final parameters :math:`\theta`. :math:`L_j` is the first-order change of
the mean validation loss if row j's gradient were left out of the window's steps, all else as it
was. **Negative: without the row the loss falls, it is harmful. Positive: helpful.**

Other solvers differ in their adjoint only (`nnabla_influence.solvers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.errors import ScoreError
from nnabla_influence.gradients import Derivatives
from nnabla_influence.progress import Progress
from nnabla_influence.solvers import Adjoint
from nnabla_influence.steps import Step

GROWTH_LIMIT = 1e4
"""How many times its first length u may reach before the trace is said to have diverged."""

FetchRows = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Row numbers of shape (n,) to the network's inputs by column, each of shape (n, ...)."""


@dataclass(frozen=True)
class Trace:
    """What tracing a window back gives for each of the N rows.

    Attributes:
        influence: L_j in units of the validation loss, shape ``(N,)``, float64.
        times_seen: How often each row stood in the window's mini-batches, shape ``(N,)``.
    """

    influence: np.ndarray
    times_seen: np.ndarray


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
    derivatives: Derivatives,
    adjoint: Adjoint,
    fetch: FetchRows,
    n_rows: int,
    progress: Progress,
) -> Trace:
    """Take ``adjoint.u`` back through ``steps`` and sum each row's influence.

    Args:
        steps: The window, in the order of training.
        derivatives: At the parameters that stand for every step (method ``final``).
        adjoint: The solver's, holding the validation gradient; left at the window's beginning.
        fetch: Gives the rows of the training data.
        n_rows: N.
        progress: Shows one unit a step.

    Raises:
        ScoreError: A step gives something that is not finite, or u has grown beyond
            `GROWTH_LIMIT`, so that the scores would tell of the growth alone; it is named.
    """
    first_length = np.linalg.norm(adjoint.u.data)
    influence = np.zeros(n_rows)
    times_seen = np.zeros(n_rows, np.int64)
    h = derivatives.zeros()
    with progress.stage("Trace back", len(steps), "steps") as stage:
        for step in reversed(steps):
            a = adjoint.begin(step.learning_rate)
            h.zero()
            for rows in step.batches:
                weights = np.full(len(rows), 1 / len(rows))
                products = weights * derivatives.add_products(fetch(rows), weights, a, h)
                if not np.isfinite(products).all():
                    raise ScoreError(
                        f"step {step.step} (epoch {step.epoch}): the influence is not finite; the"
                        " trace grows without bound, choose a smaller window"
                    )
                # add.at, since a batch that straddles two epochs can hold a row twice.
                np.add.at(influence, rows, products)
                np.add.at(times_seen, rows, 1)
            adjoint.finish(h)
            growth = np.linalg.norm(adjoint.u.data) / first_length
            if growth > GROWTH_LIMIT:
                raise ScoreError(
                    f"step {step.step} (epoch {step.epoch}): the trace diverges (the gradient has"
                    f" grown {growth:.1e} times), so no score would mean anything. A learning rate"
                    " that is large for the final parameters does this, with BatchNormalization"
                    " above all, since its running statistics are traced; choose a shorter window,"
                    " or let the learning rate fall towards the end of the training"
                )
            stage.update()
    return Trace(influence, times_seen)
