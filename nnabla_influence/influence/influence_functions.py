r"""Influence functions of Koh and Liang (ICML 2017), of several targets at once.

At parameters in test mode, with the gradient v of a target of the validation rows and the curvature
A of the training objective,

.. math:: I_j = \frac1N \langle \nabla l_j, s \rangle, \qquad (A + \lambda I) \, s = v,

the first-order change of the target without row j if training went to the optimum. Negative:
harmful, as everywhere here. A is one of

- the Hessian of the objective: of the mean loss, its penalties and the weight decay. At the end of
  a network's training it seldom is positive definite, so :math:`\lambda` is the first of `DAMPINGS`
  at which conjugate gradients meet no negative curvature and arrive within `MAX_STEPS`.
- the Gauss-Newton matrix G in place of the loss's Hessian, which has no negative curvature where
  the loss is convex in the outputs. :math:`\lambda` is the mean eigenvalue, tr(G)/p, by random
  vectors of signs (Hutchinson), or a multiple of it; `STEPS` steps suffice for a ranking.

A product is a pass over all training rows with two backwards, about an epoch of an exact trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import nnabla as nn
import numpy as np

from nnabla_influence.definition import SolverSettings
from nnabla_influence.engine import Engine
from nnabla_influence.errors import ScoreError
from nnabla_influence.progress import Progress, SilentProgress, Stage
from nnabla_influence.runs.steps import FetchRows
from nnabla_influence.solvers import FUSED_DECAY

DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""From Koh and Liang's own for a network on; Hara et al. took 1.0 for theirs."""

MAX_STEPS = 100
"""With the Hessian, in which a system that is not solved gives nothing."""

STEPS = 20
"""With the Gauss-Newton matrix; more did not make better rankings."""

TOLERANCE = 1e-3
"""Of the residual, relative to v: far below what changes a ranking."""

SIGNS, SIGN_ROWS = 4, 1000
"""Random vectors, and training rows, that estimate the mean eigenvalue."""

BLOCK_BYTES = 2**26
"""Of inputs that are in memory at once."""


@dataclass(frozen=True, eq=False)
class InfluenceFunctions:
    r"""Influence functions of N rows for k targets, and how they were solved for.

    Attributes:
        influence: Shape ``(k, N)``.
        solutions: s, shape ``(k, p)``.
        outputs: The tangents of the rows' outputs along s, shape ``(k, N, ...)``; without the 1/N
            of the influence. None where the network has no outputs in this sense.
        damping: :math:`\lambda`.
        residual: :math:`|(A + \lambda I) s - v| / |v|`, shape ``(k,)``.
        n_products: Products of A with a vector, in all.
    """

    influence: np.ndarray
    solutions: np.ndarray
    outputs: np.ndarray | None
    damping: float
    residual: np.ndarray
    n_products: int


class _NotSolvedError(Exception):
    """Conjugate gradients met a curvature that is not positive."""

    def __init__(self, curvature: float):
        super().__init__(curvature)
        self.curvature = curvature


def solve(
    engine: Engine,
    fetch: FetchRows,
    rows: np.ndarray,
    v: np.ndarray,
    curvature: str,
    decay: float = 0.0,
    *,
    damping: float = 1.0,
    with_outputs: bool = True,
    progress: Progress | None = None,
) -> InfluenceFunctions:
    """Compute the influence functions of training rows at the engine's parameters.

    Args:
        engine: Of the training objective, in test mode.
        fetch: Gives training rows.
        rows: Those that were trained on, shape ``(N,)``.
        v: The targets' gradients, shape ``(k, p)``.
        curvature: ``hessian`` or ``gauss-newton``.
        decay: The weight decay that belongs to the objective; see `decay_in_objective`.
        damping: With the Gauss-Newton matrix, in its mean eigenvalues.
        with_outputs: Whether to return the outputs' tangents, too.
        progress: Where to show the progress; silent by default.

    Raises:
        ScoreError: The system cannot be solved.
        UnsupportedError: There is no Gauss-Newton matrix of such a loss.
    """
    v, gauss_newton = np.array(v, np.float64), curvature == "gauss-newton"
    steps = STEPS if gauss_newton else MAX_STEPS
    most = len(v) * (steps + 1) + gauss_newton * SIGNS
    with (progress or SilentProgress()).stage("Influence functions", most, "products") as stage:
        matrix = _Matrix(engine, fetch, rows, gauss_newton, stage)
        dampings = (damping * matrix.mean_eigenvalue(),) if gauss_newton else DAMPINGS
        return _solved(matrix, v, decay, dampings, steps, with_outputs)


def _solved(
    matrix: _Matrix,
    v: np.ndarray,
    decay: float,
    dampings: Sequence[float],
    steps: int,
    with_outputs: bool,
) -> InfluenceFunctions:
    gauss_newton = matrix.gauss_newton
    least = 0.0
    for damping in dampings:
        if not damping > least:
            continue
        ridge = damping + decay
        try:
            s, arrived = _conjugate_gradients(matrix, ridge, v, steps)
        except _NotSolvedError as error:
            # A has an eigenvalue below this: less damping than its negative cannot help.
            least = max(least, damping - error.curvature)
            continue
        if arrived or gauss_newton:
            along = matrix.times(s, with_outputs=with_outputs)
            left = v - along.products - ridge * s
            return InfluenceFunctions(
                along.losses / matrix.n_rows,
                s,
                along.outputs,
                damping,
                np.sqrt(_squares(left) / _squares(v)),
                matrix.n_products,
            )
    path, most = matrix.engine.objective.definition.path, f"{dampings[-1]:g}"
    if gauss_newton:
        raise ScoreError(
            f"{path}: influence functions cannot be computed, as the Gauss-Newton matrix of the"
            f" training loss has the mean eigenvalue {most}; use the Hessian"
        )
    raise ScoreError(
        f"{path}: influence functions cannot be computed, as the training loss's Hessian is not"
        f" positive definite even with {most} added to its diagonal, or too ill-conditioned;"
        " train longer or with a lower learning rate, or use the Gauss-Newton matrix"
    )


