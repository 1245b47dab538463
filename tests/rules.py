"""The solvers' rules in JAX and float64: the yardstick of the adjoints and of whole trainings.

Written from nnabla's formulas, as rules only: their derivatives are JAX's. Where a rule has a kink,
the branch is the one that nnabla's comparison takes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


def _float(value):
    """The C++ float that nnabla holds, as float64."""
    return float(np.float32(value))


def _root(v):
    """The square root; its derivative at 0 is 0."""
    return jnp.where(v > 0, jnp.sqrt(jnp.where(v > 0, v, 1.0)), 0.0)


def _larger(kept, new):
    """The maximum; of equal values the kept one."""
    return jnp.where(kept < new, new, kept)


def _bias_correction(hyper, t):
    return np.sqrt(1 - hyper["beta2"] ** (t + 1)) / (1 - hyper["beta1"] ** (t + 1))


def _fused(theta, lr, hyper, decay):
    return lr / hyper["lr"] * (decay if decay > 0 else hyper["wd"]) * theta


def sgd(theta, states, g, lr, t, hyper, decay):
    return theta - lr * (g + decay * theta), {}


def momentum(theta, states, g, lr, t, hyper, decay):
    m = hyper["momentum"] * states["m"] + lr * (g + decay * theta)
    return theta - m, {"m": m}


def sgdw(theta, states, g, lr, t, hyper, decay):
    m = hyper["momentum"] * states["m"] + lr * g
    return theta - m - _fused(theta, lr, hyper, decay), {"m": m}


def nesterov(theta, states, g, lr, t, hyper, decay):
    mu = hyper["momentum"]
    m = mu * states["m"] - lr * (g + decay * theta)
    return theta - mu * states["m"] + (1 + mu) * m, {"m": m}


def _checkpoints(m, v, g, hyper):
    b1, b2 = hyper["beta1"], hyper["beta2"]
    return b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2


def adam(theta, states, g, lr, t, hyper, decay):
    m, v = _checkpoints(states["mean"], states["var"], g + decay * theta, hyper)
    step = lr * _bias_correction(hyper, t) * m / (_root(v) + hyper["eps"])
    return theta - step, {"mean": m, "var": v}


def adamw(theta, states, g, lr, t, hyper, decay):
    after, states = adam(theta, states, g, lr, t, hyper, 0.0)
    return after - _fused(theta, lr, hyper, decay), states


def amsgrad(theta, states, g, lr, t, hyper, decay):
    m, v = _checkpoints(states["m"], states["v"], g + decay * theta, hyper)
    v_hat = _larger(states["v_hat"], v)
    rate = lr * (_bias_correction(hyper, t) if hyper["bias_correction"] else 1.0)
    after = theta - rate * m / (_root(v_hat) + hyper["eps"])
    return after, {"m": m, "v": v, "v_hat": v_hat}


def adamax(theta, states, g, lr, t, hyper, decay):
    g = g + decay * theta
    m = hyper["beta1"] * states["m"] + (1 - hyper["beta1"]) * g
    u = _larger(hyper["beta2"] * states["u"], jnp.abs(g))
    after = theta - lr / (1 - hyper["beta1"] ** (t + 1)) * m / (u + hyper["eps"])
    return after, {"m": m, "u": u}


def rmsprop(theta, states, g, lr, t, hyper, decay):
    g = g + decay * theta
    v = hyper["decay"] * states["v"] + (1 - hyper["decay"]) * g**2
    return theta - lr * g / (_root(v) + hyper["eps"]), {"v": v}


def adagrad(theta, states, g, lr, t, hyper, decay):
    g = g + decay * theta
    v = states["v"] + g**2
    return theta - lr * g / (_root(v) + hyper["eps"]), {"v": v}


def adadelta(theta, states, g, lr, t, hyper, decay):
    g = g + decay * theta
    rho, eps = hyper["decay"], hyper["eps"]
    v = rho * states["e_sqr_grad"] + (1 - rho) * g**2
    delta = jnp.sqrt((states["e_sqr_delta"] + eps) / (v + eps)) * g
    x = rho * states["e_sqr_delta"] + (1 - rho) * delta**2
    return theta - lr * delta, {"e_sqr_grad": v, "e_sqr_delta": x}


def _with_floats(rule):
    """The rule at the C++ floats of its hyper-parameters, learning rate and weight decay."""

    def rounded(theta, states, g, lr, t, hyper, decay):
        hyper = {name: _float(value) for name, value in hyper.items()}
        return rule(theta, states, g, _float(lr), t, hyper, _float(decay))

    return rounded


RULES = {
    "Sgd": _with_floats(sgd),
    "SgdW": _with_floats(sgdw),
    "Momentum": _with_floats(momentum),
    "Nesterov": _with_floats(nesterov),
    "Adam": _with_floats(adam),
    "AdamW": _with_floats(adamw),
    "AMSGRAD": _with_floats(amsgrad),
    "Adamax": _with_floats(adamax),
    "RMSprop": _with_floats(rmsprop),
    "Adagrad": _with_floats(adagrad),
    "Adadelta": _with_floats(adadelta),
}
"""By solver: ``(theta, states, g, lr, t, hyper, decay) -> (theta, states)``.

g is without weight decay, t the number of updates done before, ``hyper`` and ``decay`` as in
`SolverSettings`; theta and every state are arrays of one shape."""

STATES = {
    "Sgd": (),
    "SgdW": ("m",),
    "Momentum": ("m",),
    "Nesterov": ("m",),
    "Adam": ("mean", "var"),
    "AdamW": ("mean", "var"),
    "AMSGRAD": ("m", "v", "v_hat"),
    "Adamax": ("m", "u"),
    "RMSprop": ("v",),
    "Adagrad": ("v",),
    "Adadelta": ("e_sqr_grad", "e_sqr_delta"),
}


def first_states(name, theta):
    """The states that a training starts with."""
    return {state: jnp.zeros_like(theta) for state in STATES[name]}
