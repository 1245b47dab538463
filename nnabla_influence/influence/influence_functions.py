r"""Influence functions of Koh and Liang (ICML 2017).

At the final parameters, in test mode, with the gradient v of the mean validation loss and the
Hessian H of the training objective, that is of the mean loss, its penalties and the weight decay,

.. math:: I_j = \frac1N \langle \nabla l_j, (H + \lambda I)^{-1} v \rangle,

the first-order change of the validation loss without row j if training went to the optimum.
Negative: harmful, as everywhere here.

The system is solved by conjugate gradients, which need H + lambda I to be positive definite. At the
end of a network's training H seldom is, so :math:`\lambda` is the first of `DAMPINGS` at which they
meet no negative curvature and arrive within `MAX_PRODUCTS` products. A product is a pass over all
training rows with two backwards, about what an epoch of an exact trace takes; a small network needs
some ten to a hundred of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Definition, Objective, build_objective
from nnabla_influence.engine import Engine, build_engine
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.errors import ScoreError
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.influence.targets import LOSS, target_gradient
from nnabla_influence.progress import SilentProgress
from nnabla_influence.runs.run import Run
from nnabla_influence.solvers import FUSED_DECAY

DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""From Koh and Liang's own for a network on; Hara et al. took 1.0 for theirs."""

TOLERANCE = 1e-3
"""Of the residual, relative to v: far below what changes a ranking."""

MAX_PRODUCTS = 100

BLOCK = 256


@dataclass(frozen=True, eq=False)
class InfluenceFunctions:
    r"""Influence functions, and how they were solved for.

    Attributes:
        influence: (N,).
        damping: :math:`\lambda`.
        n_products: Products with H, in all.
    """

    influence: np.ndarray
    damping: float
    n_products: int


class _NotSolvedError(Exception):
    """Conjugate gradients met a curvature that is not positive, or (None) did not arrive."""

    def __init__(self, curvature: float | None = None):
        super().__init__(curvature)
        self.curvature = curvature


def influence_functions(
    definition: Definition,
    run: Run,
    training: Dataset,
    validation: Dataset,
    batch_size: int,
    context: nn.Context,
) -> InfluenceFunctions:
    """Compute the influence functions of N training rows at a run's final parameters.

    Args:
        definition: Of the training; its weight decay belongs to the objective.
        run: Its parameters count.
        training: The rows that are scored.
        validation: The rows whose mean loss is the target.
        batch_size: Of the training; the default chunk size follows from it.
        context: Where to compute.

    Raises:
        ScoreError: The system cannot be solved at any of `DAMPINGS`.
        InfluenceError: The network has a function without a tangent, or does not fit the run.
    """
    size = default_chunk_size(definition, batch_size)
    parameters = run.parameters()

    def objective(size: int) -> Objective:
        return build_objective(definition, size, context, parameters)

    engine = build_engine(objective(size), context)
    evenly = np.linspace(0, len(training) - 1, min(len(training), size))
    check_engines(objective, training.batch(evenly.astype(np.int64)), context)
    rows = np.arange(len(validation))
    gradient = target_gradient(engine, validation.batch, rows, LOSS, SilentProgress())
    v = np.array(gradient.data, np.float64)
    solver = definition.solver
    # AdamW and SgdW decay the parameters themselves: that is not part of an objective.
    decay = 0.0 if solver.name in FUSED_DECAY else solver.weight_decay
    n_products, least = 0, 0.0

    def product(u: np.ndarray) -> np.ndarray:
        nonlocal n_products
        n_products += 1
        return _products(training, engine, u)[0] + decay * u

    import scipy.sparse.linalg  # noqa: F401 - its BLAS is limited too
    from threadpoolctl import threadpool_limits

    # BLAS sums in another order where it has another number of threads, as workers may have.
    with threadpool_limits(limits=1):
        for damping in DAMPINGS:
            if damping <= least:
                continue
            try:
                solution = _solve(product, damping, v)
            except _NotSolvedError as error:
                if error.curvature is not None:
                    # H has an eigenvalue below this: less damping than its negative cannot help.
                    least = max(least, damping - error.curvature)
                continue
            influence = _products(training, engine, solution)[1] / len(training)
            return InfluenceFunctions(influence, damping, n_products)
    raise ScoreError(
        f"{run.folder}: influence functions cannot be computed, as the training loss's Hessian is"
        f" not positive definite even with {DAMPINGS[-1]:g} added to its diagonal, or too"
        " ill-conditioned; train longer or with a lower learning rate, or omit the ranking"
        " influence-functions"
    )


def _solve(
    product: Callable[[np.ndarray], np.ndarray], damping: float, v: np.ndarray
) -> np.ndarray:
    """Return the solution u of ``product(u) + damping * u = v``."""
    from scipy.sparse.linalg import LinearOperator, cg  # takes half a second to import

    def damped(u: np.ndarray) -> np.ndarray:
        # As the start is 0, these are the search directions themselves.
        u = u.ravel()
        along = product(u) + damping * u
        curvature = float(u @ along) / float(u @ u)
        if not curvature > 0:
            raise _NotSolvedError(curvature)
        return along

    operator = LinearOperator((v.size, v.size), matvec=damped, dtype=np.float64)
    solution, not_arrived = cg(operator, v, rtol=TOLERANCE, atol=0.0, maxiter=MAX_PRODUCTS)
    if not_arrived:
        raise _NotSolvedError
    return np.asarray(solution)


def _products(dataset: Dataset, engine: Engine, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return H u, (p,), without weight decay, and <grad l_j, u> of each training row, (N,)."""
    # Of unit length, since what comes in between is float32; the products are linear.
    length = float(np.linalg.norm(u)) or 1.0
    a = nn.NdArray.from_numpy_array((u / length).astype(np.float32))
    total, of_rows = np.zeros(engine.size), np.empty(len(dataset))
    for start in range(0, len(dataset), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(dataset)))
        h, each = engine.zeros(), np.full(len(rows), 1 / len(rows))
        of_rows[rows] = engine.add_products(dataset.batch(rows), each, a, h).losses
        # A block's own mean, since each has the Hessian of the penalties, which belongs there once.
        total += h.data * (len(rows) / len(dataset))
    return total * length, of_rows * length
