"""The list of cases that the tests share: a network in nnabla, and the same losses in JAX.

The JAX side is the yardstick: written from the layers' definitions, in float64, sharing no line
with nnabla or with the package under test.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
from nnabla.parameter import save_parameters
from nnabla.utils.save import save

jax.config.update("jax_enable_x64", True)

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One network with its loss, its inputs and its reference.

    Attributes:
        shapes: Per-example shape of each dataset column.
        classes: Number of classes of the columns that are categories.
        build: nnabla inputs -> loss of shape (B, ...).
        losses: (parameters, inputs) -> per-example losses (n,), in JAX.
        binary: Columns that hold 0 or 1.
        unit: Columns that hold values between 0 and 1.
        training_losses: As ``losses``, with batch statistics; None where there are none.
        statistics: As ``losses``, by name: what moves the running statistics (decay rate 0.9).
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    build: Callable[[Mapping[str, nn.Variable]], nn.Variable]
    losses: Callable[[Any, Any], Any]
    classes: Mapping[str, int] = field(default_factory=dict)
    binary: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()
    training_losses: Callable[[Any, Any], Any] | None = None
    statistics: Callable[[Any, Any], dict[str, Any]] | None = None

    def inputs(self, n: int, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        arrays = {}
        for column, shape in self.shapes.items():
            if column in self.classes:
                values = rng.integers(0, self.classes[column], (n, *shape))
            elif column in self.binary:
                values = rng.integers(0, 2, (n, *shape))
            elif column in self.unit:
                values = rng.uniform(size=(n, *shape))
            else:
                values = rng.normal(size=(n, *shape))
            arrays[column] = values.astype(np.float32)
        return arrays

    def parameters(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Random values for every parameter, BatchNormalization's statistics included."""
        rng = np.random.default_rng(seed + 1)
        with nn.parameter_scope("", scope={}), nn.context_scope(nn.Context()):
            self._graph(2)
            shapes = {k: v.shape for k, v in nn.get_parameters(grad_only=False).items()}
        values = {}
        for name, shape in shapes.items():
            drawn = rng.normal(size=shape, scale=0.4)
            if name.endswith(("bn/var", "bn/gamma")):
                drawn = 0.5 + drawn**2
            values[name] = drawn.astype(np.float32)
        return values

    def trainable(self, parameters: Arrays) -> list[str]:
        return sorted(k for k in parameters if not k.endswith(("bn/mean", "bn/var")))

    def _graph(self, batch_size: int) -> tuple[dict[str, nn.Variable], nn.Variable]:
        inputs = {k: nn.Variable((batch_size, *shape)) for k, shape in self.shapes.items()}
        return inputs, self.build(inputs)

    def save_definition(
        self,
        folder: Path,
        *,
        batch_size: int = 8,
        solver: Any = None,
        weight_decay: float = 0.0,
        max_epoch: int = 2,
        iter_per_epoch: int = 1,
        update_interval: int = 1,
        lr_decay: float = 1.0,
        lr_decay_interval: int = 1,
        parameters: Arrays | None = None,
    ) -> Path:
        """Write ``net.nntxt`` and ``net.h5`` (with ``parameters``) into ``folder``."""
        solver = solver or S.Sgd(0.1)
        with nn.parameter_scope("", scope={}), nn.context_scope(nn.Context()):
            inputs, loss = self._graph(batch_size)
            for name, value in (self.parameters() if parameters is None else parameters).items():
                nn.parameter.get_parameter(name).d = value
            solver.set_parameters(nn.get_parameters())
            variables = {f"Input_{column}": v for column, v in inputs.items()}
            save(
                str(folder / "net.nntxt"),
                {
                    "global_config": {"default_context": nn.Context()},
                    "training_config": {
                        "max_epoch": max_epoch,
                        "iter_per_epoch": iter_per_epoch,
                        "save_best": True,
                    },
                    "networks": [
                        {
                            "name": "Main",
                            "batch_size": batch_size,
                            "outputs": {"loss": loss},
                            "names": variables,
                        }
                    ],
                    "datasets": [
                        {
                            "name": name,
                            "uri": str(folder / f"{name.lower()}.csv"),
                            "cache_dir": "",
                            "variables": list(inputs),
                            "shuffle": name == "Training",
                            "batch_size": batch_size,
                            "no_image_normalization": False,
                        }
                        for name in ("Training", "Validation")
                    ],
                    "optimizers": [
                        {
                            "name": "Optimizer",
                            "network": "Main",
                            "dataset": "Training",
                            "solver": solver,
                            "weight_decay": weight_decay,
                            "lr_decay": lr_decay,
                            "lr_decay_interval": lr_decay_interval,
                            "update_interval": update_interval,
                            "data_variables": {f"Input_{c}": c for c in inputs},
                            "loss_variables": ["loss"],
                        }
                    ],
                    # A monitor of the same network moves running statistics between the epochs.
                    "monitors": []
                    if self.statistics
                    else [
                        {
                            "name": "valid_error",
                            "network": "Main",
                            "dataset": "Validation",
                            "data_variables": {f"Input_{c}": c for c in inputs},
                            "monitor_variables": ["loss"],
                        }
                    ],
                },
                include_params=False,
            )
            save_parameters(str(folder / "net.h5"))
        return folder / "net.nntxt"


