"""A network that mixes a mini-batch's examples is refused: an example's loss is its own."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.engine import check_independence
from nnabla_influence.errors import UnsupportedError
from tests.definition.definitions import BATCH, python_proto
from tests.definition.definitions import build as build_definition

RNG = np.random.RandomState(0)


def some_inputs(n=BATCH):
    return {"x": RNG.randn(n, 3), "y": RNG.randn(n, 1)}


def with_features(function):
    return lambda v: F.squared_error(
        PF.affine(function(F.tanh(PF.affine(v["x"], 4, name="a"))), 1, name="b"), v["t"]
    )


MIXING = {
    "mean over the batch": lambda h: h - F.mean(h, axis=0, keepdims=True),
    "softmax over the batch": lambda h: F.softmax(h, axis=0),
    "the examples' order": lambda h: F.flip(h, axes=[0]),
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("batch_size", [2, 6])
def test_mixed_examples_are_refused(build, tmp_path, name, batch_size):
    proto, parameters = python_proto(with_features(MIXING[name]))
    for function in proto.network[0].function:
        if function.type == "Flip":  # written as the slice that it is
            function.type = "Slice"
            function.slice_param.start.extend([batch_size - 1, 0])
            function.slice_param.stop.extend([-batch_size - 1, 4])
            function.slice_param.step.extend([-1, 1])
    objective = build_definition(tmp_path, proto, parameters, batch_size)
    with pytest.raises(UnsupportedError, match=r"net\.nnp: .*'Main' mixes"):
        check_independence(build(objective), some_inputs())


ORDINARY = {
    "batch normalisation in test mode": lambda h: PF.batch_normalization(h, name="bn"),
    "layer normalisation": lambda h: PF.layer_normalization(h, name="ln"),
    "softmax": F.softmax,
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize(("batch_size", "rows"), [(2, 2), (6, 40), (40, 6)])
def test_ordinary_networks_pass(build, tmp_path, name, batch_size, rows):
    proto, parameters = python_proto(with_features(ORDINARY[name]))
    objective = build_definition(tmp_path, proto, parameters, batch_size)
    check_independence(build(objective), some_inputs(rows))
