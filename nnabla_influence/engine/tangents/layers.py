"""Tangents of layers with weights, poolings and normalisations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.functions import named
from nnabla_influence.engine.tangents.arithmetic import total

Args = Mapping[str, Any]
Values = Sequence[Any]


def bilinear(kind: str) -> Any:
    """Return the rule of f(x, W) + b, linear in x and in W: f(x', W) + f(x, W') + b'."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        f = named(F, kind)
        db = dx[2] if len(dx) > 2 else None
        parts = []
        if dx[1] is not None:
            parts.append(f(x[0], dx[1], db, **args))
        if dx[0] is not None:
            parts.append(f(dx[0], x[1], None if dx[1] is not None else db, **args))
        if not parts:  # only the bias moves
            parts.append(f(x[0], x[1], db, **args) - f(x[0], x[1], **args))
        return total(*parts)

    return rule


def _max_pooling(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """The tangent at the maximum: of the shifted views of x, the first that is y."""
    views = shifted(F, x[0], args, filling=-3e38)
    tangents = shifted(F, dx[0], args)
    free, parts = None, []
    for view, tangent in zip(views, tangents):
        here = F.equal(view, y[0])
        if free is not None:
            here = here * free
        free = 1 - here if free is None else free - here
        parts.append(tangent * here)
    return total(*parts)


def shifted(F: Any, x: Any, args: Args, filling: float = 0.0) -> list[Any]:
    """Return the views of x that stand under each place of a pooling's window."""
    kernel = args["kernel"]
    n = len(kernel)
    stride, pad = args["stride"] or kernel, args["pad"] or [0] * n
    first = x.ndim - n - int(args["channel_last"])
    sizes = x.shape[first : first + n]
    if args["ignore_border"]:
        outs = [(w + 2 * p - k) // s + 1 for w, p, k, s in zip(sizes, pad, kernel, stride)]
    else:
        outs = [(w + 2 * p - 1) // s + 1 for w, p, s in zip(sizes, pad, stride)]
    after = [
        max(p, (m - 1) * s + k - w - p) for w, p, k, s, m in zip(sizes, pad, kernel, stride, outs)
    ]
    if any(pad) or any(after):
        widths = [w for pair in zip(pad, after) for w in pair] + [0, 0] * args["channel_last"]
        x = F.pad(x, widths, mode="constant", constant_value=filling)
    start, stop = [0] * x.ndim, list(x.shape)
    step = [1] * x.ndim
    views = []
    for place in itertools.product(*map(range, kernel)):
        for axis, (i, s, m) in enumerate(zip(place, stride, outs), start=first):
            start[axis], stop[axis], step[axis] = i, i + (m - 1) * s + 1, s
        views.append(F.slice(x, list(start), list(stop), list(step)))
    return views


def _batch_normalization(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r"""Y = s (x - mean) + beta with s = gamma (variance + eps)^{-1/2}, by constant statistics.

    :math:`y' = s x' + \gamma' (x - mean) (variance + eps)^{-1/2} + \beta'`.
    """
    if args["batch_stat"]:
        raise ValueError("batch statistics are built of elementary functions")
    v, d = list(x), list(dx)
    beta, dbeta = (None, None) if args["no_bias"] else (v.pop(1), d.pop(1))
    gamma, dgamma = (None, None) if args["no_scale"] else (v.pop(1), d.pop(1))
    mean, variance = v[1], v[2]
    inverse = F.pow_scalar(variance + args["eps"], -0.5)
    along_x = None if d[0] is None else d[0] * (inverse if gamma is None else inverse * gamma)
    along_gamma = None if dgamma is None else (x[0] - mean) * (inverse * dgamma)
    tangent = total(along_x, along_gamma, dbeta)
    return tangent


RULES = {
    "Affine": bilinear("Affine"),
    "BatchNormalization": _batch_normalization,
    "Convolution": bilinear("Convolution"),
    "MaxPooling": _max_pooling,
}
