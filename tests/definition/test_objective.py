"""The built objective: batch sizes, parameters, privacy, shared and recurrent parameters."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest
from nnabla.parameter import get_current_parameter_scope

from nnabla_influence.definition import build_objective, load_definition
from nnabla_influence.definition.model_file import read_parameters
from nnabla_influence.errors import ModelError

from .definitions import (
    BATCH,
    CPU,
    build,
    elman,
    h5_bytes,
    load,
    losses,
    python_proto,
    random_parameters,
    repeated,
    train_by_nnabla_cli,
    write_nnp,
    write_text,
)

RNG = np.random.RandomState(0)
X = RNG.randn(6, 3).astype(np.float32)
Y = RNG.randn(6, 1).astype(np.float32)


def regression(v):
    hidden = PF.batch_normalization(PF.affine(v["x"], 4, name="a"), name="bn")
    return F.squared_error(PF.affine(F.tanh(hidden), 1, name="b"), v["t"])


@pytest.fixture
def definition(tmp_path):
    return load(tmp_path, *python_proto(regression))


def predicted(p, x=X):
    p = {name: value.astype(np.float64) for name, value in p.items()}
    hidden = x @ p["a/affine/W"] + p["a/affine/b"]
    normal = (hidden - p["bn/bn/mean"]) / np.sqrt(p["bn/bn/var"] + 1e-5)
    hidden = np.tanh(normal * p["bn/bn/gamma"] + p["bn/bn/beta"])
    return hidden @ p["b/affine/W"] + p["b/affine/b"]


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_any_batch_size_with_running_statistics(definition, batch_size):
    values = random_parameters(definition)
    objective = build_objective(definition, batch_size, CPU, values)
    assert objective.batch_size == batch_size
    assert objective.inputs["x"].shape == (batch_size, 3)
    found = losses(objective, x=X[:batch_size], y=Y[:batch_size])
    expected = ((predicted(values) - Y) ** 2)[:batch_size, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_set_parameters_reaches_the_graph_in_float32(definition):
    objective = build_objective(definition, 6, CPU)
    values = {n: v.astype(np.float64) for n, v in random_parameters(definition, 1).items()}
    objective.set_parameters({**values, "another/network/W": np.zeros(3)})
    found = losses(objective, x=X, y=Y)
    np.testing.assert_allclose(found, ((predicted(values) - Y) ** 2)[:, 0], rtol=1e-5)
    variables = {**objective.parameters, **objective.buffers}
    assert {variable.d.dtype for variable in variables.values()} == {np.dtype(np.float32)}


def test_given_arrays_are_copied(definition):
    values = random_parameters(definition)
    objective = build_objective(definition, BATCH, CPU, values)
    before = values["a/affine/W"].copy()
    objective.parameters["a/affine/W"].d += 1
    np.testing.assert_array_equal(values["a/affine/W"], before)
    np.testing.assert_array_equal(definition.parameters["bn/bn/gamma"], np.ones((1, 4)))


def test_the_users_own_nnabla_state_stays_as_it_is(definition):
    nn.clear_parameters()
    own = PF.affine(nn.Variable((2, 3)), 4, name="a")
    context, scope = nn.get_current_context(), dict(get_current_parameter_scope())
    weights = nn.get_parameters()["a/affine/W"].d.copy()
    random_state = nn.random.prng.get_state()[1].copy()
    try:
        with nn.auto_forward(True):
            objective = build_objective(definition, BATCH, CPU, random_parameters(definition))
            assert nn.get_auto_forward()
        objective.set_parameters(random_parameters(definition, 1))
        assert nn.get_current_context() == context
        assert get_current_parameter_scope() == scope
        assert list(nn.get_parameters()) == ["a/affine/W", "a/affine/b"]
        np.testing.assert_array_equal(nn.get_parameters()["a/affine/W"].d, weights)
        np.testing.assert_array_equal(nn.random.prng.get_state()[1], random_state)
        assert own.parent.inputs[1].data is not objective.parameters["a/affine/W"].data
    finally:
        nn.clear_parameters()


def test_missing_parameters_are_named_and_never_made_up(tmp_path):
    proto, parameters = python_proto(regression)
    path = write_text(tmp_path / "net.nntxt", proto)
    with pytest.raises(ModelError, match=r"net\.nntxt: 8 of .*a/affine/W, a/affine/b, "):
        build_objective(load_definition(path), BATCH, CPU)
    del parameters["bn/bn/var"]
    (tmp_path / "net.h5").write_bytes(h5_bytes(parameters))
    definition = load_definition(path, tmp_path / "net.h5")
    with pytest.raises(ModelError, match=r"1 of .*bn/bn/var"):
        build_objective(definition, BATCH, CPU)


@pytest.mark.parametrize("how", ["build", "set"])
def test_parameters_that_do_not_fit_are_named(definition, how):
    objective = build_objective(definition, BATCH, CPU)

    def use(values):
        if how == "build":
            build_objective(definition, BATCH, CPU, values)
        else:
            objective.set_parameters(values)

    values = random_parameters(definition)
    with pytest.raises(ModelError, match=r"net\.nnp: .* 'a/affine/W' .*\(4, 3\).*\(3, 4\)"):
        use({**values, "a/affine/W": values["a/affine/W"].T})
    with pytest.raises(ModelError, match=r"1 of .* 8 parameters"):
        use({name: value for name, value in values.items() if name != "bn/bn/mean"})
    with pytest.raises(ModelError, match=r"net\.nnp: .* 'b/affine/b' .* not finite"):
        use({**values, "b/affine/b": np.array([np.nan], np.float32)})


def test_fixed_batch_sizes_are_refused_by_name(tmp_path):
    proto, parameters = python_proto(regression, variable_batch_size=False)
    with pytest.raises(ModelError, match=r"net\.nnp: .*'x' .*\(5, 3\)"):
        load(tmp_path, proto, parameters)

    def reshaping(v):
        x = F.reshape(v["x"], (BATCH, 3, 1))
        return F.squared_error(F.reshape(PF.affine(x, 1, name="a"), (BATCH, 1)), v["t"])

    proto, parameters = python_proto(reshaping)
    reshape = next(f for f in proto.network[0].function if f.type == "Reshape")
    reshape.reshape_param.shape.dim[0] = BATCH
    with pytest.raises(ModelError, match=r"net\.nnp: .* Reshape \(layer '.* 6"):
        build(tmp_path, proto, parameters, 6)

    # nnabla.utils.save takes five outputs for the batch of five.
    proto, parameters = python_proto(
        lambda v: F.mean(F.squared_error(PF.affine(v["x"], BATCH, name="a"), v["t"]), axis=0),
        {"x": (3,), "t": (BATCH,)},
    )
    with pytest.raises(ModelError, match=r"'loss' .*\(5,\) .* 6"):
        build(tmp_path, proto, parameters, 6)


def test_a_parameter_used_twice_is_one(tmp_path):
    """Both uses share values and gradient: d/dW sum ((x W) W - t)^2, in closed form."""

    def tied(v):
        hidden = F.affine(v["x"], weights(), None)
        return F.squared_error(F.affine(hidden, weights(), None), v["t"])

    def weights():
        return nn.parameter.get_parameter_or_create(
            "W", (3, 3), initializer=RNG.randn(3, 3).astype(np.float32)
        )

    proto, parameters = python_proto(tied, {"x": (3,), "t": (3,)})
    objective = build(tmp_path, proto, parameters, batch_size=6)
    W = RNG.randn(3, 3)
    objective.set_parameters({"W": W})
    targets = RNG.randn(6, 3)
    loss = F.sum(objective.losses)
    objective.parameters["W"].grad.zero()
    found = losses(objective, x=X, y=targets)
    loss.forward()
    loss.backward()
    error = X @ W @ W - targets
    np.testing.assert_allclose(found, np.mean(error**2, axis=1), rtol=1e-5)
    outer = 2 / 3 * error
    expected = X.T @ outer @ W.T + (X @ W).T @ outer
    np.testing.assert_allclose(objective.parameters["W"].g, expected, rtol=1e-5, atol=1e-5)


def test_unlink_stops_the_gradient_and_not_the_value(tmp_path):
    def make(v):
        hidden = PF.affine(v["x"], 1, name="a")
        return F.squared_error(F.unlink(hidden) * PF.affine(v["x"], 1, name="b"), v["t"])

    proto, parameters = python_proto(make)
    # The solver holds `a`, but no gradient reaches it.
    definition = load(tmp_path, proto, parameters)
    assert definition.trainable == ("b/affine/W", "b/affine/b")
    values = random_parameters(definition)
    objective = build_objective(definition, 6, CPU, values)
    found = losses(objective, x=X, y=Y)
    a, b = (X @ values[f"{n}/affine/W"] + values[f"{n}/affine/b"] for n in "ab")
    np.testing.assert_allclose(found, ((a * b - Y) ** 2)[:, 0], rtol=1e-5)


def test_one_column_may_feed_two_inputs(tmp_path):
    proto, parameters = python_proto(
        lambda v: F.squared_error(PF.affine(v["x"] * v["z"], 1, name="a"), v["t"]),
        {"x": (3,), "z": (3,), "t": (1,)},
        {"x": "x", "z": "x", "t": "y"},
    )
    objective = build(tmp_path, proto, parameters, batch_size=6)
    assert sorted(objective.inputs) == ["x", "y"]
    found = losses(objective, x=X, y=Y)
    error = X**2 @ parameters["a/affine/W"] + parameters["a/affine/b"] - Y
    np.testing.assert_allclose(found, error[:, 0] ** 2, rtol=1e-5)


def test_a_recurrent_network_of_the_console(tmp_path):
    definition = load(tmp_path, elman())
    values = random_parameters(definition)
    objective = build_objective(definition, 6, CPU, values)
    assert list(objective.parameters) == ["W", "b"]
    x, targets = RNG.randn(6, 4, 3), RNG.randn(6, 4, 2)
    state, expected = np.full((6, 2), 0.25), np.zeros(6)
    for i in range(4):
        state = np.tanh(np.concatenate([x[:, i], state], axis=1) @ values["W"] + values["b"])
        expected += ((state - targets[:, i]) ** 2).sum(axis=1) / 8
    np.testing.assert_allclose(losses(objective, x=x, y=targets), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "unrolled"), [("W{Loop}", "W[{}]"), ("W", "W_Loop[{}]")], ids=["new", "old"]
)
def test_a_repeating_network_of_the_console(tmp_path, name, unrolled):
    definition = load(tmp_path, repeated(3, name))
    names = [unrolled.format(i) for i in range(3)]
    assert definition.trainable == tuple(names)
    values = random_parameters(definition)
    objective = build_objective(definition, 6, CPU, values)
    hidden, targets = X, RNG.randn(6, 3)
    for i in names:
        hidden = np.tanh(hidden @ values[i])
    expected = np.mean((hidden - targets) ** 2, axis=1)
    np.testing.assert_allclose(losses(objective, x=X, y=targets), expected, rtol=1e-5)


# The loss that nnabla_cli trains with


def three_losses(v):
    hidden = F.tanh(PF.affine(v["x"], 4, name="a"))
    output = PF.affine(hidden, 2, name="b")
    return {
        "fit": F.squared_error(output, v["t"]),
        "size": 0.5 * F.sum(output**2, axis=1),
        "norm": 0.3 * F.mean(F.abs(nn.get_parameters()["a/affine/W"]), axis=0),
    }


@pytest.mark.slow
def test_one_step_of_nnabla_cli_goes_down_our_objective(tmp_path):
    """theta_1 = theta_0 - rate * grad(mean of the losses + penalty), for losses of three sizes."""
    rng = np.random.RandomState(0)
    x, t = rng.randn(BATCH, 3).round(3), rng.randn(BATCH, 2).round(3)
    rows = [",".join(map(str, (*a, *b))) for a, b in zip(x, t)]
    (tmp_path / "train.csv").write_text("\n".join(["x__0,x__1,x__2,y__0,y__1", *rows]) + "\n")
    proto, parameters = python_proto(three_losses, {"x": (3,), "t": (2,)}, solver=S.Sgd(0.2))
    proto.training_config.max_epoch = proto.training_config.iter_per_epoch = 1
    path = write_nnp(tmp_path / "net.nnp", proto, parameters)
    results = train_by_nnabla_cli(path) / "results_current_1.nnp"
    trained = read_parameters(results)
    again = load_definition(results)
    assert again.trainable == ("a/affine/W", "a/affine/b", "b/affine/W", "b/affine/b")
    assert [i.column for i in again.inputs] == ["x", "y"]

    objective = build_objective(load_definition(path), BATCH, CPU)
    objective.inputs["x"].d, objective.inputs["y"].d = x, t
    total = F.mean(objective.losses) + objective.penalty
    for parameter in objective.parameters.values():
        parameter.grad.zero()
    total.forward()
    total.backward()
    for name, parameter in objective.parameters.items():
        expected = parameters[name] - 0.2 * parameter.g
        assert np.abs(parameter.g).max() > 1e-3
        np.testing.assert_allclose(trained[name], expected, atol=1e-6)
