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
  vectors of signs (Hutchinson), or a multiple of it; `GaussNewton` says how far it is solved.

A step is a pass over all training rows with two backwards, about an epoch of an exact trace. Each
target is solved for by itself: its influence does not depend on those that share the passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""With the Gauss-Newton matrix, without a preconditioner; more did not make better rankings."""

TOLERANCE = 1e-3
"""Of the residual, relative to v: far below what changes a ranking."""

SIGNS, SIGN_ROWS = 4, 1000
"""Random vectors, and training rows, that estimate the mean eigenvalue."""

RANK_ROWS = (250, 1000)
"""Training rows of the rounds that find a preconditioner's directions."""

RANK_VALUES = 2**25
"""Of these directions; none is made where there are more, as of 64 for 2**19 parameters."""

AT_ONCE = 16
"""Directions in a pass."""

BLOCK_BYTES = 2**26
"""Of inputs that are in memory at once."""


@dataclass(frozen=True)
class GaussNewton:
    """How the systems with the Gauss-Newton matrix are solved.

    Attributes:
        damping: In mean eigenvalues of the matrix.
        steps: Of conjugate gradients.
        rank: Directions of a preconditioner, which costs as much as some steps, but serves all
            targets; 0 for none. A network too large for it (`RANK_VALUES`) has `STEPS` steps.
        most_rows: Training rows, evenly spread, that estimate the matrix. All rows get a score.
    """

    damping: float = 1.0
    steps: int = STEPS
    rank: int = 0
    most_rows: float = math.inf


