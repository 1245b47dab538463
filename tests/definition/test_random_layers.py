"""Random layers replayed: the bits of nnabla's own training, and what cannot be replayed."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.definition import (
    Mode,
    RandomLayers,
    build_objective,
    load_definition,
    seed_random_layers,
)
from nnabla_influence.definition.model_file import read_parameters
from nnabla_influence.definition.training_network import build_training_network
from nnabla_influence.engine import build_engine
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.errors import UnsupportedError

from .definitions import (
    CPU,
    Native,
    load,
    looped,
    python_proto,
    random_parameters,
    train_by_nnabla_cli,
    write_nnp,
)

N = 6
STEPS = 5
SHAPES = {"x": (2, 6, 6), "t": (1,)}


def augmented(x):
    x = F.image_augmentation(
        x, shape=(2, 5, 5), angle=0.3, noise=0.1, brightness=0.2, flip_lr=True, seed=7
    )
    return F.random_erase(F.random_flip(F.random_shift(x, (1, 1), seed=3), seed=4), seed=9)


def classifier(augment, drop):
    def make(v):
        h = PF.batch_normalization(PF.convolution(augment(v["x"]), 3, (3, 3), name="c"), name="n")
        h = drop(PF.affine(drop(F.relu(h)), 5, name="a"))
        return F.softmax_cross_entropy(PF.affine(F.tanh(h), 3, name="b"), v["t"])

    return make


def same(x):
    return x


NETWORKS = {
    "dropout": classifier(same, lambda x: F.dropout(x, 0.3, seed=5)),
    "image augmentation": classifier(
        lambda x: F.image_augmentation(x, shape=(2, 6, 6), noise=0.2, seed=7), same
    ),
    "random crop": classifier(lambda x: F.random_crop(x, (2, 4, 5), seed=2), same),
    "dropout of the input, then a flip": classifier(
        lambda x: F.random_flip(F.dropout(x, 0.6, seed=8) + 0.5, seed=1), same
    ),
    "one dropout, of two readers": classifier(
        lambda x: (lambda d: F.random_shift(d, (2, 2), seed=1) + F.sin(d))(
            F.dropout(x, 0.6, seed=8)
        ),
        same,
    ),
    "everything": classifier(augmented, lambda x: F.dropout(x, 0.3, seed=5)),
}


def data(steps=STEPS):
    rng = np.random.RandomState(0)
    x = rng.rand(steps, N, *SHAPES["x"]).astype(np.float32)
    return [{"x": images, "y": rng.randint(0, 3, (N, 1)).astype(np.float32)} for images in x]


def train(definition, parameters, batches, add_gradient):
    """Return every parameter after every step."""
    history = []
    with nn.context_scope(CPU):
        solver = S.Momentum(0.2)
        solver.set_parameters({n: parameters[n] for n in definition.trainable})
        for batch in batches:
            solver.zero_grad()
            add_gradient(batch)
            solver.update()
            history.append({n: np.array(v.data.get_data("r")) for n, v in parameters.items()})
    return history


def train_in_nnabla(definition, values, batches):
    """With nnabla's own network."""
    native = Native(definition, values, N)

    def add_gradient(batch):
        native.inputs["x"].d, native.inputs["t"].d = batch["x"], batch["y"]
        native.loss.forward(clear_no_need_grad=True)
        native.loss.backward(grad=1.0 / native.loss.size, clear_buffer=True)

    return train(definition, native.parameters, batches, add_gradient)


def train_again(definition, values, batches, layers):
    network = build_training_network(definition, N, CPU)
    assert tuple(draw.name for draw in network.draws) == layers.names
    for name, variable in network.parameters.items():
        variable.d = values[name]

    def add_gradient(batch):
        drawn = layers.draw(batch)
        for column, variable in network.inputs.items():
            variable.d = batch[column]
        for draw in network.draws:
            draw.variable.d = drawn[draw.name]
        network.add_gradient(np.ones(N))

    return train(definition, network.parameters, batches, add_gradient)


@pytest.mark.parametrize("name", NETWORKS)
def test_replayed_training_has_the_bits_of_nnablas_own(tmp_path, name):
    definition = load(tmp_path, *python_proto(NETWORKS[name], SHAPES))
    values = random_parameters(definition)
    expected = train_in_nnabla(definition, values, data())
    found = train_again(definition, values, data(), RandomLayers(definition, N, CPU))
    assert not np.array_equal(expected[-1]["a/affine/W"], values["a/affine/W"])
    for before, after in zip(expected, found):
        assert before.keys() == after.keys()
        for parameter, value in before.items():
            np.testing.assert_array_equal(after[parameter], value, err_msg=parameter)


