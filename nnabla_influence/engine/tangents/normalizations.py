"""Tangents of normalisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nnabla_influence.engine.tangents.arithmetic import along, to_shape_of, total
from nnabla_influence.engine.tangents.arrays import norm_tangent

Args = Mapping[str, Any]
Values = Sequence[Any]


class Inputs(NamedTuple):
    """Of a normalisation, or their tangents; None where it has none."""

    x: Any
    beta: Any = None
    gamma: Any = None
    mean: Any = None
    variance: Any = None

    @classmethod
    def of(cls, args: Args, given: Values) -> Inputs:
        """Put nnabla's inputs, of which ``no_bias`` and ``no_scale`` leave some out, in place."""
        rest = list(given)
        x = rest.pop(0)
        beta = None if args.get("no_bias") else rest.pop(0)
        gamma = None if args.get("no_scale") else rest.pop(0)
        return cls(x, beta, gamma, *rest)


def scale_and_shift(F: Any, args: Args, given: Inputs) -> tuple[Any, Any]:
    r"""Return s and t of a normalisation :math:`y = s x + t` by constant statistics.

    :math:`s = \gamma (v + \epsilon)^{-1/2}` and :math:`t = \beta - s m`.
    """
    if args["batch_stat"]:
        raise ValueError(
            "a BatchNormalization with batch statistics is built of elementary functions"
        )
    s = F.pow_scalar(F.add_scalar(given.variance, args["eps"]), -0.5)
    s = s if given.gamma is None else s * given.gamma
    t = -1.0 * (s * given.mean)
    return s, t if given.beta is None else t + given.beta


def scale_and_shift_tangents(F: Any, args: Args, v: Inputs, d: Inputs) -> tuple[Any, Any]:
    r"""Return s' and t' of `scale_and_shift`.

    With :math:`i = (v + \epsilon)^{-1/2}`: :math:`s' = i \gamma' - i^3 \gamma v' / 2` and
    :math:`t' = \beta' - s' m - s m'`.
    """
    moved = F.add_scalar(v.variance, args["eps"])
    inverse = F.pow_scalar(moved, -0.5)
    s = inverse if v.gamma is None else inverse * v.gamma
    by_variance = None if d.variance is None else (s / moved) * d.variance * -0.5
    ds = total(along(d.gamma, inverse), by_variance)
    by_mean = None if d.mean is None else (s * d.mean) * -1.0
    by_s = None if ds is None else (ds * v.mean) * -1.0
    return ds, total(d.beta, by_s, by_mean)


def _batch_normalization(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """By constant statistics, y = s x + t: y' = s x' + s' x + t'."""
    v, d = Inputs.of(args, x), Inputs.of(args, dx)
    s, _ = scale_and_shift(F, args, v)
    ds, dt = scale_and_shift_tangents(F, args, v, d)
    return to_shape_of(F, total(along(d.x, s), along(ds, v.x), dt), y[0])


def normalized(F: Any, x: Any, axes: Sequence[int], eps: float) -> tuple[Any, Any]:
    r"""Return n = (x - mean) s, with :math:`s = (\mathrm{variance} + \epsilon)^{-1/2}`, and s."""
    centred = x - F.mean(x, axes=axes, keep_dims=True)
    variance = F.mean(centred * centred, axes=axes, keep_dims=True)
    s = F.pow_scalar(F.add_scalar(variance, eps), -0.5)
    return centred * s, s


def normalized_tangent(F: Any, x: Any, dx: Any, axes: Sequence[int], eps: float) -> Any:
    """Return the tangent of `normalized`: n' = s (c' - n mean(n c')) with c' = x' - mean(x')."""
    n, s = normalized(F, x, axes, eps)
    centred = dx - F.mean(dx, axes=axes, keep_dims=True)
    return s * (centred - n * F.mean(n * centred, axes=axes, keep_dims=True))


def grouped(kind: str, args: Args, shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the shape that a normalisation sees its input in, and the axes of its statistics."""
    ndim, shape = len(shape), list(shape)
    if kind == "TensorNormalization":
        kept = [axis % ndim for axis in args["axes"]]
    elif kind == "WeightStandardization":
        kept = [args["channel_axis"] % ndim]
    else:
        kept = [axis % ndim for axis in args["batch_axis"]]
    if kind == "InstanceNormalization":
        kept.append(args["channel_axis"] % ndim)
    if kind == "GroupNormalization":
        axis, groups = args["channel_axis"] % ndim, args["num_groups"]
        shape[axis : axis + 1] = [groups, shape[axis] // groups]
        kept = [*(i + (i > axis) for i in kept), axis]
    return shape, [i for i in range(len(shape)) if i not in kept]


def statistical(kind: str) -> Any:
    """Return the rule of y = gamma n + beta with n of `normalized`: gamma n' + gamma' n + beta'."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        v, d = (
            Inputs.of({"no_bias": len(x) < 2, "no_scale": len(x) < 2, **args}, g) for g in (x, dx)
        )
        shape, axes = grouped(kind, args, v.x.shape)
        seen = F.reshape(v.x, shape, inplace=False)
        found = d.beta
        if d.gamma is not None:
            n, _ = normalized(F, seen, axes, args["eps"])
            found = total(found, F.reshape(n, v.x.shape, inplace=False) * d.gamma)
        if d.x is not None:
            along_x = F.reshape(d.x, shape, inplace=False)
            dn = normalized_tangent(F, seen, along_x, axes, args["eps"])
            dn = F.reshape(dn, v.x.shape, inplace=False)
            found = total(found, dn if v.gamma is None else dn * v.gamma)
        return to_shape_of(F, found, y[0])

    return rule


def _weight_normalization(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    r"""Y = g n with :math:`n = w / \sqrt{\sum w^2 + \epsilon}`: y' = g n' + g' n.

    :math:`n' = (w' - n \sum n w') / \sqrt{\sum w^2 + \epsilon}`.
    """
    (w, g), (dw, dg) = x, dx
    axis = args["dim"] % w.ndim
    axes = [i for i in range(w.ndim) if i != axis]
    shape = [g.shape[0] if i == axis else 1 for i in range(w.ndim)]
    size = F.sum(w * w, axes=axes, keep_dims=True)
    size = F.pow_scalar(F.add_scalar(size, args["eps"]), 0.5)
    n = w / size
    along_g = None if dg is None else n * F.reshape(dg, shape, inplace=False)
    along_w = None
    if dw is not None:
        dn = (dw - n * F.sum(n * dw, axes=axes, keep_dims=True)) / size
        along_w = dn * F.reshape(g, shape, inplace=False)
    return total(along_w, along_g)


def _norm_normalization(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Y = x / |x|: y' = (x' - y |x|') / |x|."""
    p, axes = args["p"], args["axes"]
    size = F.norm(x[0], p=p, axes=axes, keep_dims=True)
    return (dx[0] - y[0] * norm_tangent(F, x[0], dx[0], size, p, axes, True)) / size


def _mean_subtraction(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Y = x - m, by a constant mean."""
    return to_shape_of(F, total(dx[0], None if dx[1] is None else -1.0 * dx[1]), y[0])


STATISTICAL = (
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "TensorNormalization",
    "WeightStandardization",
)

RULES = {
    **{kind: statistical(kind) for kind in STATISTICAL},
    "BatchNormalization": _batch_normalization,
    "MeanSubtraction": _mean_subtraction,
    "NormNormalization": _norm_normalization,
    "WeightNormalization": _weight_normalization,
}
