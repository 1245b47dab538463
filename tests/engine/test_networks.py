"""Networks as people draw them: float32 in both engines against float64, and the guard."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Mode, build_objective, load_definition
from nnabla_influence.engine import NnablaEngine, NumpyEngine, lacking_in_numpy
from nnabla_influence.engine.guard import check_engines
from tests.cases import Case
from tests.definition.definitions import LOSS, console_proto, random_parameters, write_nnp
from tests.engine.products import CONTEXT, relative, vector

pytestmark = pytest.mark.slow

N = 6


def convolution(x, maps, name, kernel=3, stride=1, **args):
    pad = (kernel // 2,) * 2
    return PF.convolution(x, maps, (kernel,) * 2, pad=pad, stride=(stride,) * 2, name=name, **args)


def normalized(x, name, activation=F.relu):
    return activation(PF.batch_normalization(x, name=name))


def classified(x, y, n=3, name="out"):
    return F.softmax_cross_entropy(PF.affine(x, n, name=name), y)


def lenet(v):
    h = v["x"]
    for name in ("c1", "c2"):
        h = F.relu(F.max_pooling(PF.convolution(h, 4, (3, 3), name=name), (2, 2)))
    return classified(F.relu(PF.affine(h, 6, name="a1")), v["y"])


def resnet(v):
    h = normalized(convolution(v["x"], 4, "c"), "n")
    for i, (maps, stride) in enumerate([(4, 1), (6, 2)]):
        a = normalized(convolution(h, maps, f"c{i}a", stride=stride, with_bias=False), f"n{i}a")
        a = PF.batch_normalization(convolution(a, maps, f"c{i}b", with_bias=False), name=f"n{i}b")
        if stride != 1:
            h = convolution(h, maps, f"s{i}", kernel=1, stride=stride)
        h = F.relu(F.add2(a, h))
    return classified(F.global_average_pooling(h), v["y"])


def mobilenet(v):
    h = normalized(convolution(v["x"], 4, "c", stride=2), "n", F.relu6)
    for i in range(2):
        a = PF.depthwise_convolution(h, (3, 3), pad=(1, 1), multiplier=1, name=f"d{i}")
        a = convolution(normalized(a, f"n{i}a", F.relu6), 4, f"p{i}", kernel=1)
        h = h + PF.batch_normalization(a, name=f"n{i}b")
    return classified(F.average_pooling(h, h.shape[2:]), v["y"])


def inception(v):
    x = v["x"]
    pooled = F.max_pooling(x, (3, 3), stride=(1, 1), pad=(1, 1))
    parts = [convolution(x, 2, "one", kernel=1), convolution(pooled, 2, "pool", kernel=1)]
    parts += [convolution(x, 3, "three"), convolution(x, 2, "five", kernel=5)]
    h = F.elu(F.concatenate(*parts, axis=1))
    return classified(F.average_pooling(h, (3, 3), stride=(2, 2)), v["y"])


def unet(v):
    """Masks of single pixels: Unpooling on one way up, Deconvolution on the other."""
    top = F.relu(convolution(v["x"], 3, "c1"))
    h = F.relu(convolution(F.max_pooling(top, (2, 2)), 4, "c2"))
    up = [F.unpooling(h, (2, 2)), PF.deconvolution(h, 3, (2, 2), stride=(2, 2), name="d")]
    h = F.relu(convolution(F.concatenate(top, *up, axis=1), 4, "c3"))
    return F.binary_cross_entropy(F.sigmoid(convolution(h, 1, "out", kernel=1)), v["mask"])


def autoencoder(v):
    h = F.relu(convolution(v["x"], 3, "c1", stride=2))
    code = F.tanh(PF.affine(h, 4, name="code"))
    h = F.reshape(F.leaky_relu(PF.affine(code, 48, name="wide")), (-1, 3, 4, 4))
    h = PF.deconvolution(h, 1, (4, 4), pad=(1, 1), stride=(2, 2), name="d")
    return F.squared_error(F.sigmoid(h), v["x"])


def attention(v):
    """One block of a transformer, with two heads; words are along the last axis."""
    x = F.transpose(PF.embed(v["words"], 9, 6, name="e"), (0, 2, 1))

    def everywhere(h, maps, name):
        return PF.convolution(h, maps, (1,), name=name)

    q, k, value = (F.reshape(everywhere(x, 6, name), (-1, 2, 3, 5)) for name in ("q", "k", "v"))
    weights = F.softmax(F.batch_matmul(q, k, transpose_a=True) * 3**-0.5, axis=3)
    h = F.reshape(F.batch_matmul(value, weights, transpose_b=True), (-1, 6, 5))
    h = PF.layer_normalization(x + everywhere(h, 6, "o"), name="n1")
    h = h + everywhere(F.gelu(everywhere(h, 8, "wide")), 6, "narrow")
    return classified(F.mean(PF.layer_normalization(h, name="n2"), axis=2), v["y"])


def text(v):
    h = PF.embed(v["words"], 9, 4, name="e")  # (n, 5, 4)
    h = F.reshape(F.transpose(h, (0, 2, 1)), (-1, 4, 1, 5))
    h = F.relu(PF.convolution(h, 6, (1, 3), name="c"))
    return classified(F.max(h, axis=(2, 3)), v["y"])


def groups(v):
    h = convolution(v["x"], 4, "c1")
    h = F.swish(PF.group_normalization(h, num_groups=2, name="n1"))
    h = F.mish(PF.instance_normalization(convolution(h, 4, "c2", group=2), name="n2"))
    return classified(F.sum_pooling(h, (4, 4)), v["y"])


def slopes(v):
    h = PF.prelu(convolution(v["x"], 3, "c1"), name="p")
    h = F.max_pooling(F.crelu(PF.convolution(h, 3, (3, 3), dilation=(2, 2), name="c2")), (2, 2))
    return F.squared_error(PF.affine(F.celu(PF.affine(h, 3, name="a")), 2, name="out"), v["t"])


def selu(v):
    h = v["x"]
    for name in ("a1", "a2", "a3"):
        h = F.selu(PF.affine(h, 5, name=name))
    return F.huber_loss(PF.affine(h, 2, name="out"), v["t"], delta=0.5)


def gated(v):
    """A highway of a table's columns, scored by a sigmoid's cross entropy."""
    h = F.tanh(PF.affine(v["x"], 4, name="a"))
    gate = F.sigmoid(PF.affine(h, 4, name="g"))
    h = gate * F.softplus(PF.affine(h, 4, name="b")) + (1 - gate) * h
    return F.sigmoid_cross_entropy(PF.affine(h, 1, name="out"), v["b"])


def columns(v):
    """Batch normalisation of a table, and weights of unit norm."""
    h = normalized(PF.affine(v["x"], 6, name="a1"), "n1", F.tanh)
    h = F.softmax(PF.affine(normalized(PF.affine(h, 4, name="a2"), "n2"), 3, name="out"))
    return F.categorical_cross_entropy(h, v["y"])


def distances(v):
    """Several terms in one loss, one of them an absolute error."""
    h = F.sin(PF.affine(v["x"], 4, name="h"))
    far = F.absolute_error(PF.affine(h, 2, name="one"), v["t"])
    return F.mean(far, axis=1) + F.mean(
        F.squared_error(PF.affine(h, 5, name="two"), v["x"]), axis=1
    )


IMAGE, TABLE, LABEL = {"x": (2, 8, 8)}, {"x": (5,)}, {"y": (1,)}
CASES = [
    Case("lenet", {"x": (1, 10, 10), **LABEL}, lenet, None, {"y": 3}),
    Case("resnet", {**IMAGE, **LABEL}, resnet, None, {"y": 3}),
    Case("mobilenet", {**IMAGE, **LABEL}, mobilenet, None, {"y": 3}),
    Case("inception", {"x": (2, 7, 7), **LABEL}, inception, None, {"y": 3}),
    Case("unet", {**IMAGE, "mask": (1, 8, 8)}, unet, None, binary=("mask",)),
    Case("autoencoder", {"x": (1, 8, 8)}, autoencoder, None, unit=("x",)),
    Case("attention", {"words": (5,), **LABEL}, attention, None, {"words": 9, "y": 3}),
    Case("text", {"words": (5,), **LABEL}, text, None, {"words": 9, "y": 3}),
    Case("groups", {**IMAGE, **LABEL}, groups, None, {"y": 3}),
    Case("slopes", {**IMAGE, "t": (2,)}, slopes, None),
    Case("selu", {**TABLE, "t": (2,)}, selu, None),
    Case("gated", {**TABLE, "b": (1,)}, gated, None, binary=("b",)),
    Case("columns", {**TABLE, **LABEL}, columns, None, {"y": 3}),
    Case("distances", {**TABLE, "t": (2,)}, distances, None),
]


def lstm():
    """The Console's LSTM of single layers: a loop over four words, with two delays."""
    loop = {"repeat_id": ["Words"]}
    at = {"recurrent_param": {"repeat_id": "Words", "axis": 1}}
    affine = {"type": "Affine", "affine_param": {"base_axis": 1}, **loop}
    gates = {"I": "Sigmoid", "Forget": "Sigmoid", "O": "Sigmoid", "G": "Tanh"}
    functions = [{"type": "RecurrentInput", "input": ["Input"], **at, **loop}]
    for name, of in (("Delay_H", "H"), ("Delay_C", "C")):
        within = {"recurrent_param": {"repeat_id": "Words"}, **loop}
        inputs = [of, f"{name}_Initial"]
        functions.append(
            {"type": "Delay", "name": name, "input": inputs, "output": [name], **within}
        )
    functions.append(
        {
            "type": "Concatenate",
            "input": ["RecurrentInput", "Delay_H"],
            "concatenate_param": {"axis": 1},
            **loop,
        }
    )
    for name, kind in gates.items():
        inputs = ["Concatenate", f"W{name}", f"b{name}"]
        functions += [
            {**affine, "name": f"A{name}", "input": inputs, "output": [f"A{name}"]},
            {"type": kind, "name": name, "input": [f"A{name}"], "output": [name], **loop},
        ]
    for kind, name, *inputs in (
        ("Mul2", "Kept", "Forget", "Delay_C"),
        ("Mul2", "New", "I", "G"),
        ("Add2", "C", "Kept", "New"),
        ("Tanh", "Squashed", "C"),
        ("Mul2", "H", "O", "Squashed"),
    ):
        functions.append({"type": kind, "name": name, "input": inputs, "output": [name], **loop})
    output = {"recurrent_param": {"repeat_id": "Words", "axis": 1, "length": 4}}
    functions.append({"type": "RecurrentOutput", "input": ["H"], **output})
    functions.append({**LOSS, "input": ["RecurrentOutput", "T"]})
    within = [f["output"][0] for f in functions if f.get("repeat_id") and "output" in f]
    return console_proto(
        functions,
        {
            "Input": (-1, 4, 3),
            "RecurrentInput": ((-1, 3), "Words"),
            "Concatenate": ((-1, 5), "Words"),
            **dict.fromkeys(("Delay_H_Initial", "Delay_C_Initial"), (-1, 2)),
            **dict.fromkeys(within, ((-1, 2), "Words")),
            **dict.fromkeys(("T", "RecurrentOutput", "Loss"), (-1, 4, 2)),
        },
        {f"{kind}{name}": (5, 2) if kind == "W" else (2,) for name in gates for kind in "Wb"},
        {"Words": 4},
        generator_variable=[
            {"variable_name": f"Delay_{name}_Initial", "type": "Constant", "multiplier": 0.25}
            for name in "HC"
        ],
    )