def test_skipped_and_begun_again(tmp_path):
    definition = load(tmp_path, *python_proto(NETWORKS["everything"], SHAPES))
    layers = RandomLayers(definition, N, CPU)
    batches = data()
    drawn = [layers.draw(batch) for batch in batches]
    assert layers.position == STEPS
    for name in layers.names:  # every mini-batch has draws of its own
        assert not np.array_equal(drawn[0][name], drawn[1][name])
    layers.reset()
    assert layers.position == 0
    layers.skip(3)
    assert layers.position == 3
    for expected, batch in zip(drawn[3:], batches[3:]):
        found = layers.draw(batch)
        for name in layers.names:
            np.testing.assert_array_equal(found[name], expected[name])
    with pytest.raises(ValueError, match=r"4 examples.* 6"):
        layers.draw({k: v[:4] for k, v in batches[0].items()})


def test_seeds_are_given_where_there_is_none(tmp_path):
    def drop(x):
        return F.dropout(F.dropout(F.dropout(x, 0.2, seed=2), 0.3), 0.1)

    proto, parameters = python_proto(
        classifier(lambda x: F.random_flip(x, seed=-1), drop),
        SHAPES,
        validation=classifier(same, F.dropout),
    )
    seeds = seed_random_layers(proto)
    assert len(seeds) == 5
    layers = [f for f in proto.network[0].function if f.type in ("Dropout", "RandomFlip")]
    settings = {f.name: getattr(f, f.WhichOneof("parameter")).seed for f in layers}
    assert {name: settings[name] for name in seeds} == seeds
    assert sorted(settings[n] for n in settings if n not in seeds) == [2, 2]
    assert len({*seeds.values(), 2}) == 6
    others = [f for f in proto.network[1].function if f.type == "Dropout"]
    assert {f.dropout_param.seed for f in others} == {-1}
    assert seed_random_layers(proto) == {}
    definition = load(tmp_path, proto, parameters)
    assert len(RandomLayers(definition, N, CPU).names) == 7


@pytest.mark.slow
def test_nnabla_cli_itself_draws_so(tmp_path):
    """Two epochs of an unmodified nnabla_cli, which reads the seeds from the file's text."""

    def make(v):
        return NETWORKS["everything"]({**v, "x": F.reshape(v["x"], (-1, 2, 6, 6))})

    proto, parameters = python_proto(make, {"x": (72,), "t": (1,)}, solver=S.Momentum(0.2))
    proto.training_config.max_epoch, proto.training_config.iter_per_epoch = 2, 3
    proto.dataset[0].shuffle = False
    proto.dataset[0].batch_size = proto.network[0].batch_size = N
    path = write_nnp(tmp_path / "net.nnp", proto, parameters)
    rng = np.random.RandomState(2)
    x, t = rng.rand(3, N, 72).round(3), rng.randint(0, 3, (3, N, 1))
    rows = [",".join(map(str, (*a, *b))) for xs, ts in zip(x, t) for a, b in zip(xs, ts)]
    header = ",".join([*(f"x__{i}" for i in range(72)), "y"])
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    trained = read_parameters(train_by_nnabla_cli(path) / "results_current_2.nnp")
    definition = load_definition(path)
    batches = [
        {"x": images.astype(np.float32), "y": labels.astype(np.float32)}
        for images, labels in zip(x, t)
    ]
    layers = RandomLayers(definition, N, CPU)
    found = train_again(definition, parameters, batches * 2, layers)[-1]
    assert trained.keys() == found.keys()
    for name, value in trained.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# The draws as inputs of objectives