def write_csv(path: Path, arrays: Arrays) -> Path:
    """Write arrays (n, ...) as a dataset CSV, one column an element."""
    header: list[str] = []
    columns: list[np.ndarray] = []
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1)
        header += [name] if flat.shape[1] == 1 else [f"{name}__{i}" for i in range(flat.shape[1])]
        columns += list(flat.T)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([repr(float(v)) for v in row] for row in zip(*columns))
    return path


# --------------------------------------------------------------------- layers, in JAX


def _affine(p: Any, name: str, x: Any) -> Any:
    return x.reshape(len(x), -1) @ p[f"{name}/affine/W"] + p[f"{name}/affine/b"]


def _convolution(p: Any, name: str, x: Any, pad: int = 0) -> Any:
    y = jax.lax.conv(x, p[f"{name}/conv/W"], (1, 1), [(pad, pad), (pad, pad)])
    return y + p[f"{name}/conv/b"][None, :, None, None]


def _pool(x: Any, how: Any, start: float) -> Any:
    return jax.lax.reduce_window(x, start, how, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def _batch_normalization(p: Any, name: str, x: Any, mean: Any = None, variance: Any = None) -> Any:
    mean = p[f"{name}/bn/mean"] if mean is None else mean
    variance = p[f"{name}/bn/var"] if variance is None else variance
    scale = p[f"{name}/bn/gamma"] / jnp.sqrt(variance + 1e-5)
    return (x - mean) * scale + p[f"{name}/bn/beta"]


def _batch_normalization_in_training(p: Any, name: str, x: Any, statistics: dict[str, Any]) -> Any:
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    n = x.size // x.shape[1]
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    statistics[f"{name}/bn/mean"] = mean
    statistics[f"{name}/bn/var"] = variance * n / (n - 1)
    return _batch_normalization(p, name, x, mean, variance)


def _cross_entropy(o: Any, y: Any) -> Any:
    return -jax.nn.log_softmax(o)[jnp.arange(len(y)), y[:, 0].astype(int)]


def _squared(o: Any, y: Any) -> Any:
    return ((o - y) ** 2).reshape(len(y), -1).mean(1)


def _huber(o: Any, y: Any, delta: float = 1.0) -> Any:
    d = jnp.abs(o - y)
    return jnp.where(d < delta, d**2, delta * (2 * d - delta)).reshape(len(y), -1).mean(1)


# --------------------------------------------------------------------- networks, in nnabla


def _linear(v: Any) -> Any:
    return F.squared_error(PF.affine(v["x"], 1, name="out"), v["y"])


def _mlp(v: Any) -> Any:
    h = F.tanh(PF.affine(v["x"], 7, name="h1"))
    h = F.relu(PF.affine(h, 6, name="h2"))
    return F.softmax_cross_entropy(PF.affine(h, 3, name="out"), v["y"])


def _mlp_jax(p: Any, v: Any) -> Any:
    h = jax.nn.relu(_affine(p, "h2", jnp.tanh(_affine(p, "h1", v["x"]))))
    return _cross_entropy(_affine(p, "out", h), v["y"])


def _softmax_categorical(v: Any) -> Any:
    h = F.elu(PF.affine(v["x"], 6, name="h1"))
    return F.categorical_cross_entropy(F.softmax(PF.affine(h, 4, name="out")), v["y"])


def _binary(v: Any) -> Any:
    h = F.swish(PF.affine(v["x"], 5, name="h1"))
    return F.binary_cross_entropy(F.sigmoid(PF.affine(h, 1, name="out")), v["y"])


def _binary_jax(p: Any, v: Any) -> Any:
    o = _affine(p, "out", jax.nn.swish(_affine(p, "h1", v["x"])))
    return -(v["y"] * jax.nn.log_sigmoid(o) + (1 - v["y"]) * jax.nn.log_sigmoid(-o))[:, 0]


def _soft_binary(v: Any) -> Any:
    h = F.tanh(PF.affine(v["x"], 3, name="h1"))
    return F.binary_cross_entropy(F.sigmoid(PF.affine(h, 4, name="out")), v["x"])


def _soft_binary_jax(p: Any, v: Any) -> Any:
    o = _affine(p, "out", jnp.tanh(_affine(p, "h1", v["x"])))
    return -(v["x"] * jax.nn.log_sigmoid(o) + (1 - v["x"]) * jax.nn.log_sigmoid(-o)).mean(1)


def _cnn(v: Any) -> Any:
    h = F.max_pooling(F.relu(PF.convolution(v["x"], 4, (3, 3), pad=(1, 1), name="c1")), (2, 2))
    h = F.average_pooling(F.tanh(PF.convolution(h, 3, (3, 3), pad=(1, 1), name="c2")), (2, 2))
    return F.softmax_cross_entropy(PF.affine(h, 5, name="out"), v["y"])


def _cnn_jax(p: Any, v: Any) -> Any:
    h = _pool(jax.nn.relu(_convolution(p, "c1", v["x"], 1)), jax.lax.max, -jnp.inf)
    h = _pool(jnp.tanh(_convolution(p, "c2", h, 1)), jax.lax.add, 0.0) / 4
    return _cross_entropy(_affine(p, "out", h), v["y"])


def _cnn_bn(v: Any, drop: float = 0.3) -> Any:
    h = PF.convolution(v["x"], 4, (3, 3), pad=(1, 1), name="c1")
    h = F.max_pooling(F.relu(PF.batch_normalization(h, name="n1")), (2, 2))
    h = PF.batch_normalization(PF.affine(h, 6, name="a1"), name="n2")
    h = F.dropout(h, drop) if drop else h
    return F.softmax_cross_entropy(PF.affine(F.tanh(h), 3, name="out"), v["y"])


def _cnn_bn_jax(p: Any, v: Any) -> Any:
    h = _batch_normalization(p, "n1", _convolution(p, "c1", v["x"], 1))
    h = _pool(jax.nn.relu(h), jax.lax.max, -jnp.inf)
    h = _batch_normalization(p, "n2", _affine(p, "a1", h))
    return _cross_entropy(_affine(p, "out", jnp.tanh(h)), v["y"])


def _cnn_bn_in_training_jax(p: Any, v: Any) -> tuple[Any, dict[str, Any]]:
    statistics: dict[str, Any] = {}
    h = _convolution(p, "c1", v["x"], 1)
    h = _batch_normalization_in_training(p, "n1", h, statistics)
    h = _affine(p, "a1", _pool(jax.nn.relu(h), jax.lax.max, -jnp.inf))
    h = _batch_normalization_in_training(p, "n2", h, statistics)
    return _cross_entropy(_affine(p, "out", jnp.tanh(h)), v["y"]), statistics


def _tied(v: Any) -> Any:
    W = nn.parameter.get_parameter_or_create("W", (6, 3))
    b = nn.parameter.get_parameter_or_create("b", (6,))
    h = F.tanh(F.affine(v["x"], W))
    return F.squared_error(F.affine(h, F.transpose(W, (1, 0)), b), v["x"])


def _tied_jax(p: Any, v: Any) -> Any:
    return _squared(jnp.tanh(v["x"] @ p["W"]) @ p["W"].T + p["b"], v["x"])


def _recurrent(v: Any) -> Any:
    steps = F.split(v["x"], axis=1)
    h = 0.0 * F.concatenate(steps[0], steps[1], axis=1)
    for x in steps:
        h = F.tanh(PF.affine(F.concatenate(x, h, axis=1), 4, name="cell"))
    return F.squared_error(PF.affine(h, 2, name="out"), v["y"])


def _recurrent_jax(p: Any, v: Any) -> Any:
    h = jnp.zeros((len(v["x"]), 4))
    for t in range(3):
        h = jnp.tanh(_affine(p, "cell", jnp.concatenate([v["x"][:, t], h], axis=1)))
    return _squared(_affine(p, "out", h), v["y"])


def _two_inputs(v: Any) -> Any:
    h = F.tanh(PF.affine(v["left"], 4, name="l")) * F.sigmoid(PF.affine(v["right"], 4, name="r"))
    return F.huber_loss(PF.affine(h, 2, name="out"), v["target"], 1.0)


def _two_inputs_jax(p: Any, v: Any) -> Any:
    h = jnp.tanh(_affine(p, "l", v["left"])) * jax.nn.sigmoid(_affine(p, "r", v["right"]))
    return _huber(_affine(p, "out", h), v["target"])


def _embedded(v: Any) -> Any:
    h = F.tanh(F.reshape(PF.embed(v["word"], 6, 3, name="e"), (v["word"].shape[0], -1)))
    return F.softmax_cross_entropy(PF.affine(h, 4, name="out"), v["y"])


def _embedded_jax(p: Any, v: Any) -> Any:
    h = jnp.tanh(p["e/embed/W"][v["word"].astype(int)].reshape(len(v["word"]), -1))
    return _cross_entropy(_affine(p, "out", h), v["y"])


CASES = [
    Case(
        "linear-squared",
        {"x": (4,), "y": (1,)},
        _linear,
        lambda p, v: _squared(_affine(p, "out", v["x"]), v["y"]),
    ),
    Case("mlp-softmax", {"x": (5,), "y": (1,)}, _mlp, _mlp_jax, {"y": 3}),
    Case(
        "mlp-categorical",
        {"x": (5,), "y": (1,)},
        _softmax_categorical,
        lambda p, v: _cross_entropy(
            _affine(p, "out", jax.nn.elu(_affine(p, "h1", v["x"]))), v["y"]
        ),
        {"y": 4},
    ),
    Case("mlp-binary", {"x": (5,), "y": (1,)}, _binary, _binary_jax, binary=("y",)),
    Case("autoencoder-soft-binary", {"x": (4,)}, _soft_binary, _soft_binary_jax, unit=("x",)),
    Case("cnn-softmax", {"x": (2, 8, 8), "y": (1,)}, _cnn, _cnn_jax, {"y": 5}),
    Case("cnn-batchnorm-dropout", {"x": (1, 6, 6), "y": (1,)}, _cnn_bn, _cnn_bn_jax, {"y": 3}),
    Case(
        "cnn-batchnorm",
        {"x": (1, 6, 6), "y": (1,)},
        lambda v: _cnn_bn(v, drop=0),
        _cnn_bn_jax,
        {"y": 3},
        training_losses=lambda p, v: _cnn_bn_in_training_jax(p, v)[0],
        statistics=lambda p, v: _cnn_bn_in_training_jax(p, v)[1],
    ),
    Case("tied-autoencoder", {"x": (6,)}, _tied, _tied_jax),
    Case("recurrent-reused", {"x": (3, 2), "y": (2,)}, _recurrent, _recurrent_jax),
    Case(
        "two-inputs-huber",
        {"left": (3,), "right": (2,), "target": (2,)},
        _two_inputs,
        _two_inputs_jax,
    ),
    Case("embedding", {"word": (2,), "y": (1,)}, _embedded, _embedded_jax, {"word": 6, "y": 4}),
]
