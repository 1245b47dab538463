r"""Adam and its kin: a running mean of the gradients over a running measure of their size."""

from __future__ import annotations

import math
from collections.abc import Mapping

import nnabla as nn
import nnabla.functions as NF

from nnabla_influence.definition.solver_settings import SolverSettings
from nnabla_influence.solvers.adjoint import (
    Behind,
    RuleAdjoint,
    larger,
    minus,
    square_root,
    times,
)
from nnabla_influence.solvers.settings import hyperparameter
from nnabla_influence.solvers.state import STATE_NAMES


class AdamAdjoint(RuleAdjoint):
    r"""Adam with :math:`\beta_1, \beta_2, \varepsilon` and learning rate :math:`\eta`.

    Rule, in the t-th update from 1:

    .. math::

        m^+ &= \beta_1 m + (1 - \beta_1) g \\
        v^+ &= \beta_2 v + (1 - \beta_2) g^2 \\
        \alpha &= \eta \sqrt{1 - \beta_2^t} / (1 - \beta_1^t), \quad q = \sqrt{v^+} + \varepsilon \\
        \theta^+ &= \theta - \alpha m^+ / q

    Adjoint:

    .. math::

        \lambda'_m &= \lambda_m^+ - \alpha u^+ / q \\
        \lambda'_v &= \lambda_v^+ + \alpha u^+ m^+ / (2 \sqrt{v^+} q^2) \\
        a &= -(1 - \beta_1) \lambda'_m - 2 (1 - \beta_2) g \lambda'_v \\
        \lambda_m &= \beta_1 \lambda'_m, \quad \lambda_v = \beta_2 \lambda'_v

    nnabla calls m ``mean`` and v ``var``.
    """

    needs_before = True
    states = STATE_NAMES["Adam"]

    def __init__(self, u: nn.NdArray, solver: SolverSettings, context: nn.Context):
        self.beta1 = hyperparameter(solver, "beta1")
        self.beta2 = hyperparameter(solver, "beta2")
        self.eps = hyperparameter(solver, "eps")
        super().__init__(u, solver, context)

    def rate(self, learning_rate: float, t: int) -> float:
        r"""Return :math:`\alpha`."""
        return learning_rate * math.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        g = behind.g
        m = self.beta1 * behind.states["mean"] + (1 - self.beta1) * g
        v = self.beta2 * behind.states["var"] + (1 - self.beta2) * times(g, g)
        root, per_root = square_root(v)
        per_q = 1.0 / (root + self.eps)
        step = times(behind.rate, behind.u, per_q)
        along_m = minus(behind.lambdas["mean"], step)
        along_v = behind.lambdas["var"] + 0.5 * times(m, per_root, step, per_q)
        d = (1 - self.beta1) * along_m + 2 * (1 - self.beta2) * times(g, along_v)
        return d, {"mean": self.beta1 * along_m, "var": self.beta2 * along_v}


class AdamWAdjoint(AdamAdjoint):
    r"""AdamW: Adam that decays the parameters itself, by w.

    Rule, :math:`\eta_0` the constructor's learning rate:
    :math:`\theta^+ = \theta - \alpha m^+ / q - \kappa \theta`, :math:`\kappa = w \eta / \eta_0`.

    Adjoint: Adam's, with :math:`u = (1 - \kappa) u^+ - H a`.
    """

    states = STATE_NAMES["AdamW"]


