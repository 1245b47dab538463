r"""For each solver that can be traced: its rule and its adjoint, side by side.

An update takes the gradient :math:`g = \sum_j v_j \nabla l_j(\theta)` of its mini-batch, weights
:math:`v_j = 1/|S|`, to new parameters :math:`\theta^+`. Going backward, :math:`u^+` is the gradient
of the validation loss with respect to :math:`\theta^+`. Every rule's adjoint has the same two
parts, with a vector *a* between them that alone touches the network:

1. :math:`a = -(\partial \theta^+ / \partial g)^\top u^+`, so that leaving row j out of the step
   (:math:`v_j \to 0`) changes the validation loss by :math:`v_j \langle a, \nabla l_j \rangle` to
   first order: the row's influence in this step;
2. :math:`u = (\partial \theta^+ / \partial \theta)^\top u^+ - H a`, H the Hessian of
   :math:`\sum_j v_j l_j`, plus weight decay's part.

Sources: nnabla's C++ for the rules (``src/nbla/solver/generic``); Hara et al., "Data Cleansing for
Models Trained with SGD" (NeurIPS 2019), for the adjoint of SGD.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import nnabla as nn
import numpy as np

from nnabla_influence.errors import UnsupportedError


class Adjoint(Protocol):
    """A solver's update, run backward.

    Attributes:
        u: Gradient of the validation loss with respect to the parameters at the current point of
            the trace, shape ``(p,)``.
    """

    u: nn.NdArray

    def begin(self, learning_rate: float) -> nn.NdArray:
        """Return the vector a of the step that is traced next, shape ``(p,)``."""

    def finish(self, h: nn.NdArray) -> None:
        """Take ``u`` from behind the step to before it, given H a of shape ``(p,)``."""


class SgdAdjoint:
    r"""Sgd with weight decay r and learning rate :math:`\eta`.

    Rule: :math:`\theta^+ = \theta - \eta (g + r \theta)`.

    Adjoint: :math:`a = \eta u^+`, :math:`u = u^+ - H a - r a`; that is Hara et al.'s
    :math:`u = (I - \eta (H + r I)) u^+`.

    Args:
        u: Gradient of the validation loss at the end of the window, shape ``(p,)``; changed in
            place.
        weight_decay: r.
        context: Where to compute.
    """

    def __init__(self, u: nn.NdArray, weight_decay: float, context: nn.Context):
        self.u = u
        self._context = context
        with nn.context_scope(context):
            u_behind = nn.Variable(u.shape)
            u_behind.data = u
            self._eta = nn.Variable((1,))
            self._h = nn.Variable(u.shape)
            self._a = self._eta * u_behind
            self._a.persistent = True
            given_a = self._a.get_unlinked_variable()
            self._u_before = u_behind - self._h - weight_decay * given_a

    def begin(self, learning_rate: float) -> nn.NdArray:
        r"""Return :math:`a = \eta u^+`."""
        with nn.context_scope(self._context):
            self._eta.d = learning_rate
            self._a.forward()
        return self._a.data

    def finish(self, h: nn.NdArray) -> None:
        """Set :math:`u = u^+ - H a - r a`."""
        with nn.context_scope(self._context):
            self._h.data.copy_from(h)
            self._u_before.forward()
            self.u.copy_from(self._u_before.data)


SOLVERS = {"Sgd": SgdAdjoint}


def check_solver(name: str, where: Path) -> None:
    """Refuse a solver that has no adjoint here.

    Args:
        name: nnabla's name.
        where: The model file or run that names it, for the message.

    Raises:
        UnsupportedError: It names the solver and the reason.
    """
    if name not in SOLVERS:
        raise UnsupportedError(
            f"{where}: solver {name} cannot be traced back yet: its update depends on a state"
            " beside the parameters, and scores that treat it as plain Sgd would be wrong; train"
            " with one of"
            f" {', '.join(SOLVERS)} to get scores"
        )


def build_adjoint(name: str, u: nn.NdArray, weight_decay: float, context: nn.Context) -> Adjoint:
    """Return the adjoint of a solver of `SOLVERS`, starting at ``u`` of shape ``(p,)``.

    Raises:
        UnsupportedError: The weight decay is no such number.
    """
    if not np.isfinite(weight_decay) or weight_decay < 0:
        raise UnsupportedError(f"weight decay {weight_decay} is not a number from 0 up")
    return SOLVERS[name](u, weight_decay, context)
