"""Batch normalisation, by the mini-batch's statistics or by constant ones, with its tangent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nnabla_influence.engine.numpy_functions.layers import Pair, targets_of
from nnabla_influence.engine.numpy_functions.tape import Gradient, Tensor, values
from nnabla_influence.engine.tangents.normalizations import Inputs
from nnabla_influence.engine.threads import for_each, scratch

_BLOCK = 100_000
"""Values at a time: so that what was read once is still in the cache."""


def batch_normalization_pairs(
    *given: Pair, axes: Sequence[int], eps: float, batch_stat: bool, **args: Any
) -> list[Pair]:
    r"""Return the pair of y and, with batch statistics, those of the mean m and the variance v.

    With :math:`c = x - m`, :math:`c' = x' - m'` and :math:`i = (v + \epsilon)^{-1/2}`:

    .. math::

        y = s c + \beta, \quad y' = s c' + s' c + \beta', \quad
        s = \gamma i, \quad s' = \gamma' i + \gamma i', \quad i' = -\tfrac12 i^3 v'

    where batch statistics of n values have :math:`v' = \tfrac2n \sum c c'`. With the gradients p by
    y and q by y', :math:`S = \sum (p c + q c')` and :math:`S' = \sum q c`, those by

    .. math::

        \beta, \beta' &: \textstyle\sum p, \; \sum q \\
        \gamma, \gamma' &: i S + i' S', \; i S' \\
        v, v' &: V = -\tfrac12 i^3 (\gamma S + \gamma' S') + \tfrac34 i^5 v' \gamma S', \;
                 V' = -\tfrac12 i^3 \gamma S' \\
        m, m' &: M = -\textstyle\sum (s p + s' q), \; M' = -\sum s q \\
        x, x' &: s p + s' q, \; s q

    where batch statistics, whose own gradients are added to V, V', M and M', add to the last

    .. math:: \tfrac1n (M + 2 V c + 2 V' c'), \; \tfrac1n (M' + 2 V' c).

    Args:
        given: x, beta and gamma and, without ``batch_stat``, the mean and the variance.
        axes: nnabla's, like the rest.
        eps: See above.
        batch_stat: Whether by batch statistics.
        args: The others.
    """
    v = Inputs.of(args, [values(pair.value) for pair in given])
    d = Inputs.of(args, [values(pair.tangent) for pair in given])
    rows, lead = _Rows(v.x, axes), targets_of(*given)
    k = math.prod(lead)
    moves = any(pair.tangent is not None for pair in given)
    x, dx = rows.of(v.x), rows.of(d.x)
    if dx is None and moves:
        dx = np.broadcast_to(np.zeros_like(x[:, :1]), (k, *x.shape[1:]))
    if batch_stat:
        m, variance, dm, dvariance = _moments(rows, x, dx, k)
    else:
        m, variance = rows.small(v.mean), rows.small(v.variance)
        dm, dvariance = rows.small(d.mean, k), rows.small(d.variance, k)
    gamma, dgamma = rows.small(v.gamma, otherwise=1), rows.small(d.gamma, k)
    i = (variance + eps) ** -0.5
    i_by_v = -0.5 * i**3
    di = i_by_v * dvariance
    s, ds = gamma * i, dgamma * i + gamma * di
    c, dc = _Large(x, rows.repeated(m)), _Large(dx, rows.repeated(dm))
    beta, dbeta = rows.small(v.beta), rows.small(d.beta, k)
    y, dy = rows.sums_of(
        _Sum(1, [(c, s)], beta), _Sum(k, [(dc, s), (c, ds)], dbeta) if moves else None
    )

    def pullback(*gradients: Gradient) -> Sequence[Gradient]:
        lead = next(g.shape[: g.ndim - v.x.ndim] for g in gradients if g is not None)
        k = math.prod(lead)
        p, q = _Large(rows.of(gradients[0])), _Large(rows.of(gradients[3]))
        of_p, of_pc, of_q, of_qc, of_qdc = _totals(rows, c, dc, p, q, k)
        by_s, by_ds = of_pc + of_qdc, of_qc
        by_m = rows.small(gradients[1], k) - s * of_p - ds * of_q
        by_dm = rows.small(gradients[4], k) - s * of_q
        by_v = rows.small(gradients[2], k) + i_by_v * (gamma * by_s + dgamma * by_ds)
        by_v += 0.75 * i**5 * dvariance * gamma * by_ds
        by_dv = rows.small(gradients[5], k) + i_by_v * gamma * by_ds
        by_x, by_dx = _Sum(k, [(p, s), (q, ds)]), _Sum(k, [(q, s)])
        if batch_stat:
            by_c, by_dc = 2 / rows.n * by_v, 2 / rows.n * by_dv
            by_x = _Sum(k, [*by_x.products, (c, by_c), (dc, by_dc)], by_m / rows.n)
            by_dx = _Sum(k, [*by_dx.products, (c, by_dc)], by_dm / rows.n)
        wanted = [isinstance(part, Tensor) for part in given[0]]
        large = rows.sums_of(*(g if w else None for g, w in zip((by_x, by_dx), wanted)))
        found = Inputs(
            [rows.back(g, lead) for g in large],
            *(
                [rows.small_back(g, lead) for g in both]
                for both in (
                    (of_p, of_q),
                    (i * by_s + di * by_ds, i * by_ds),
                    (by_m, by_dm),
                    (by_v, by_dv),
                )
            ),
        )
        return [g for both, part in zip(found, v) if part is not None for g in both]

    inputs = [part for pair in given for part in pair]
    outputs = [rows.back(y), rows.small_back(m), rows.small_back(variance)]
    tangents = [rows.back(dy, lead), rows.small_back(dm, lead), rows.small_back(dvariance, lead)]
    tape = next((part.tape for part in inputs if isinstance(part, Tensor)), None)
    if tape is not None:
        recorded = tape.record(inputs, [*outputs, *tangents], pullback, stacked=True)
        outputs, tangents = recorded[:3], recorded[3:]
    pairs = [Pair(*both) if moves else Pair(both[0]) for both in zip(outputs, tangents)]
    return pairs if batch_stat else pairs[:1]


class _Large(NamedTuple):
    """Rows, (k, rows, columns) or None, from which something is taken away, (k, columns).

    A first axis of 1 stands for all targets.
    """

    rows: Any
    centre: Any = None

    def part(self, target: int, some: slice, use: str) -> np.ndarray:
        """Return some rows of a target; ``use`` is the `scratch`'s."""
        target %= len(self.rows)
        rows = self.rows[target, some]
        if self.centre is None:
            return rows
        out = scratch(use, rows.shape, rows.dtype)
        return np.subtract(rows, self.centre[target], out=out)


