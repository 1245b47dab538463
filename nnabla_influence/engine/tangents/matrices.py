"""Tangents of functions of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnabla_influence.engine.functions import named
from nnabla_influence.engine.tangents.arithmetic import total
from nnabla_influence.engine.tangents.arrays import constant, linear

Args = Mapping[str, Any]
Values = Sequence[Any]


def product(kind: str) -> Any:
    """Return the rule of a product: the sum of those with one factor's tangent for the factor."""

    def rule(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
        f = named(F, kind)
        return total(
            *(
                f(*x[:i], tangent, *x[i + 1 :], **args)
                for i, tangent in enumerate(dx)
                if tangent is not None
            )
        )

    return rule


def _batch_inv(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Y = X^{-1}: Y' = -Y X' Y."""
    return -1.0 * F.batch_matmul(F.batch_matmul(y[0], dx[0]), y[0])


def _batch_det(F: Any, args: Args, x: Values, dx: Values, y: Values) -> Any:
    """Y = det X: y' = y tr(X^{-1} X')."""
    return y[0] * F.sum(F.transpose(F.batch_inv(x[0]), (0, 2, 1)) * dx[0], axes=[1, 2])


RULES = {
    "BatchDet": _batch_det,
    "BatchInv": _batch_inv,
    "BatchMatmul": product("BatchMatmul"),
    "Einsum": product("Einsum"),
    "EyeLike": constant,
    "MatrixDiag": linear("MatrixDiag"),
    "MatrixDiagPart": linear("MatrixDiagPart"),
    "Trilu": linear("Trilu"),
}