class AmsgradAdjoint(AdamAdjoint):
    r"""AMSGRAD: Adam over the greatest v so far.

    Rule: m and v as Adam's, and

    .. math::

        \hat v^+ &= \max(\hat v, v^+), \quad q = \sqrt{\hat v^+} + \varepsilon \\
        \theta^+ &= \theta - \alpha m^+ / q

    with Adam's :math:`\alpha` where ``bias_correction`` is set, else :math:`\alpha = \eta`.

    Adjoint, c = 1 where :math:`v^+ > \hat v`, else 0 (so a tie is :math:`\hat v`'s, as nnabla's
    comparison has it):

    .. math::

        \lambda'_m &= \lambda_m^+ - \alpha u^+ / q \\
        \lambda'_{\hat v} &= \lambda_{\hat v}^+ + \alpha u^+ m^+ / (2 \sqrt{\hat v^+} q^2) \\
        \lambda'_v &= \lambda_v^+ + c \lambda'_{\hat v} \\
        a &= -(1 - \beta_1) \lambda'_m - 2 (1 - \beta_2) g \lambda'_v \\
        \lambda_m &= \beta_1 \lambda'_m, \quad \lambda_v = \beta_2 \lambda'_v, \quad
        \lambda_{\hat v} = (1 - c) \lambda'_{\hat v}
    """

    states = STATE_NAMES["AMSGRAD"]

    def __init__(self, u: nn.NdArray, solver: SolverSettings, context: nn.Context):
        self.bias_correction = bool(hyperparameter(solver, "bias_correction"))
        super().__init__(u, solver, context)

    def rate(self, learning_rate: float, t: int) -> float:
        r"""Return :math:`\alpha`."""
        return super().rate(learning_rate, t) if self.bias_correction else learning_rate

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        g, v_hat = behind.g, behind.states["v_hat"]
        m = self.beta1 * behind.states["m"] + (1 - self.beta1) * g
        v = self.beta2 * behind.states["v"] + (1 - self.beta2) * times(g, g)
        v_hat, from_v = larger(v_hat, v)
        root, per_root = square_root(v_hat)
        per_q = 1.0 / (root + self.eps)
        step = times(behind.rate, behind.u, per_q)
        along_m = minus(behind.lambdas["m"], step)
        along_hat = behind.lambdas["v_hat"] + 0.5 * times(m, per_root, step, per_q)
        along_v = behind.lambdas["v"] + times(from_v, along_hat)
        d = (1 - self.beta1) * along_m + 2 * (1 - self.beta2) * times(g, along_v)
        return d, {
            "m": self.beta1 * along_m,
            "v": self.beta2 * along_v,
            "v_hat": times(1.0 - from_v, along_hat),
        }


class AdamaxAdjoint(AdamAdjoint):
    r"""Adamax: Adam over a decaying maximum w (nnabla's state ``u``).

    Rule:

    .. math::

        m^+ &= \beta_1 m + (1 - \beta_1) g \\
        w^+ &= \max(\beta_2 w, |g|) \\
        \alpha &= \eta / (1 - \beta_1^t), \quad q = w^+ + \varepsilon \\
        \theta^+ &= \theta - \alpha m^+ / q

    Adjoint, c = 1 where :math:`|g| > \beta_2 w`, else 0 (a tie is w's, as nnabla's comparison has
    it):

    .. math::

        \lambda'_m &= \lambda_m^+ - \alpha u^+ / q \\
        \lambda'_w &= \lambda_w^+ + \alpha u^+ m^+ / q^2 \\
        a &= -(1 - \beta_1) \lambda'_m - c \, \mathrm{sign}(g) \lambda'_w \\
        \lambda_m &= \beta_1 \lambda'_m, \quad \lambda_w = \beta_2 (1 - c) \lambda'_w
    """

    states = STATE_NAMES["Adamax"]

    def rate(self, learning_rate: float, t: int) -> float:
        r"""Return :math:`\alpha`."""
        return learning_rate / (1 - self.beta1**t)

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        g = behind.g
        m = self.beta1 * behind.states["m"] + (1 - self.beta1) * g
        w, from_g = larger(self.beta2 * behind.states["u"], NF.abs(g))
        per_q = 1.0 / (w + self.eps)
        step = times(behind.rate, behind.u, per_q)
        along_m = minus(behind.lambdas["m"], step)
        along_w = behind.lambdas["u"] + times(step, m, per_q)
        d = (1 - self.beta1) * along_m + times(from_g, NF.sign(g), along_w)
        return d, {"m": self.beta1 * along_m, "u": self.beta2 * times(1.0 - from_g, along_w)}