class _Sum(NamedTuple):
    """Products of large arrays with small ones, (k, channels), and a small one alone."""

    k: int
    products: Sequence[tuple[_Large, np.ndarray]]
    shift: np.ndarray | None = None


class _Rows:
    """Between arrays, and rows with all channels, a few times side by side for long loops.

    Args:
        like: An array whose shape, and whose dtype, the others have.
        axes: Of the channels.
    """

    def __init__(self, like: np.ndarray, axes: Sequence[int]):
        self._shape, self._dtype = like.shape, like.dtype
        own = [axis % like.ndim for axis in axes]
        self._order = [*(axis for axis in range(like.ndim) if axis not in own), *own]
        self._small = [size if axis in own else 1 for axis, size in enumerate(like.shape)]
        self.channels = math.prod(self._small)
        self.n = like.size // self.channels
        self._times = math.gcd(self.n, 64)
        self._size = (self.n // self._times, self._times * self.channels)
        at_once = max(1, _BLOCK // self._size[1])
        self.blocks = [slice(i, i + at_once) for i in range(0, self._size[0], at_once)]

    def of(self, x: Any) -> Any:
        """Return an array, or those of several targets, as (k, rows, columns)."""
        if x is None:
            return None
        x = x.reshape(-1, *self._shape).transpose(0, *(1 + axis for axis in self._order))
        return x.reshape(-1, *self._size)

    def back(self, rows: np.ndarray | None, lead: Sequence[int] = ()) -> Any:
        """Return the array of (k, rows, columns); ``lead`` is (k,) or, of one alone, ()."""
        if rows is None:
            return None
        x = rows.reshape(-1, *(self._shape[axis] for axis in self._order))
        x = x.transpose(0, *(1 + int(axis) for axis in np.argsort(self._order)))
        return x.reshape(*lead, *self._shape)

    def small(self, v: np.ndarray | None, k: int = 1, otherwise: int = 0) -> np.ndarray:
        """Return what there is for each channel as (k, channels)."""
        if v is None:
            return np.full((k, self.channels), otherwise, self._dtype)
        return v.reshape(-1, self.channels)

    def small_back(self, v: np.ndarray, lead: Sequence[int] = ()) -> np.ndarray:
        """Return the array of (k, channels)."""
        return v.reshape(*lead, *self._small)

    def repeated(self, v: np.ndarray) -> np.ndarray:
        """Return (..., columns) of (..., channels)."""
        return np.tile(v, self._times)

    def total(self, part: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
        """Return the sum of some rows, or of their products with others, for each channel."""
        if other is None:
            columns = np.ones(len(part), part.dtype) @ part
        else:
            columns = np.einsum("ij,ij->j", part, other)
        return columns.reshape(-1, self.channels).sum(axis=0)

    def sums_of(self, *wanted: _Sum | None) -> list[Any]:
        """Return each of the sums, in few passes over the memory."""
        found = [None if w is None else np.empty((w.k, *self._size), self._dtype) for w in wanted]
        tasks: list[tuple[Any, int, Any, Any]] = []
        for out, w in zip(found, wanted):
            if out is not None and w is not None:
                known = [(a, self.repeated(b)) for a, b in w.products if a.rows is not None]
                shift = None if w.shift is None else self.repeated(w.shift)
                tasks.extend((out[j], j, known, shift) for j in range(w.k))

        def block(some: slice) -> None:
            for out, j, products, shift in tasks:
                _combine(out[some], j, some, products, shift)

        for_each(block, self.blocks)
        return found


def _combine(
    out: np.ndarray,
    target: int,
    some: slice,
    products: Sequence[tuple[_Large, np.ndarray]],
    shift: np.ndarray | None,
) -> None:
    """Put a sum of products of some rows, and what is added to it, into ``out``."""
    for number, (large, small) in enumerate(products):
        into = scratch("product", out.shape, out.dtype) if number else out
        np.multiply(large.part(target, some, "product"), small[target % len(small)], out=into)
        if number:
            out += into
    if not products:
        out[...] = 0
    if shift is not None:
        out += shift[target % len(shift)]


def _moments(
    rows: _Rows, x: np.ndarray, dx: np.ndarray | None, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean and the variance of each channel, and their tangents.

    A sum of centred products is that within the blocks, and that of the blocks' means.
    """
    n_blocks, lengths = len(rows.blocks), np.empty((len(rows.blocks), 1), x.dtype)
    means, squares = np.zeros((2, 1, n_blocks, rows.channels), x.dtype)
    dmeans, products = np.zeros((2, k, n_blocks, rows.channels), x.dtype)

    def block(number: int) -> None:
        part = x[0, rows.blocks[number]]
        n = lengths[number] = part.size // rows.channels
        means[0, number] = rows.total(part) / n
        c = part - rows.repeated(means[0, number])
        squares[0, number] = rows.total(c, c)
        for j, along in enumerate(() if dx is None else dx):
            some = along[rows.blocks[number]]
            dmeans[j, number] = rows.total(some) / n
            products[j, number] = rows.total(c, some)

    for_each(block, range(n_blocks))

    def averaged(v: np.ndarray) -> np.ndarray:
        return v.sum(axis=1) / rows.n

    mean, dmean = averaged(means * lengths), averaged(dmeans * lengths)
    c, dc = means - mean[:, None], dmeans - dmean[:, None]
    variance = averaged(squares + lengths * c * c)
    return mean, variance, dmean, 2 * averaged(products + lengths * c * dc)


def _totals(rows: _Rows, c: _Large, dc: _Large, p: _Large, q: _Large, k: int) -> np.ndarray:
    """Return the sums of p, p c, q, q c and q c', of shape (5, k, channels)."""
    sums = np.zeros((5, k, len(rows.blocks), rows.channels), c.rows.dtype)

    def block(number: int) -> None:
        some = rows.blocks[number]
        centred = c.part(0, some, "centred")
        for j in range(k):
            if p.rows is not None:
                sums[0, j, number] = rows.total(p.rows[j, some])
                sums[1, j, number] = rows.total(p.rows[j, some], centred)
            if q.rows is not None:
                sums[2, j, number] = rows.total(q.rows[j, some])
                sums[3, j, number] = rows.total(q.rows[j, some], centred)
                sums[4, j, number] = rows.total(q.rows[j, some], dc.part(j, some, "along"))

    for_each(block, range(len(rows.blocks)))
    return sums.sum(axis=2)