def scaled_parameters(case: Case) -> dict[str, np.ndarray]:
    """Random ones, of which every layer keeps the size of what goes through it."""
    values = case.parameters()
    for name, value in values.items():
        if value.ndim > 1 and not name.endswith(("mean", "var", "gamma", "beta")):
            fan_in = value.shape[0] if value.ndim == 2 else value[0].size
            value *= 3 / np.sqrt(fan_in)
    return values


def check(definition, inputs, mode: Mode) -> None:
    def build(size):
        return build_objective(definition, size, CONTEXT, mode=mode)

    check_engines(build, inputs, CONTEXT)
    objective = build(N)
    assert lacking_in_numpy(objective) == []
    weights = np.linspace(0.1, 0.3, N)
    u = np.random.default_rng(2).normal(size=sum(v.size for v in objective.parameters.values()))
    exact, single, native = [
        _products(engine, inputs, weights, u)
        for engine in (
            NumpyEngine(objective, np.float64),
            NumpyEngine(objective),
            NnablaEngine(objective, CONTEXT),
        )
    ]
    for found in (single, native):
        for got, wanted in zip(found, exact):
            assert relative(got, wanted) < 2e-5


def _products(engine, inputs, weights, u):
    h, gradient = (
        nn.NdArray.from_numpy_array(np.zeros(engine.size, engine.dtype)) for _ in range(2)
    )
    along = engine.add_products(inputs, weights, vector(engine, u.astype(engine.dtype)), h)
    engine.add_gradient(inputs, weights, gradient)
    return along.losses, h.data, gradient.data


MODES = [
    (case, mode)
    for case in CASES
    for mode in (Mode.TEST, Mode.BATCH)
    if mode == Mode.TEST or case.name in ("resnet", "mobilenet", "columns")
]


@pytest.mark.parametrize(
    ("case", "mode"),
    MODES,
    ids=[f"{case.name}-{'batch' if mode.batch_statistics else 'test'}" for case, mode in MODES],
)
def test_network(case: Case, mode: Mode, tmp_path):
    path = case.save_definition(tmp_path, parameters=scaled_parameters(case))
    check(load_definition(path, tmp_path / "net.h5"), case.inputs(N, seed=1), mode)


def test_lstm(tmp_path):
    proto = lstm()
    path = tmp_path / "net.nnp"
    definition = load_definition(write_nnp(path, proto, None))
    definition = load_definition(write_nnp(path, proto, random_parameters(definition)))
    rng = np.random.default_rng(1)
    inputs = {name: rng.normal(size=(N, 4, w)).astype(np.float32) for name, w in zip("xy", (3, 2))}
    check(definition, inputs, Mode.TEST)
