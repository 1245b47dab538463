"""What the network predicts for an example, against NumPy; None where nothing single is."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from .definitions import BATCH, build, losses, python_proto

RNG = np.random.RandomState(3)
X = RNG.randn(7, 3).astype(np.float32)


def last_axis(z, t):
    """Scores along the last of three axes."""
    return F.softmax_cross_entropy(F.reshape(z, (BATCH, 1, 4)), F.reshape(t, (BATCH, 1, 1)), axis=2)


# name: outputs of the affine layer, shape of the target, loss, prediction from the outputs
FOUND = {
    "softmax cross entropy": (
        *(4, (1,), F.softmax_cross_entropy),
        lambda z: z.argmax(axis=1),
    ),
    "categorical cross entropy": (
        *(4, (1,), lambda z, t: F.categorical_cross_entropy(F.softmax(z), t)),
        lambda z: z.argmax(axis=1),
    ),
    "scores along another axis": (4, (1,), last_axis, lambda z: z.argmax(axis=1)),
    "scaled and averaged, from a script": (
        *(4, (1,), lambda z, t: 0.5 * F.mean(F.softmax_cross_entropy(z, t))),
        lambda z: z.argmax(axis=1),
    ),
    "one-hot targets": (
        *(4, (1,), lambda z, t: F.sigmoid_cross_entropy(z, F.one_hot(t, (4,)))),
        lambda z: z.argmax(axis=1),
    ),
    "squared error of one-hot targets": (
        *(4, (1,), lambda z, t: F.squared_error(z, F.one_hot(t, (4,)))),
        lambda z: z.argmax(axis=1),
    ),
    "binary cross entropy": (
        *(1, (1,), lambda z, t: F.binary_cross_entropy(F.sigmoid(z), t)),
        lambda z: z[:, 0] >= 0,
    ),
    "sigmoid cross entropy": (1, (1,), F.sigmoid_cross_entropy, lambda z: z[:, 0] >= 0),
    "squared error": (1, (1,), F.squared_error, lambda z: z[:, 0]),
    "squared error, target first": (
        *(1, (1,), lambda z, t: F.squared_error(t, z)),
        lambda z: z[:, 0],
    ),
    "absolute error": (1, (1,), F.absolute_error, lambda z: z[:, 0]),
    "huber loss": (1, (1,), lambda z, t: F.huber_loss(z, t, 1.0), lambda z: z[:, 0]),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_prediction_is_read_off_the_loss(tmp_path, name):
    outputs, target, loss, predict = FOUND[name]
    proto, parameters = python_proto(
        lambda v: loss(PF.affine(v["x"], outputs, name="a"), v["t"]), {"x": (3,), "t": target}
    )
    objective = build(tmp_path, proto, parameters, batch_size=7)
    losses(objective, x=X, y=RNG.randint(0, 2, (7, *target)))
    objective.prediction.forward()
    expected = predict(X @ parameters["a/affine/W"] + parameters["a/affine/b"])
    assert len(set(expected)) > 1
    assert objective.prediction.shape == (7,)
    np.testing.assert_allclose(objective.prediction.d, expected, rtol=1e-5)


NOT_FOUND = {
    "several values": (4, (4,), F.squared_error),
    "several bits": (4, (4,), F.sigmoid_cross_entropy),
    "a category for each place": (
        *(4, (2,)),
        lambda z, t: F.softmax_cross_entropy(
            F.reshape(z, (BATCH, 2, 2)), F.reshape(t, (BATCH, 1, 2)), axis=1
        ),
    ),
    "several losses": (
        *(1, (1,)),
        lambda z, t: {"a": F.squared_error(z, t), "b": F.absolute_error(z, t)},
    ),
    "both sides are computed": (1, (1,), lambda z, t: F.squared_error(z, z * z + t)),
    "a loss of one's own": (1, (1,), lambda z, t: (z - t) ** 2),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_there_is_none_where_it_has_no_such_meaning(tmp_path, name):
    outputs, target, loss = NOT_FOUND[name]
    proto, parameters = python_proto(
        lambda v: loss(PF.affine(v["x"], outputs, name="a"), v["t"]), {"x": (3,), "t": target}
    )
    assert build(tmp_path, proto, parameters).prediction is None
