"""RMSprop, Adagrad and Adadelta: the gradient itself over a measure of its size."""

from __future__ import annotations

from collections.abc import Mapping

import nnabla as nn

from nnabla_influence.definition.solver_settings import SolverSettings
from nnabla_influence.solvers.adjoint import Behind, RuleAdjoint, minus, square_root, times
from nnabla_influence.solvers.settings import hyperparameter
from nnabla_influence.solvers.state import STATE_NAMES


class RmspropAdjoint(RuleAdjoint):
    r"""RMSprop with decay :math:`\rho`, :math:`\varepsilon` and learning rate :math:`\eta`.

    Rule, with :math:`c = 1 - \rho`:

    .. math::

        v^+ &= \rho v + c g^2, \quad q = \sqrt{v^+} + \varepsilon \\
        \theta^+ &= \theta - \eta g / q

    Adjoint:

    .. math::

        \lambda'_v &= \lambda_v^+ + \eta u^+ g / (2 \sqrt{v^+} q^2) \\
        a &= \eta u^+ / q - 2 c g \lambda'_v \\
        \lambda_v &= \rho \lambda'_v
    """

    needs_before = True
    states = STATE_NAMES["RMSprop"]

    def weights(self) -> tuple[float, float]:
        r"""Return :math:`\rho` and c."""
        decay = hyperparameter(self.solver, "decay")
        return decay, 1 - decay

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        g, (rho, c) = behind.g, self.weights()
        v = rho * behind.states["v"] + c * times(g, g)
        root, per_root = square_root(v)
        per_q = 1.0 / (root + hyperparameter(self.solver, "eps"))
        step = times(behind.rate, behind.u, per_q)
        along_v = behind.lambdas["v"] + 0.5 * times(g, per_root, step, per_q)
        return minus(2 * c * times(g, along_v), step), {"v": rho * along_v}


class AdagradAdjoint(RmspropAdjoint):
    r"""Adagrad: the sum of all squares.

    Rule and adjoint: RMSprop's with :math:`\rho = 1` and :math:`c = 1`.
    """

    states = STATE_NAMES["Adagrad"]

    def weights(self) -> tuple[float, float]:
        r"""Return :math:`\rho` and c."""
        return 1.0, 1.0


class AdadeltaAdjoint(RuleAdjoint):
    r"""Adadelta with decay :math:`\rho`, :math:`\varepsilon` and learning rate :math:`\eta`.

    Rule, v and x being nnabla's ``e_sqr_grad`` and ``e_sqr_delta``:

    .. math::

        v^+ &= \rho v + (1 - \rho) g^2 \\
        \delta &= s g, \quad s = \sqrt{(x + \varepsilon) / (v^+ + \varepsilon)} \\
        x^+ &= \rho x + (1 - \rho) \delta^2 \\
        \theta^+ &= \theta - \eta \delta

    Adjoint:

    .. math::

        \lambda_\delta &= -\eta u^+ + 2 (1 - \rho) \delta \lambda_x^+ \\
        \lambda'_v &= \lambda_v^+ - \lambda_\delta \delta / (2 (v^+ + \varepsilon)) \\
        a &= -s \lambda_\delta - 2 (1 - \rho) g \lambda'_v \\
        \lambda_v &= \rho \lambda'_v, \quad
        \lambda_x = \rho \lambda_x^+ + \lambda_\delta \delta / (2 (x + \varepsilon))
    """

    needs_before = True
    states = STATE_NAMES["Adadelta"]

    def __init__(self, u: nn.NdArray, solver: SolverSettings, context: nn.Context):
        self.rho = hyperparameter(solver, "decay")
        self.eps = hyperparameter(solver, "eps")
        super().__init__(u, solver, context)

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        g, rho = behind.g, self.rho
        v = rho * behind.states["e_sqr_grad"] + (1 - rho) * times(g, g) + self.eps
        per_v = 1.0 / v
        x = behind.states["e_sqr_delta"] + self.eps
        s = times(x, per_v) ** 0.5
        delta = times(s, g)
        lambda_x = behind.lambdas["e_sqr_delta"]
        along_delta = minus(2 * (1 - rho) * times(delta, lambda_x), times(behind.rate, behind.u))
        half = 0.5 * times(along_delta, delta)
        along_v = minus(behind.lambdas["e_sqr_grad"], times(half, per_v))
        return times(s, along_delta) + 2 * (1 - rho) * times(g, along_v), {
            "e_sqr_grad": rho * along_v,
            "e_sqr_delta": rho * lambda_x + times(half, 1.0 / x),
        }
