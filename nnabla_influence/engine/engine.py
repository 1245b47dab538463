r"""The engine: losses, predictions, gradients, J u and H u of mini-batches.

For a mini-batch with per-example losses :math:`l_j(\theta)` and weights :math:`v_j`,

.. math:: (J u)_j = \langle u, \nabla l_j \rangle, \qquad H u = \sum_j v_j \nabla^2 l_j \, u.

J u is the *tangent* of the losses along u: one forward pass carries it beside each value. And

.. math:: H u = \nabla_\theta \sum_j v_j (J u)_j,

so one ordinary backward pass through both gives H u: no second derivative of any function is
needed, only its tangent (`nnabla_influence.engine.tangents`). With :math:`v_j = 1/|S|` it is the
Hessian of the *mean* loss of the mini-batch: no further factor belongs anywhere. (Pearlmutter,
"Fast exact multiplication by the Hessian", 1994.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Objective
from nnabla_influence.errors import UnsupportedError


@dataclass(frozen=True, eq=False)
class Chunk:
    """A part of a mini-batch, filled up to the size that the network was built for.

    Attributes:
        inputs: By name of a dataset column or a draw, arrays of shape ``(B, ...)``.
        weights: :math:`v_j`, shape ``(B,)``; 0 where filled up.
        penalty: What the loss's terms that are no example's count.
        part: Which examples of the mini-batch it holds.
    """

    inputs: Mapping[str, np.ndarray]
    weights: np.ndarray
    penalty: float
    part: slice

    @property
    def n(self) -> int:
        """How many examples it holds."""
        return self.part.stop - self.part.start


@dataclass(frozen=True, eq=False)
class Tangents:
    r"""How a mini-batch's losses and outputs move along u.

    Attributes:
        losses: :math:`(J u)_j = \langle u, \nabla l_j \rangle`, shape ``(n,)``, float64.
        outputs: Of what the loss compares with its target, such as logits, shape ``(n, ...)``; None
            where ``objective.outputs`` is.
    """

    losses: np.ndarray
    outputs: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network gives for a mini-batch.

    Attributes:
        losses: Shape ``(n,)``, float64.
        predictions: Shape ``(n,)``; None where ``objective.prediction`` is.
        values: Of what the loss compares with its target, such as logits, shape ``(n, ...)``; None
            where ``objective.outputs`` is.
    """

    losses: np.ndarray
    predictions: np.ndarray | None
    values: np.ndarray | None


