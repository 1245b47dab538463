"""Grad-CAM, against an implementation of the paper in JAX, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import load_definition
from nnabla_influence.errors import InfluenceError, UnsupportedError
from tests.cases import CASES, Case
from tests.explanation.attributed import Opened, open_case
from tests.small_projects import edit

ROWS = [3, 0, 4, 2, 1]
BY_NAME = {case.name: case for case in CASES}


def _network(x: Any, outputs: int) -> Any:
    h = PF.convolution(x, 3, (3, 3), pad=(1, 1), name="c1")
    h = F.max_pooling(F.relu(PF.batch_normalization(h, name="n1")), (2, 2))
    h = F.relu(PF.convolution(h, 4, (3, 2), name="c2"))
    return PF.affine(F.tanh(PF.affine(h, 5, name="a1")), outputs, name="out")


def _case(outputs: int, loss: Any, **columns: Any) -> Case:
    return Case(
        "two-convolutions",
        {"x": (2, 8, 12), "y": (1,)},
        lambda v: loss(_network(v["x"], outputs), v["y"]),
        None,
        **columns,
    )


CLASSES = _case(3, F.softmax_cross_entropy, classes={"y": 3})
PROBABILITIES = _case(
    3, lambda z, y: F.categorical_cross_entropy(F.softmax(z), y), classes={"y": 3}
)
LOGIT = _case(1, F.sigmoid_cross_entropy, binary=("y",))
SIGMOID = _case(1, lambda z, y: F.binary_cross_entropy(F.sigmoid(z), y), binary=("y",))

LAYERS = ["Convolution", "BatchNormalization", "ReLU", "MaxPooling", "Convolution_1", "ReLU_1"]


def logits(p: Any, x: Any, shifts: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the outputs for one picture, and each layer's; ``shifts`` are added to these."""
    maps: dict[str, Any] = {}

    def layer(name: str, value: Any) -> Any:
        maps[name] = value + shifts.get(name, 0)
        return maps[name]

    def convolution(name: str, h: Any, pad: int) -> Any:
        pads = [(pad, pad), (pad, pad)]
        h = jax.lax.conv_general_dilated(h[None], p[f"{name}/conv/W"], (1, 1), pads)[0]
        return h + p[f"{name}/conv/b"][:, None, None]

    h = layer("Convolution", convolution("c1", x, 1))
    of = {part: p[f"n1/bn/{part}"][0] for part in ("mean", "var", "gamma", "beta")}
    h = of["gamma"] * (h - of["mean"]) / jnp.sqrt(of["var"] + 1e-5) + of["beta"]
    h = layer("ReLU", jnp.maximum(layer("BatchNormalization", h), 0))
    channels, height, width = h.shape
    h = h.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    h = layer("Convolution_1", convolution("c2", layer("MaxPooling", h), 0))
    h = layer("ReLU_1", jnp.maximum(h, 0)).reshape(-1)
    h = jnp.tanh(h @ p["a1/affine/W"] + p["a1/affine/b"])
    return h @ p["out/affine/W"] + p["out/affine/b"], maps


def wanted(case: Case, row: int, class_: int, layer: str) -> np.ndarray:
    """The heat map by the paper's formulas."""
    p = {name: jnp.asarray(v, jnp.float64) for name, v in case.parameters().items()}
    x = jnp.asarray(case.inputs(5)["x"][row], jnp.float64)
    maps = logits(p, x, {})[1][layer]

    def score(shift: Any) -> Any:
        z = logits(p, x, {layer: shift})[0]
        return z[class_] if len(z) > 1 else (2 * class_ - 1) * z[0]

    alpha = jax.grad(score)(jnp.zeros_like(maps)).sum(axis=(1, 2)) / (maps.shape[1] * maps.shape[2])
    heat = jnp.maximum((alpha[:, None, None] * maps).sum(axis=0), 0)
    heat = np.asarray(jax.image.resize(heat, x.shape[1:], "bilinear"))
    return heat / heat.max() if heat.max() > 0 else heat


