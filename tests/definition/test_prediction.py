"""What a network predicts for an example, against NumPy, and the label of it, if there is one."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import Label, find_label

from .definitions import BATCH, build, losses, python_proto

RNG = np.random.RandomState(3)
X = RNG.randn(7, 3).astype(np.float32)


def last_axis(z, t):
    """Scores along the last of three axes."""
    return F.softmax_cross_entropy(F.reshape(z, (BATCH, 1, 4)), F.reshape(t, (BATCH, 1, 1)), axis=2)


CLASSES = {  # losses of four outputs
    "softmax cross entropy": F.softmax_cross_entropy,
    "categorical cross entropy": lambda z, t: F.categorical_cross_entropy(F.softmax(z), t),
    "scores along another axis": last_axis,
    "scaled and averaged": lambda z, t: 0.5 * F.mean(F.softmax_cross_entropy(z, t)),
    "one-hot targets": lambda z, t: F.sigmoid_cross_entropy(z, F.one_hot(t, (4,))),
    "squared error of one-hot targets": lambda z, t: F.squared_error(z, F.one_hot(t, (4,))),
}
BITS = {  # losses of one output
    "binary cross entropy": lambda z, t: F.binary_cross_entropy(F.sigmoid(z), t),
    "sigmoid cross entropy": F.sigmoid_cross_entropy,
}
NUMBERS = {
    "squared error": F.squared_error,
    "squared error, target first": lambda z, t: F.squared_error(t, z),
    "absolute error": F.absolute_error,
    "huber loss": lambda z, t: F.huber_loss(z, t, 1.0),
}
FOUND = {
    **{name: (4, loss, lambda z: z.argmax(axis=1), False) for name, loss in CLASSES.items()},
    **{name: (1, loss, lambda z: z[:, 0] >= 0, True) for name, loss in BITS.items()},
    **{name: (1, loss, lambda z: z[:, 0], None) for name, loss in NUMBERS.items()},
}


def network(loss, outputs, target):
    return python_proto(
        lambda v: loss(PF.affine(v["x"], outputs, name="a"), v["t"]), {"x": (3,), "t": target}
    )


@pytest.mark.parametrize("name", FOUND)
def test_prediction_and_label_are_read_off_the_loss(tmp_path, name):
    outputs, loss, predict, binary = FOUND[name]
    proto, parameters = network(loss, outputs, (1,))
    objective = build(tmp_path, proto, parameters, batch_size=7)
    losses(objective, x=X, y=RNG.randint(0, 2, (7, 1)))
    objective.prediction.forward()
    expected = predict(X @ parameters["a/affine/W"] + parameters["a/affine/b"])
    assert len(set(expected)) > 1
    assert objective.prediction.shape == (7,)
    np.testing.assert_allclose(objective.prediction.d, expected, rtol=1e-5)
    label = None if binary is None else Label("y", binary)
    assert find_label(objective.definition) == label


NOT_FOUND = {
    "several values": (4, F.squared_error),
    "several bits": (4, F.sigmoid_cross_entropy),
    "a category for each place": (
        2,
        lambda z, t: F.softmax_cross_entropy(
            F.reshape(F.concatenate(z, z), (BATCH, 2, 2)), F.reshape(t, (BATCH, 1, 2)), axis=1
        ),
    ),
    "several losses": (1, lambda z, t: {"a": F.squared_error(z, t), "b": F.absolute_error(z, t)}),
    "both sides are computed": (1, lambda z, t: F.squared_error(z, z * z + t)),
    "a loss of one's own": (1, lambda z, t: (z - t) ** 2),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_there_is_none_where_it_has_no_such_meaning(tmp_path, name):
    outputs, loss = NOT_FOUND[name]
    objective = build(tmp_path, *network(loss, outputs, (outputs,)))
    assert objective.prediction is None
    assert find_label(objective.definition) is None
