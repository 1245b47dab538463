r"""What the adjoints of all solvers share.

An update takes the parameters :math:`\theta` and the solver's states s to :math:`\theta^+, s^+`,
given the gradient of its mini-batches,

.. math::

    g = \sum_j v_j \nabla l_j(\theta) + r \theta,

weights :math:`v_j = 1/|S|`, weight decay r. In every solver of nnabla each element is updated on
its own, and :math:`\theta` itself enters as :math:`\theta^+ = (1 - \kappa) \theta + \ldots`, with
:math:`\kappa = 0` except where the solver decays the parameters itself (SgdW, AdamW).

Going backward, :math:`u^+` is the gradient of the validation loss L with respect to
:math:`\theta^+`, and :math:`\lambda_s^+` the one with respect to :math:`s^+`; the latter is 0 at
the window's end, where nothing that follows uses the states. Every step has three parts:

1. :math:`a = -\partial L / \partial g`, a function of :math:`u^+, \lambda_s^+`, so that leaving row
   j out of the step (:math:`v_j \to 0`) changes the validation loss by
   :math:`v_j \langle a, \nabla l_j \rangle` to first order: the row's influence in this step;
2. :math:`u = (1 - \kappa) u^+ - H a - r a`, H the Hessian of :math:`\sum_j v_j l_j`;
3. :math:`\lambda_s`, from :math:`u^+, \lambda_s^+`.

H a, of part 2, alone touches the network. Each solver's class gives the first and the last part.

Sources: nnabla's C++ for the rules (``src/nbla/solver/generic``); Hara et al., "Data Cleansing for
Models Trained with SGD" (NeurIPS 2019), for the adjoint of SGD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import nnabla as nn
import nnabla.functions as NF

from nnabla_influence.definition.solver_settings import SolverSettings
from nnabla_influence.solvers.settings import fused_decay, gradient_decay


@dataclass(frozen=True, eq=False)
class Before:
    r"""What an update started from; vectors of shape ``(p,)``.

    Attributes:
        theta: The parameters.
        gradient: :math:`\sum_j v_j \nabla l_j(\theta)` over all the update's mini-batches, without
            weight decay.
        states: The solver's states, by nnabla's names.
        t: How many updates were done before this one.
    """

    theta: nn.NdArray
    gradient: nn.NdArray
    states: Mapping[str, nn.NdArray]
    t: int


class Adjoint(Protocol):
    """A solver's update, run backward.

    Attributes:
        needs_before: Whether `begin` needs what the update started from.
        u: Gradient of the validation loss with respect to the parameters at the current point of
            the trace, shape ``(p,)``.
    """

    needs_before: ClassVar[bool]
    u: nn.NdArray

    def begin(self, learning_rate: float, before: Before | None = None) -> nn.NdArray:
        """Return the vector a of the step that is traced next, shape ``(p,)``; changes nothing."""

    def finish(self, h: nn.NdArray) -> None:
        """Take u and the states' adjoints from behind the step to before it, given H a.

        H a is that of all the step's mini-batches, of shape ``(p,)``, with the loss's penalty and
        without weight decay. `begin` comes before, once for each step.
        """

    def vectors(self) -> Mapping[str, nn.NdArray]:
        """Return all that is carried from step to step, each of shape ``(p,)``.

        ``u`` and, for each state of the solver, its adjoint (``lambda_m``, ...). These are the live
        arrays: to save copy from them, to restore copy to them.
        """


class Behind(NamedTuple):
    """What is known of a step when it is traced, as graph variables of shape ``(p,)``.

    Attributes:
        u: Adjoint of the parameters behind the step.
        lambdas: Adjoints of the states behind the step, by state.
        rate: What `RuleAdjoint.rate` returns, in every element.
        g: The gradient, weight decay included; only where the adjoint needs it.
        states: The states before the step, by state; only where the adjoint needs them.
    """

    u: nn.Variable
    lambdas: Mapping[str, nn.Variable]
    rate: nn.Variable
    g: nn.Variable
    states: Mapping[str, nn.Variable]


class RuleAdjoint:
    """An `Adjoint` from the formulas of one rule, on static graphs.

    Args:
        u: Gradient of the validation loss at the end of the window, shape ``(p,)``; changed in
            place.
        solver: The hyper-parameters and the weight decay.
        context: Where to compute.

    Raises:
        UnsupportedError: A hyper-parameter or the weight decay is missing or not a valid number.
    """

    needs_before: ClassVar[bool] = False
    states: ClassVar[tuple[str, ...]] = ()

    def __init__(self, u: nn.NdArray, solver: SolverSettings, context: nn.Context):
        self.u = u
        self.solver = solver
        self._context = context
        self._decay = gradient_decay(solver)
        self._fused_decay = fused_decay(solver)
        self._lambdas = {name: nn.NdArray(u.shape) for name in self.states}
        for vector in self._lambdas.values():
            vector.zero()
        self._before = {}
        if self.needs_before:
            names = ("gradient", *(("theta",) if self._decay else ()), *self.states)
            self._before = {name: _leaf(nn.NdArray(u.shape)) for name in names}
        with nn.context_scope(context):
            self._build()

    def _build(self) -> None:
        u = _leaf(self.u)
        # Numbers that change from step to step, in every element: to broadcast one is slow.
        self._rate = _leaf(nn.NdArray(self.u.shape))
        self._kappa = _leaf(nn.NdArray(self.u.shape)) if self._fused_decay else None
        g = self._before.get("gradient")
        if self.needs_before and self._decay:
            g = g + self._decay * self._before["theta"]
        lambdas = {name: _leaf(vector) for name, vector in self._lambdas.items()}
        states = {name: self._before[name] for name in self.states if self.needs_before}
        d, new_lambdas = self.backward(Behind(u, lambdas, self._rate, g, states))
        self._a = -1.0 * d
        self._new_lambdas = dict(new_lambdas)
        outputs = [self._a, *self._new_lambdas.values()]
        for output in outputs:
            output.persistent = True
        self._begin = NF.sink(*outputs)

        self._h = _leaf(nn.NdArray(self.u.shape))
        self._u_before = minus(u, self._h)
        if self._kappa is not None:
            self._u_before = minus(self._u_before, times(self._kappa, u))
        if self._decay:
            given_a = self._a.get_unlinked_variable()
            given_a.persistent = True
            self._u_before = minus(self._u_before, self._decay * given_a)

    def rate(self, learning_rate: float, t: int) -> float:
        """Return the scalar of the rule that differs from step to step.

        Args:
            learning_rate: The step's.
            t: The update's number from 1; without meaning where the adjoint needs no `Before`.
        """
        return learning_rate

    def backward(self, behind: Behind) -> tuple[nn.Variable, Mapping[str, nn.Variable]]:
        r"""Return :math:`\partial L / \partial g` and the states' adjoints before the step."""
        raise NotImplementedError

    def begin(self, learning_rate: float, before: Before | None = None) -> nn.NdArray:
        """Return the vector a of the step that is traced next, shape ``(p,)``; changes nothing."""
        if before is None and self.needs_before:
            raise ValueError(f"the adjoint of {self.solver.name} needs the values before the step")
        self._rate.data.fill(self.rate(learning_rate, 0 if before is None else before.t + 1))
        if self._kappa is not None:
            self._kappa.data.fill(learning_rate * self._fused_decay)
        with nn.context_scope(self._context):
            if before is not None:
                given = {"theta": before.theta, "gradient": before.gradient, **before.states}
                for name, variable in self._before.items():
                    variable.data.copy_from(given[name])
            self._begin.forward(clear_buffer=True)
        return self._a.data

    def finish(self, h: nn.NdArray) -> None:
        """Take u and the states' adjoints to before the step, given H a of shape ``(p,)``."""
        with nn.context_scope(self._context):
            self._h.data.copy_from(h)
            self._u_before.forward(clear_buffer=True)
            self.u.copy_from(self._u_before.data)
            for name, vector in self._lambdas.items():
                vector.copy_from(self._new_lambdas[name].data)

    def vectors(self) -> Mapping[str, nn.NdArray]:
        """Return u and the states' adjoints, each of shape ``(p,)``; the live arrays."""
        return {"u": self.u, **{f"lambda_{k}": vector for k, vector in self._lambdas.items()}}