def assert_agrees(opened: Opened, case: Case, layer: str | None, classes=((0, 1), (2, 1))) -> None:
    of_rows = [classes[k % 2] for k in range(len(ROWS))]
    found = opened.attribute(ROWS, of_rows, layer=layer and f"@Main/{layer}")
    for row, expected, own in zip(ROWS, of_rows, found):
        assert tuple(one.class_ for one in own) == tuple(expected)
        for one in own:
            heat = wanted(case, row, one.class_, layer or "ReLU_1")
            np.testing.assert_allclose(one.values, heat, rtol=0, atol=1e-4)
            assert (one.column, one.detail) == ("x", f"layer @Main/{layer or 'ReLU_1'}")
            assert bool(one.warning) == (not heat.any())


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Opened:
    return open_case(tmp_path_factory.mktemp("classes"), CLASSES)


@pytest.mark.parametrize("layer", [*LAYERS, None])
def test_agrees_with_jax(opened: Opened, layer: str | None):
    """Each layer; by default what the last convolution leads to. The rows come in chunks of two."""
    assert_agrees(opened, CLASSES, layer)


@pytest.mark.parametrize("case", [LOGIT, SIGMOID])
def test_one_logit_is_that_of_class_1(case: Case, tmp_path):
    assert_agrees(open_case(tmp_path, case), case, "Convolution_1", ((0, 1), (1,)))


def test_the_score_of_probabilities_is_that_before_the_softmax(tmp_path):
    assert_agrees(open_case(tmp_path, PROBABILITIES), PROBABILITIES, None)


@pytest.mark.gpu
def test_agrees_with_jax_on_a_gpu(tmp_path):
    assert_agrees(open_case(tmp_path, CLASSES, device="cuda"), CLASSES, None)


def test_layers_that_are_not_trained(tmp_path):
    """As in a network whose first layers were taken from another one."""

    def freeze(proto: Any) -> None:
        for entry in proto.optimizer[0].parameter_variable:
            entry.learning_rate_multiplier = float(entry.variable_name.startswith("out"))

    frozen = open_case(tmp_path, CLASSES, spoil=lambda net: edit(net, freeze))
    trained = load_definition(tmp_path / "net.nntxt").trainable
    assert trained == ("out/affine/W", "out/affine/b")
    assert_agrees(frozen, CLASSES, "Convolution")


@pytest.mark.parametrize(
    ("case", "options", "kind", "named"),
    [
        (BY_NAME["linear-squared"], {}, UnsupportedError, "no single class"),
        (BY_NAME["mlp-softmax"], {}, UnsupportedError, "no convolution"),
        (CLASSES, {"layer": "conv9"}, InfluenceError, "'conv9'.*@Main/Convolution"),
        (CLASSES, {"layer": "@Main/SoftmaxCrossEntropy"}, InfluenceError, "before its outputs"),
        (CLASSES, {"layer": "@Main/Affine"}, UnsupportedError, r"\(5,\).*@Main/Convolution"),
        (CLASSES, {"classes": [[0, 3]]}, InfluenceError, "no class 3; .* 0 to 2"),
        (LOGIT, {"classes": [[2]]}, InfluenceError, "no class 2; .* 0 to 1"),
        (
            Case(
                "series",
                {"x": (16,), "y": (1,)},
                lambda v: F.softmax_cross_entropy(
                    PF.affine(PF.convolution(F.reshape(v["x"], (-1, 1, 4, 4)), 2, (3, 3)), 3),
                    v["y"],
                ),
                None,
                classes={"y": 3},
            ),
            {},
            UnsupportedError,
            "no picture",
        ),
    ],
)
def test_what_has_no_heat_map_is_refused(case: Case, options, kind, named, tmp_path):
    given = {"classes": [[0]], **options}
    with pytest.raises(kind, match=named) as refused:
        open_case(tmp_path, case).attribute([0], given.pop("classes"), **given)
    assert "\n" not in str(refused.value)