class Engine(ABC):
    r"""J u, H u, gradients and losses of mini-batches of one objective.

    A mini-batch of any length is worked off in chunks of ``objective.batch_size`` examples; the
    last chunk is filled up with examples of weight 0. The chunk size changes speed and memory,
    never the result (beyond rounding).

    Vectors over the parameters are flat `nnabla.NdArray` of shape ``(size,)``, in the order of
    ``objective.parameters``; they stay on the device.

    Args:
        objective: The network, built at the chunk's size.

    Attributes:
        size: The number p of values that derivatives are taken by.
        dtype: Of all arrays.
    """

    def __init__(self, objective: Objective, dtype: type[np.floating[Any]] = np.float32):
        self.objective = objective
        self.dtype = dtype
        self.size = sum(variable.size for variable in objective.parameters.values())
        asked = (objective.losses, objective.prediction, objective.outputs)
        self._evaluated = [variable for variable in asked if variable is not None]

    def zeros(self) -> nn.NdArray:
        """Return a zero vector over the parameters, of shape ``(size,)``."""
        vector = nn.NdArray((self.size,))
        vector.zero()
        return vector

    @abstractmethod
    def set_parameters(self, values: Mapping[str, np.ndarray]) -> None:
        """Compute at other parameters; see `Objective.set_parameters`."""

    @abstractmethod
    def add_products(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        u: nn.NdArray,
        h: nn.NdArray,
        r: nn.NdArray | None = None,
        gauss_newton: bool = False,
    ) -> Tangents:
        r"""Return the tangents of a mini-batch along u and add its H u to ``h``.

        The Hessian has the penalty's part, once, where the loss has terms that are no example's.

        With ``r``, the gradient of what follows by the running statistics :math:`s^+` behind this
        mini-batch, it is also taken back through
        :math:`s^+ = d s + (1 - d) \sigma(\theta)`: ``h`` gets
        :math:`-(1 - d) (\partial \sigma / \partial \theta)^T r`, since h is what the adjoint
        *subtracts*, and r becomes :math:`d r`.

        With ``gauss_newton``, the Gauss-Newton matrix takes the Hessian's place,
        :math:`\sum_j v_j Z_j^T \nabla_z^2 l_j Z_j`, where :math:`Z_j` is the Jacobian of the
        outputs z by the parameters: what bends in the network itself is left out.

        Of k targets, u and h may have the shape ``(k, size)``, r ``(k, q)``, and then the tangents
        have a first axis of k.

        Args:
            inputs: By dataset column, arrays of shape ``(n, ...)``; where the objective has draws,
                these too, by their names.
            weights: :math:`v_j`, shape ``(n,)``; ``1/n`` for the mean loss.
            u: Vector over the parameters, shape ``(size,)``.
            h: :math:`\sum_j v_j \nabla^2 l_j u` is added to it, in place.
            r: Shape ``(q,)``, in the order of ``objective.statistics``; taken back in place.
            gauss_newton: Whether h gets the product with the Gauss-Newton matrix.

        Raises:
            UnsupportedError: The Gauss-Newton matrix where ``objective.outputs`` is None.
            ValueError: The mini-batch is not of the length that the objective was built for, and
                its losses depend on all of it.
        """

    @abstractmethod
    def add_gradient(
        self,
        inputs: Mapping[str, np.ndarray],
        weights: np.ndarray,
        gradient: nn.NdArray,
        penalty: float = 0,
    ) -> None:
        r"""Add :math:`\sum_j v_j \nabla l_j` of a mini-batch to ``gradient``, in place.

        The loss's terms that are no example's count ``penalty`` times.
        """

    @abstractmethod
    def outputs(self, inputs: Mapping[str, np.ndarray]) -> Evaluation:
        """Return the losses and, where the network has them, its predictions and outputs."""

    def _no_evaluation(self, n: int) -> dict[nn.Variable, np.ndarray]:
        """Return arrays for what `outputs` returns of n examples, to be filled."""
        o = self.objective
        return {
            v: np.empty((n, *v.shape[1:]), self.dtype if v is o.outputs else np.float64)
            for v in self._evaluated
        }

    def _evaluation(self, found: Mapping[nn.Variable, np.ndarray]) -> Evaluation:
        o = self.objective
        predictions, values = (None if v is None else found[v] for v in (o.prediction, o.outputs))
        return Evaluation(found[o.losses], predictions, values)

    def _chunks(
        self, inputs: Mapping[str, np.ndarray], weights: np.ndarray, penalty: float
    ) -> Iterator[Chunk]:
        size, n = self.objective.batch_size, len(weights)
        if self.objective.whole_batch and n != size:
            raise ValueError(
                f"a mini-batch of {n} examples for a training objective of {size}, whose"
                " losses depend on all of them; build one of the mini-batch's size"
            )
        names = [*self.objective.inputs, *(draw.name for draw in self.objective.draws)]
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            filling = size - (part.stop - start)
            arrays = {}
            for name in names:
                data = inputs[name][part].astype(self.dtype, copy=False)
                if filling:
                    # A real example, since anything else could be outside a loss's domain.
                    data = np.concatenate([data, np.repeat(data[-1:], filling, axis=0)])
                arrays[name] = data
            v = np.zeros(size, self.dtype)
            v[: size - filling] = weights[part]
            yield Chunk(arrays, v, penalty if start == 0 else 0, part)

    def _check_gauss_newton(self) -> nn.Variable:
        outputs = self.objective.outputs
        if outputs is None:
            raise UnsupportedError(
                f"{self.objective.definition.path}: there is no Gauss-Newton matrix of a loss that"
                " is not one comparison of outputs with a target; use the Hessian"
            )
        return outputs


def decay_rates(objective: Objective) -> np.ndarray:
    """Return d of each value of the running statistics, shape ``(q,)``, float32."""
    return np.concatenate(
        [np.full(s.value.size, s.decay_rate, np.float32) for s in objective.statistics]
    )
