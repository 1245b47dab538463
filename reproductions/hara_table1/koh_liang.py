r"""Influence functions of Koh and Liang (ICML 2017), the baseline of the paper's Table 1.

At the final parameters, with the mean training loss's Hessian H and the gradient v of the mean
validation loss,

.. math:: I_j = \frac1n \langle \nabla l_j, (H + \lambda I)^{-1} v \rangle,

the first-order change of the validation loss without row j if training went to the optimum.
Negative: harmful, as everywhere here. :math:`\lambda` is the weight decay, or a damping where the
Hessian need not be positive definite.

The paper's code does not solve the system but descends for 100 steps on its quadratic form, from v;
where the system is ill-conditioned, that is another method, so both are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nnabla as nn
import numpy as np
from scipy.sparse.linalg import LinearOperator, cg, eigsh

from nnabla_influence.definition import Definition, build_objective
from nnabla_influence.device import choose_device
from nnabla_influence.engine import build_engine
from nnabla_influence.runs.run import Run
from reproductions.hara_table1.data import Part

TOLERANCE = 1e-5
"""Of the relative residual; the products H u are float32."""


@dataclass(frozen=True, eq=False)
class KohLiang:
    r"""Influence functions.

    Attributes:
        influence: (n,).
        descended: As the paper's code computes it, (n,).
        solution: :math:`(H + \lambda I)^{-1} v`, (p,).
        damping: :math:`\lambda`.
        residual: Of the solution, relative to v, by one more product.
        iterations: Of the conjugate gradients.
        least_eigenvalue: Of H, where it was asked for.
    """

    influence: np.ndarray
    descended: np.ndarray
    solution: np.ndarray
    damping: float
    residual: float
    iterations: int
    least_eigenvalue: float | None


class Hessian:
    """Products with the mean training loss's Hessian, from the package's own derivatives."""

    def __init__(self, definition: Definition, run: Run, data: Part):
        context = choose_device("cpu").context
        objective = build_objective(definition, len(data), context, run.parameters())
        self.engine = build_engine(objective, context)
        self._inputs, self._weights = data.inputs, np.full(len(data), 1 / len(data))

    def gradient(self, data: Part) -> np.ndarray:
        """Return the gradient of the mean loss over other rows, (p,)."""
        gradient = self.engine.zeros()
        self.engine.add_gradient(data.inputs, np.full(len(data), 1 / len(data)), gradient)
        return np.array(gradient.data, np.float64)

    def products(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return H u, (p,), and <grad l_j, u> of each row, (n,)."""
        a, h = nn.NdArray((self.engine.size,)), self.engine.zeros()
        a.data = u
        of_rows = self.engine.add_products(self._inputs, self._weights, a, h).losses
        return np.array(h.data, np.float64), of_rows


def koh_liang(
    definition: Definition,
    run: Run,
    data: Part,
    validation: Part,
    damping: float,
    *,
    find_least: bool = False,
) -> KohLiang:
    """Compute the influence functions at the run's final parameters."""
    hessian = Hessian(definition, run, data)
    p, v = hessian.engine.size, hessian.gradient(validation)
    count = 0

    def damped(u: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return hessian.products(u)[0] + damping * u.ravel()

    operator = LinearOperator((p, p), matvec=damped, dtype=np.float64)
    solution, _ = cg(operator, v, rtol=TOLERANCE, atol=0.0, maxiter=1000)
    iterations = count
    residual = float(np.linalg.norm(damped(solution) - v) / np.linalg.norm(v))
    least = None
    if find_least:
        plain = LinearOperator((p, p), matvec=lambda u: hessian.products(u)[0], dtype=np.float64)
        start = np.random.default_rng(0).normal(size=p)
        least = float(eigsh(plain, k=1, which="SA", tol=1e-2, v0=start)[0][0])
    return KohLiang(
        influence=hessian.products(solution)[1] / len(data),
        descended=hessian.products(descend(damped, v))[1] / len(data),
        solution=solution,
        damping=damping,
        residual=residual,
        iterations=iterations,
        least_eigenvalue=least,
    )


def descend(
    product: Callable[[np.ndarray], np.ndarray], v: np.ndarray, n_steps: int = 100
) -> np.ndarray:
    """Return where momentum descent on u A u / 2 - u v, from v, stands after ``n_steps`` steps.

    The rates are those of the paper's code: 0.01, and a momentum of 0.9.
    """
    u, velocity = v.copy(), np.zeros_like(v)
    for _ in range(n_steps):
        velocity = 0.9 * velocity + product(u) - v
        u -= 0.01 * velocity
    return u