def decay_in_objective(solver: SolverSettings) -> float:
    """Return the weight decay that belongs to the objective that a solver descends on.

    AdamW and SgdW decay the parameters themselves: that is not part of an objective.
    """
    return 0.0 if solver.name in FUSED_DECAY else solver.weight_decay


@dataclass(frozen=True, eq=False)
class _Along:
    """Of k directions u: A u without weight decay, (k, p), and the rows' tangents."""

    products: np.ndarray
    losses: np.ndarray
    outputs: np.ndarray | None


class _Matrix:
    """The Hessian of the mean loss and its penalties, or the Gauss-Newton matrix, of N rows."""

    def __init__(
        self, engine: Engine, fetch: FetchRows, rows: np.ndarray, gauss_newton: bool, stage: Stage
    ):
        self.engine, self._fetch, self._rows = engine, fetch, rows
        self.gauss_newton, self._stage, self.n_rows = gauss_newton, stage, len(rows)
        o = engine.objective
        of_row = 4 * sum(variable.size for variable in o.inputs.values()) // o.batch_size
        self._block = max(BLOCK_BYTES // max(of_row, 1), o.batch_size)
        self._all = fetch(rows) if len(rows) <= self._block else None
        self.n_products = 0

    def mean_eigenvalue(self) -> float:
        """Return an estimate of tr(A)/p, always the same."""
        some = np.linspace(0, self.n_rows - 1, min(self.n_rows, SIGN_ROWS)).astype(np.int64)
        of_some = _Matrix(
            self.engine, self._fetch, self._rows[some], self.gauss_newton, self._stage
        )
        signs = np.random.default_rng(0).integers(0, 2, (SIGNS, self.engine.size)) * 2.0 - 1
        products = of_some.times(signs).products
        self.n_products += of_some.n_products
        return float((signs * products).sum() / signs.size)

    def times(self, u: np.ndarray, *, with_outputs: bool = False) -> _Along:
        """Return the products with k directions, and the tangents along them."""
        engine, k = self.engine, len(u)
        self.n_products += k
        self._stage.update(k)
        # Of unit length, since what comes in between is float32; the products are linear.
        length = np.sqrt(_squares(u))[:, None]
        length[length == 0] = 1
        a = nn.NdArray.from_numpy_array((u / length).astype(engine.dtype))
        total, losses, outputs = np.zeros(u.shape), [], []
        for batch, n in self._batches():
            h = nn.NdArray.from_numpy_array(np.zeros(u.shape, engine.dtype))
            found = engine.add_products(
                batch, np.full(n, 1 / n), a, h, gauss_newton=self.gauss_newton
            )
            # A block's own mean, since each has the Hessian of the penalties, which belongs there
            # once.
            total += h.data * (n / self.n_rows)
            losses.append(found.losses)
            if with_outputs and found.outputs is not None:
                outputs.append(found.outputs)
        of_outputs = None
        if outputs:
            of_outputs = np.concatenate(outputs, axis=1)
            of_outputs *= length.reshape(k, *[1] * (of_outputs.ndim - 1))
        return _Along(total * length, np.concatenate(losses, axis=1) * length, of_outputs)

    def _batches(self) -> Iterator[tuple[Mapping[str, np.ndarray], int]]:
        if self._all is not None:
            yield self._all, self.n_rows
            return
        for start in range(0, self.n_rows, self._block):
            part = self._rows[start : start + self._block]
            yield self._fetch(part), len(part)


def _conjugate_gradients(
    matrix: _Matrix, ridge: float, v: np.ndarray, steps: int
) -> tuple[np.ndarray, bool]:
    """Solve (A + ridge I) s = v, k systems at once, each by itself; return s, and if all arrived.

    Raises:
        _NotSolvedError: The matrix is not positive definite.
    """
    s, r, d = np.zeros_like(v), v.copy(), v.copy()
    squares = _squares(r)
    goal = TOLERANCE**2 * squares
    for _ in range(steps):
        open_ = squares > goal
        if not open_.any():
            break
        along = d[open_]
        bent = matrix.times(along).products + ridge * along
        curvature = (along * bent).sum(axis=1)
        if not (curvature > 0).all():
            raise _NotSolvedError(float((curvature / _squares(along)).min()))
        step = (squares[open_] / curvature)[:, None]
        s[open_] += step * along
        r[open_] -= step * bent
        new = _squares(r[open_])
        d[open_] = r[open_] + (new / squares[open_])[:, None] * along
        squares[open_] = new
    return s, bool((squares <= goal).all())


def _squares(vectors: np.ndarray) -> np.ndarray:
    return (vectors * vectors).sum(axis=1)
