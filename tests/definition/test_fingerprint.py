"""The same network in any form has the same fingerprint, and another one says where it differs."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import pytest

from nnabla_influence.definition import load_definition
from nnabla_influence.definition.fingerprint import describe_other_network, network_fingerprint
from nnabla_influence.definition.unrolled import expand
from tests.definition import definitions
from tests.definition.definitions import python_proto, repeated, write_nnp, write_text


def network(activation=F.tanh, slope=0.1, inputs=("x", "t")):
    def build(v):
        h = activation(PF.affine(v[inputs[0]], 4, name="h"))
        h = F.leaky_relu(PF.batch_normalization(h, name="n"), slope)
        return F.squared_error(PF.affine(h, 1, name="out"), v[inputs[1]])

    return build


def fingerprint(path):
    definition = load_definition(path)
    return network_fingerprint(path, definition.network, definition.optimizer)


def of(proto, tmp_path):
    return fingerprint(write_text(tmp_path / "other.nntxt", proto))


@pytest.fixture
def base(tmp_path):
    return fingerprint(write_text(tmp_path / "net.nntxt", python_proto(network())[0]))


def test_it_names_each_function_that_the_loss_needs(base):
    kinds = [entry.split()[0] for entry in base]
    wanted = ["Affine", "Tanh", "BatchNormalization", "LeakyReLU", "Affine", "SquaredError", "Loss"]
    assert kinds == wanted


def test_the_same_network_in_other_files(base, tmp_path, monkeypatch):
    proto, parameters = python_proto(network())
    assert fingerprint(write_nnp(tmp_path / "a.nnp", proto, parameters)) == base
    assert fingerprint(write_nnp(tmp_path / "b.nnp", proto, parameters, "network.nntxt")) == base
    commented = tmp_path / "network.prototxt"
    write_text(commented, proto)
    commented.write_text("# by hand\n" + commented.read_text())
    assert fingerprint(commented) == base
    monkeypatch.setattr(definitions, "BATCH", 7)
    assert of(python_proto(network())[0], tmp_path) == base


def test_names_of_functions_and_variables_do_not_matter(base, tmp_path):
    named = python_proto(
        network(inputs=("image", "label")),
        {"image": (3,), "label": (1,)},
        {"image": "x", "label": "y"},
    )[0]
    for function in named.network[0].function:
        function.name = f"called {function.name}"
    assert of(named, tmp_path) == base


def test_what_the_loss_does_not_need_does_not_matter(base, tmp_path):
    proto = python_proto(network())[0]
    extra = proto.network[0].function.add()
    extra.CopyFrom(proto.network[0].function[0])
    extra.name, extra.output[0] = "monitor", "monitored"
    variable = proto.network[0].variable.add()
    variable.CopyFrom(next(v for v in proto.network[0].variable if v.type == "Buffer"))
    variable.name = "monitored"
    assert of(proto, tmp_path) == base


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"activation": F.sin}, "function 2 was Tanh and is Sin"),
        ({"slope": 0.2}, "function 4, LeakyReLU, has other arguments or inputs"),
        (
            {"activation": lambda h: F.tanh(F.identity(h))},
            "function 2 was Tanh and is Identity",
        ),
    ],
)
def test_another_network_is_named_by_its_first_function(base, tmp_path, change, words):
    other = of(python_proto(network(**change))[0], tmp_path)
    assert describe_other_network(base, other) == words
    assert describe_other_network(base, base) is None


def test_other_columns_and_a_shorter_network_are_others(base, tmp_path):
    other = of(python_proto(network(), columns={"x": "x", "t": "z"})[0], tmp_path)
    assert describe_other_network(base, other) == (
        "function 6, SquaredError, has other arguments or inputs"
    )
    assert describe_other_network(base, base[:-1]) == "function 7 was Loss and is nothing"


def test_loops_are_unrolled(tmp_path):
    three, four = (of(repeated(n), tmp_path) for n in (3, 4))
    assert len(four) > len(three)
    assert describe_other_network(three, four) is not None
    proto = repeated(3)
    unrolled = expand(tmp_path / "net.nntxt", proto.network[0])
    name = proto.network[0].name
    proto.network[0].CopyFrom(unrolled._network.as_proto(variable_batch_size=False))
    proto.network[0].name = name
    trained = proto.optimizer[0].parameter_variable
    del trained[:]
    for parameter in unrolled.parameters:
        trained.add(variable_name=parameter, learning_rate_multiplier=1)
    assert of(proto, tmp_path) == three