def test_objective_in_training_mode_is_the_drawn_training(tmp_path):
    """Its gradient is the step that nnabla takes."""
    definition = load(tmp_path, *python_proto(NETWORKS["everything"], SHAPES))
    values = random_parameters(definition)
    batch = data(1)[0]
    after = train_in_nnabla(definition, values, [batch])[0]
    objective = build_objective(definition, N, CPU, values, Mode.TRAINING)
    layers = RandomLayers(definition, N, CPU)
    assert tuple(draw.name for draw in objective.draws) == layers.names
    inputs = {**batch, **layers.draw(batch)}
    engine = build_engine(objective, CPU)
    gradient = engine.zeros()
    engine.add_gradient(inputs, np.full(N, 1 / N), gradient)
    step = np.concatenate([np.ravel(values[n] - after[n]) for n in definition.trainable])
    np.testing.assert_allclose(0.2 * gradient.data, step, atol=1e-5 * np.abs(step).max())
    check_engines(
        lambda size: build_objective(definition, size, CPU, values, Mode.TRAINING), inputs, CPU
    )


def test_masks_go_with_their_examples(tmp_path):
    """Without batch statistics a mini-batch may go through in chunks, its masks with it."""

    def make(v):
        h = F.dropout(F.tanh(PF.affine(v["x"], 4, name="a")), 0.4, seed=1)
        return F.squared_error(PF.affine(h, 1, name="b"), v["t"])

    definition = load(tmp_path, *python_proto(make))
    values = random_parameters(definition)
    rng = np.random.RandomState(1)
    batch = {c: rng.randn(7, n).astype(np.float32) for c, n in (("x", 3), ("y", 1))}
    drawn = RandomLayers(definition, 7, CPU).draw(batch)
    objective = build_objective(definition, 3, CPU, values, Mode.TRAINING)
    assert not objective.whole_batch
    losses = build_engine(objective, CPU).outputs({**batch, **drawn}).losses
    (mask,) = drawn.values()
    assert set(np.unique(mask)) == {0, np.float32(1 / np.float32(0.6))}
    h = np.tanh(batch["x"] @ values["a/affine/W"] + values["a/affine/b"]) * mask
    expected = (h @ values["b/affine/W"] + values["b/affine/b"] - batch["y"])[:, 0] ** 2
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def flipped(x):
    return F.random_flip(x, seed=1)


def constant_normalized(x):
    return PF.batch_normalization(x, batch_stat=False, no_scale=True, no_bias=True, name="z")


REFUSED = {  # what is done to the images, the dropout, and what the error names
    "no seed": (same, F.dropout, "Dropout .*seed"),
    "no seed, in front of another": (
        lambda x: flipped(F.random_shift(x, (1, 1))),
        same,
        "RandomShift .*seed",
    ),
    "behind parameters": (
        lambda x: flipped(PF.convolution(x, 2, (1, 1), name="z")),
        same,
        "RandomFlip .*parameters",
    ),
    "behind running statistics": (
        lambda x: flipped(constant_normalized(x)),
        same,
        "RandomFlip .*parameters",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_draws_that_are_lost_are_refused_by_name(tmp_path, name):
    augment, drop, named = REFUSED[name]
    definition = load(tmp_path, *python_proto(classifier(augment, drop), SHAPES))
    for build in (
        lambda: build_objective(definition, N, CPU, mode=Mode.TRAINING),
        lambda: build_training_network(definition, N, CPU),
        lambda: RandomLayers(definition, N, CPU),
    ):
        with pytest.raises(UnsupportedError, match=named):
            build()
    for mode in (Mode.TEST, Mode.VALIDATION):  # which take them out
        assert build_objective(definition, N, CPU, mode=mode).draws == ()


def test_every_pass_of_a_loop_has_a_mask(tmp_path):
    """h <- dropout(h W) twice; nnabla's own unrolled network, three mini-batches long."""
    affine = {"type": "Affine", "input": ["W{Loop}"], "affine_param": {"base_axis": 1}}
    dropout = {"type": "Dropout", "dropout_param": {"p": 0.4, "seed": 3}}
    proto = looped([affine, dropout], {"W{Loop}": ((3, 3), "Loop")})
    definition = load(tmp_path, proto)
    values = random_parameters(definition)
    layers = RandomLayers(definition, N, CPU)
    assert len(layers.names) == 2
    objective = build_objective(definition, N, CPU, values, Mode.TRAINING)
    native = Native(definition, values, N, loss="Loss")
    engine = build_engine(objective, CPU)
    rng = np.random.RandomState(0)
    for _ in range(3):
        batch = {c: rng.randn(N, 3).astype(np.float32) for c in ("x", "y")}
        expected = native.losses(Input=batch["x"], T=batch["y"])
        drawn = layers.draw(batch)
        found = engine.outputs({**batch, **drawn}).losses
        np.testing.assert_allclose(found, expected, rtol=1e-5)
