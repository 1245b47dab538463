r"""Tangents: how the outputs of a function move when its inputs do.

For y = f(x_1, ..., x_n), with the tangents x'_i of its inputs, the tangent of the output is

.. math:: y' = \sum_i \frac{\partial f}{\partial x_i} x'_i.

One rule a function, written in functions that both engines have under nnabla's own names and
arguments (F). A rule takes (F, args, x, dx, y): the inputs, their tangents (None: zero; not all of
them are), and the outputs; it returns the tangent of the output, or a list where there are several.
What a rule computes is differentiated once more by the backward pass, so it must say how y' depends
on x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnabla_influence.engine.tangents import (
    arithmetic,
    arrays,
    layers,
    losses,
    matrices,
    normalizations,
    poolings,
)
from nnabla_influence.engine.tangents.elementwise import DERIVATIVES

Rule = Callable[..., Any]

RULES: Mapping[str, Rule] = {
    **arithmetic.RULES,
    **arrays.RULES,
    **layers.RULES,
    **losses.RULES,
    **matrices.RULES,
    **normalizations.RULES,
    **poolings.RULES,
}
"""By nnabla's type of function."""


def has_tangent(kind: str) -> bool:
    """Return whether there is a rule for a function."""
    return kind in RULES or kind in DERIVATIVES


def tangents_of(
    F: Any,
    kind: str,
    args: Mapping[str, Any],
    x: Sequence[Any],
    dx: Sequence[Any],
    y: Sequence[Any],
) -> list[Any]:
    """Return the tangents of a function's outputs, None where they are zero.

    Args:
        F: The functions of an engine.
        kind: nnabla's type of function.
        args: Its arguments.
        x: Its inputs.
        dx: Their tangents, None where zero; at least one is not.
        y: Its outputs.
    """
    if kind in DERIVATIVES:
        return [dx[0] * DERIVATIVES[kind](F, x[0], y[0], **args)]
    if kind not in RULES:
        return [None] * len(y)  # it is refused, unless an Unlink stops the tangent behind it
    found = RULES[kind](F, args, x, dx, y)
    return list(found) if isinstance(found, (list, tuple)) else [found]
