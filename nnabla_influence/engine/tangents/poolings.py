"""Tangents of poolings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.tangents.arithmetic import total
from nnabla_influence.engine.tangents.arrays import linear

Args = Mapping[str, Any]
Values = Sequence[Any]


def _max_pooling(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """The tangent at the maximum: of the shifted views of x, the first that is y."""
    sizes = y[0].shape
    views = shifted(F, x[0], sizes, args, filling=-3e38)
    tangents = shifted(F, dx[0], sizes, args)
    free, parts = None, []
    for view, tangent in zip(views, tangents):
        here = F.equal(view, y[0])
        if free is not None:
            here = here * free
        free = 1 - here if free is None else free - here
        parts.append(tangent * here)
    return total(*parts)


def shifted(F: Any, x: Any, sizes: Sequence[int], args: Args, filling: float = 0.0) -> list[Any]:
    """Return the views of x that stand under each place of a pooling's window.

    Args:
        F: The functions of an engine.
        x: The pooling's input.
        sizes: The output's shape.
        args: The pooling's.
        filling: What stands around x.
    """
    kernel, last = args["kernel"], int(args["channel_last"])
    stride, pad = args["stride"] or kernel, args["pad"] or [0] * len(kernel)
    first = x.ndim - len(kernel) - last
    start, stop, step = [0] * x.ndim, list(x.shape), [1] * x.ndim
    widths = []
    for n, m, k, s, p in zip(x.shape[first:], sizes[first:], kernel, stride, pad):
        widths += [p, max(p, (m - 1) * s + k - n - p)]
    if any(widths):
        x = F.pad(x, widths + [0, 0] * last, mode="constant", constant_value=filling)
    views = []
    for place in itertools.product(*map(range, kernel)):
        for axis, (i, s) in enumerate(zip(place, stride), start=first):
            start[axis], stop[axis], step[axis] = i, i + (sizes[axis] - 1) * s + 1, s
        views.append(F.slice(x, list(start), list(stop), list(step)))
    return views


RULES = {
    **{
        kind: linear(kind)
        for kind in ("AveragePooling", "GlobalAveragePooling", "SumPooling", "Unpooling")
    },
    "MaxPooling": _max_pooling,
}
