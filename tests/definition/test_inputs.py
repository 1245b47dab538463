"""The inputs: by the optimizer section's names, with the categories that their use implies."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Input, build_objective, load_definition
from nnabla_influence.errors import ModelError

from .definitions import BATCH, CPU, elman, load, losses, python_proto, write_text


def test_inputs_are_known_by_name_and_not_by_position(tmp_path):
    proto, parameters = python_proto(
        lambda v: F.squared_error(PF.affine(F.concatenate(v["t"], v["x"]), 2, name="a"), v["q"]),
        {"q": (2,), "t": (1,), "x": (3,), "unused": (4,)},
        {"x": "image", "q": "label", "t": "extra"},
    )
    proto.network[0].variable.add(name="unused", type="Buffer").shape.dim.extend([-1, 4])
    proto.optimizer[0].data_variable.add(variable_name="unused", data_name="z")
    assert load(tmp_path, proto, parameters).inputs == (
        Input("image", "x", (3,), None),
        Input("label", "q", (2,), None),
        Input("extra", "t", (1,), None),
    )


def scores(v, n=6):
    return PF.affine(v["x"], n, name="a")


def last(axis):
    """Scores along the last of three axes."""
    return lambda v: F.softmax_cross_entropy(
        F.reshape(scores(v), (BATCH, 1, 6)), F.reshape(v["t"], (BATCH, 1, 1)), axis=axis
    )


def embedded(v, n):
    return F.sum(PF.embed(v["t"], n, 3, name="e"), axis=1)


ONES = (1, (BATCH, 1))
USES = {  # the loss, and the number of categories of t
    "softmax cross entropy": (lambda v: F.softmax_cross_entropy(scores(v), v["t"]), 6),
    "categorical cross entropy": (
        lambda v: F.categorical_cross_entropy(F.softmax(scores(v)), v["t"]),
        6,
    ),
    "along another axis": (last(2), 6),
    "along the last axis": (last(-1), 6),
    "through an identity": (
        lambda v: F.softmax_cross_entropy(scores(v), F.identity(v["t"])),
        6,
    ),
    "embedding": (lambda v: F.squared_error(embedded(v, 8), scores(v, 3)), 8),
    "one-hot": (lambda v: F.sigmoid_cross_entropy(scores(v), F.one_hot(v["t"], (6,))), 6),
    "yes or no": (lambda v: F.sigmoid_cross_entropy(scores(v, 1), v["t"]), 2),
    "a probability": (
        lambda v: F.binary_cross_entropy(F.sigmoid(scores(v, 1)), v["t"]),
        None,
    ),
    "two uses": (
        lambda v: {"a": F.softmax_cross_entropy(scores(v), v["t"]), "b": embedded(v, 4)},
        4,
    ),
    "a number": (lambda v: F.squared_error(scores(v, 1), v["t"]), None),
    "a number, then a category": (
        lambda v: F.softmax_cross_entropy(scores(v), F.minimum_scalar(v["t"], 5)),
        None,
    ),
    "scores are not categories": (
        lambda v: F.softmax_cross_entropy(F.concatenate(v["t"], scores(v)), F.constant(*ONES)),
        None,
    ),
}


@pytest.mark.parametrize("name", USES)
def test_the_number_of_categories_follows_from_the_use(tmp_path, name):
    make, expected = USES[name]
    proto, parameters = python_proto(make)
    found = {i.variable: i.n_classes for i in load(tmp_path, proto, parameters).inputs}
    assert found["t"] == expected


CONSTANT = np.array([[1, 2, 3]], np.float32)


def test_a_constant_of_numpy_is_lost_and_refused(tmp_path):
    """`nnabla.utils.save` writes its shape only."""

    def make(v):
        centred = v["x"] - nn.Variable.from_numpy_array(CONSTANT)
        return F.squared_error(PF.affine(centred, 1, name="a"), v["t"])

    with pytest.raises(ModelError, match=r"net\.nnp: the function Sub2 .* shape \(1, 3\)"):
        load(tmp_path, *python_proto(make))


def test_a_constant_as_a_frozen_parameter_counts(tmp_path):
    """As the message advises."""

    def make(v):
        mean = nn.parameter.get_parameter_or_create("m", (1, 3), CONSTANT, need_grad=False)
        return F.squared_error(PF.affine(v["x"] - mean, 1, name="a"), v["t"])

    definition = load(tmp_path, *python_proto(make))
    assert definition.trainable == ("a/affine/W", "a/affine/b")
    objective = build_objective(definition, 2, CPU)
    W, b = definition.parameters["a/affine/W"], definition.parameters["a/affine/b"]
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    wanted = ((x - CONSTANT) @ W + b)[:, 0] ** 2
    np.testing.assert_allclose(losses(objective, x=x, y=np.zeros((2, 1))), wanted, rtol=1e-5)


def test_category_numbers_pass_a_loop(tmp_path):
    proto = elman()
    network = proto.network[0]
    embed = network.function.add(name="Embed", type="Embed", input=["Split", "E"], output=["Row"])
    embed.repeat_id.append("Letters")
    split = network.function.add(
        name="Split", type="RecurrentInput", input=["Sentence"], output=["Split"]
    )
    split.repeat_id.append("Letters")
    split.recurrent_param.repeat_id = "Letters"
    split.recurrent_param.axis = 1
    gather = network.function.add(
        name="Rows", type="RecurrentOutput", input=["Row"], output=["Rows"]
    )
    gather.recurrent_param.repeat_id = "Letters"
    gather.recurrent_param.length = 4
    gather.recurrent_param.axis = 1
    network.repeat_info.add(id="Letters", times=4)
    for name, shape, loop in (
        ("Sentence", (-1, 4), []),
        ("Split", (-1,), ["Letters"]),
        ("Row", (-1, 2), ["Letters"]),
        ("Rows", (-1, 4, 2), []),
    ):
        network.variable.add(name=name, type="Buffer", repeat_id=loop).shape.dim.extend(shape)
    network.variable.add(name="E", type="Parameter").shape.dim.extend((9, 2))
    next(f for f in network.function if f.name == "Loss").input[1] = "Rows"
    proto.optimizer[0].data_variable[1].variable_name = "Sentence"
    definition = load_definition(write_text(tmp_path / "net.nntxt", proto))
    assert definition.inputs[1] == Input("y", "Sentence", (4,), 9)