@dataclass(frozen=True, eq=False)
class InfluenceFunctions:
    r"""Influence functions of N rows for k targets, and how they were solved for.

    Attributes:
        influence: Shape ``(k, N)``.
        solutions: s, shape ``(k, p)``.
        outputs: The tangents of the rows' outputs along s, shape ``(k, N, ...)``; without the 1/N
            of the influence. None where the network has no outputs in this sense.
        damping: :math:`\lambda`.
        residual: :math:`|(A + \lambda I) s - v| / |v|`, shape ``(k,)``, as the steps carry it; of
            the A that `GaussNewton.most_rows` estimate.
    """

    influence: np.ndarray
    solutions: np.ndarray
    outputs: np.ndarray | None
    damping: float
    residual: np.ndarray


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
    how: GaussNewton = GaussNewton(),
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
        how: With the Gauss-Newton matrix.
        with_outputs: Whether to return the outputs' tangents, too.
        progress: Where to show the progress; silent by default.

    Raises:
        ScoreError: The system cannot be solved.
        UnsupportedError: There is no Gauss-Newton matrix of such a loss.
    """
    v, k, n_rows = np.array(v, np.float64), len(v), len(rows)
    gauss_newton = curvature == "gauss-newton"
    if not gauss_newton:
        how = GaussNewton(steps=MAX_STEPS)
    elif how.rank * engine.size > RANK_VALUES:
        how = GaussNewton(how.damping, most_rows=how.most_rows)
    curved = int(min(n_rows, how.most_rows))
    of_some = gauss_newton * SIGNS * min(SIGN_ROWS, n_rows)
    of_some += how.rank * sum(min(n, n_rows) for n in RANK_ROWS)
    most = k * (how.steps * curved + n_rows * (curved < n_rows)) + of_some
    with (progress or SilentProgress()).stage("Influence functions", most, "products") as stage:
        matrix = _Matrix(engine, fetch, rows, gauss_newton, stage)
        dampings = (how.damping * matrix.mean_eigenvalue(),) if gauss_newton else DAMPINGS
        return _solved(matrix, v, decay, dampings, how, with_outputs)


def _solved(
    matrix: _Matrix,
    v: np.ndarray,
    decay: float,
    dampings: Sequence[float],
    how: GaussNewton,
    with_outputs: bool,
) -> InfluenceFunctions:
    gauss_newton, some = matrix.gauss_newton, matrix
    if how.most_rows < matrix.n_rows:
        some = matrix.of_some(int(how.most_rows))
    least = 0.0
    for damping in dampings:
        if not damping > least:
            continue
        ridge = damping + decay
        precondition = _preconditioner(some, ridge, how.rank)
        try:
            found = _conjugate_gradients(some, ridge, v, how.steps, precondition, with_outputs)
        except _NotSolvedError as error:
            # A has an eigenvalue below this: less damping than its negative cannot help.
            least = max(least, damping - error.curvature)
            continue
        residual = np.sqrt(_squares(found.left) / _squares(v))
        if gauss_newton or (residual <= TOLERANCE).all():
            along = found.along if some is matrix else matrix.times(found.s, with_outputs)
            influence = along.losses / matrix.n_rows
            return InfluenceFunctions(influence, found.s, along.outputs, damping, residual)
    path = matrix.engine.objective.definition.path
    if gauss_newton:
        raise ScoreError(
            f"{path}: influence functions cannot be computed, as the Gauss-Newton matrix of the"
            f" training loss has the mean eigenvalue {dampings[0] / how.damping:g}; use score with"
            " the Hessian"
        )
    raise ScoreError(
        f"{path}: influence functions cannot be computed, as the training loss's Hessian is not"
        f" positive definite even with {dampings[-1]:g} added to its diagonal, or too"
        " ill-conditioned; train longer or with a lower learning rate, or use the Gauss-Newton"
        " matrix"
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


@dataclass(frozen=True, eq=False)
class _Solutions:
    """Of k systems: s, (k, p), what is left of v, (k, p), and what is known along s."""

    s: np.ndarray
    left: np.ndarray
    along: _Along


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

    def of_some(self, n: int) -> _Matrix:
        """Return that of up to n of the rows, evenly spread."""
        some = np.linspace(0, self.n_rows - 1, min(self.n_rows, n)).astype(np.int64)
        rows = self._rows[some]
        return _Matrix(self.engine, self._fetch, rows, self.gauss_newton, self._stage)

    def mean_eigenvalue(self) -> float:
        """Return an estimate of tr(A)/p, always the same."""
        signs = np.random.default_rng(0).integers(0, 2, (SIGNS, self.engine.size)) * 2.0 - 1
        products = self.of_some(SIGN_ROWS).times(signs).products
        return float((signs * products).sum() / signs.size)

    def times(self, u: np.ndarray, with_outputs: bool = False) -> _Along:
        """Return the products with k directions, and the tangents along them."""
        engine, k = self.engine, len(u)
        self._stage.update(k * self.n_rows)
        # Of unit length, since what comes in between is float32; the products are linear.
        length = np.sqrt(_squares(u))[:, None]
        length[length == 0] = 1
        units = (u / length).astype(engine.dtype)
        parts = [slice(start, start + AT_ONCE) for start in range(0, k, AT_ONCE)]
        total, losses, outputs = np.zeros(u.shape), [], []
        for batch, n in self._batches():
            found = []
            for part in parts:
                a = nn.NdArray.from_numpy_array(units[part])
                h = nn.NdArray.from_numpy_array(np.zeros_like(units[part]))
                found.append(
                    engine.add_products(
                        batch, np.full(n, 1 / n), a, h, gauss_newton=self.gauss_newton
                    )
                )
                # A block's own mean, since each has the Hessian of the penalties, which belongs
                # there once.
                total[part] += h.data * (n / self.n_rows)
            losses.append(np.concatenate([along.losses for along in found]))
            moved = [along.outputs for along in found if along.outputs is not None]
            if with_outputs and moved:
                outputs.append(np.concatenate(moved))
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


def _preconditioner(matrix: _Matrix, ridge: float, rank: int) -> Callable[[np.ndarray], np.ndarray]:
    r"""Return a product with about :math:`(A + \lambda I)^{-1}`, but for a factor.

    It shrinks the leading eigenvectors, for which conjugate gradients need most steps, as Nystrom
    preconditioning does (Frangella, Tropp and Udell, 2023). They are found by subspace iteration
    with few rows, and are always the same.
    """
    if not rank:
        return np.copy
    vectors = np.random.default_rng(0).normal(size=(rank, matrix.engine.size)).astype(np.float32)
    for n in RANK_ROWS:
        some = matrix.of_some(n)
        for start in range(0, len(vectors), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            vectors[part] = some.times(vectors[part]).products
        gram = np.zeros((len(vectors), len(vectors)))
        for columns in np.array_split(vectors, AT_ONCE, axis=1):
            wide = columns.astype(np.float64)
            gram += wide @ wide.T
        squares, turn = np.linalg.eigh(gram)
        known = squares > 1e-10 * squares[-1]  # fewer than asked for, of few rows
        values = np.sqrt(squares[known])
        vectors = (turn[:, known] / values).T.astype(np.float32) @ vectors
    shrunk = ((values[0] + ridge) / (values + ridge) - 1).astype(np.float32)

    def precondition(r: np.ndarray) -> np.ndarray:
        return r + (r.astype(np.float32) @ vectors.T * shrunk) @ vectors

    return precondition


def _conjugate_gradients(
    matrix: _Matrix,
    ridge: float,
    v: np.ndarray,
    steps: int,
    precondition: Callable[[np.ndarray], np.ndarray],
    with_outputs: bool,
) -> _Solutions:
    """Solve (A + ridge I) s = v, k systems at once, each by itself, as far as the steps go.

    Raises:
        _NotSolvedError: The matrix is not positive definite.
    """
    s, r, d = np.zeros_like(v), v.copy(), precondition(v)
    slopes, goal = (r * d).sum(axis=1), TOLERANCE**2 * _squares(v)
    losses, outputs = np.zeros((len(v), matrix.n_rows)), None
    for _ in range(steps):
        open_ = _squares(r) > goal
        if not open_.any():
            break
        found, ahead = matrix.times(d[open_], with_outputs), d[open_]
        bent = found.products + ridge * ahead
        curvature = (ahead * bent).sum(axis=1)
        if not (curvature > 0).all():
            raise _NotSolvedError(float((curvature / _squares(ahead)).min()))
        step = (slopes[open_] / curvature)[:, None]
        s[open_] += step * ahead
        r[open_] -= step * bent
        losses[open_] += step * found.losses
        if found.outputs is not None:
            outputs = np.zeros((len(v), *found.outputs.shape[1:])) if outputs is None else outputs
            outputs[open_] += step.reshape(-1, *[1] * (outputs.ndim - 1)) * found.outputs
        towards = precondition(r[open_])
        new = (r[open_] * towards).sum(axis=1)
        d[open_] = towards + (new / slopes[open_])[:, None] * ahead
        slopes[open_] = new
    return _Solutions(s, r, _Along(v - r - ridge * s, losses, outputs))


def _squares(vectors: np.ndarray) -> np.ndarray:
    return (vectors * vectors).sum(axis=1)
