"""Sgd and its kin: rules that are linear, so that their adjoints need no values of the training."""

from __future__ import annotations

from collections.abc import Mapping

import nnabla as nn

from nnabla_influence.solvers.adjoint import Behind, RuleAdjoint, minus, times
from nnabla_influence.solvers.settings import hyperparameter
from nnabla_influence.solvers.state import STATE_NAMES


class SgdAdjoint(RuleAdjoint):
    r"""Sgd with learning rate :math:`\eta`.

    Rule: :math:`\theta^+ = \theta - \eta g`.

    Adjoint: :math:`a = \eta u^+`, so that :math:`u = u^+ - H a - r a` is Hara et al.'s
    :math:`u = (I - \eta (H + r I)) u^+`.
    """

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        return -1.0 * times(behind.rate, behind.u), {}


class MomentumAdjoint(RuleAdjoint):
    r"""Momentum :math:`\mu` with learning rate :math:`\eta`, which sits inside m.

    Rule:

    .. math::

        m^+ &= \mu m + \eta g \\
        \theta^+ &= \theta - m^+

    Adjoint:

    .. math::

        \lambda'_m &= \lambda_m^+ - u^+ \\
        a &= -\eta \lambda'_m \\
        \lambda_m &= \mu \lambda'_m
    """

    states = STATE_NAMES["Momentum"]

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        momentum = hyperparameter(self.solver, "momentum")
        along_m = minus(behind.lambdas["m"], behind.u)
        return times(behind.rate, along_m), {"m": momentum * along_m}


class SgdWAdjoint(MomentumAdjoint):
    r"""SgdW: Momentum that decays the parameters itself, by w.

    Rule, :math:`\eta_0` the constructor's learning rate:

    .. math::

        m^+ &= \mu m + \eta g \\
        \theta^+ &= \theta - m^+ - \kappa \theta, \quad \kappa = w \eta / \eta_0

    Adjoint: Momentum's, with :math:`u = (1 - \kappa) u^+ - H a`.
    """

    states = STATE_NAMES["SgdW"]


class NesterovAdjoint(RuleAdjoint):
    r"""Nesterov's momentum :math:`\mu` with learning rate :math:`\eta`.

    Rule:

    .. math::

        m^+ &= \mu m - \eta g \\
        \theta^+ &= \theta - \mu m + (1 + \mu) m^+

    Adjoint:

    .. math::

        \lambda'_m &= \lambda_m^+ + (1 + \mu) u^+ \\
        a &= \eta \lambda'_m \\
        \lambda_m &= \mu (\lambda'_m - u^+)
    """

    states = STATE_NAMES["Nesterov"]

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        momentum = hyperparameter(self.solver, "momentum")
        along_m = behind.lambdas["m"] + (1 + momentum) * behind.u
        return -1.0 * times(behind.rate, along_m), {"m": momentum * minus(along_m, behind.u)}