def _leaf(array: nn.NdArray) -> nn.Variable:
    """Return a graph's input that holds this very array, and that no forward clears."""
    variable = nn.Variable(array.shape)
    variable.data = array
    variable.persistent = True
    return variable


# On a CPU, nnabla's mul2, sub2, div2, maximum2 and greater, made to broadcast, take five to ten
# times what these take, and would cost more than the network of a multi-layer perceptron.


def times(*factors: nn.Variable) -> nn.Variable:
    """Return the product of vectors of one shape."""
    return NF.mul_n(*factors)


def minus(one: nn.Variable, other: nn.Variable) -> nn.Variable:
    """Return the difference of vectors of one shape."""
    return one + (-1.0) * other


def larger(kept: nn.Variable, new: nn.Variable) -> tuple[nn.Variable, nn.Variable]:
    """Return the maximum of two vectors of one shape, and 1 where it is the new one's alone."""
    is_new = NF.greater_scalar(minus(new, kept), 0.0)
    return NF.where(is_new, new, kept), is_new


def square_root(v: nn.Variable) -> tuple[nn.Variable, nn.Variable]:
    r"""Return :math:`\sqrt v` and its reciprocal, the latter with 0 at v = 0.

    A running mean of squares is 0 where no gradient ever was (a dead unit, a pixel that is always
    black). The root's derivative there, infinite, would meet the gradient's 0 and give nan; the
    product's limit is 0.
    """
    root = NF.pow_scalar(v, 0.5)
    positive = NF.greater_scalar(root, 0.0)
    return root, times(positive, 1.0 / (root + (1.0 - positive)))
