"""Networks of other kinds than softmax regression: random layers, losses, starts, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest

from network_defs.samples import Training, logistic_regression, mlp, write_definition
from nnabla_influence.definition import find_label, load_definition
from nnabla_influence.definition.training_network import initial_parameters
from nnabla_influence.device import cpu_device
from nnabla_influence.errors import ModelError, RunError, UnsupportedError
from nnabla_influence.options import Options
from nnabla_influence.retraining.inputs import Config, open_inputs
from nnabla_influence.retraining.tasks import rank, retrain, train_seed
from nnabla_influence.runs.run import read_run
from nnabla_influence.runs.run_files import write_parameters
from nnabla_influence.scoring import score
from tests.cases import CASES, Case, write_csv
from tests.small_projects import edit

pytestmark = pytest.mark.slow

BY_NAME = {case.name: case for case in CASES}


def config_of(folder: Path, **changes) -> Config:
    paths = {part: str(folder / f"{part}.csv") for part in ("training", "validation", "test")}
    return Config(str(folder / "net.nntxt"), **{**paths, "device": "cpu", **changes})


def write_case(folder: Path, case: Case, n: int = 14, **settings) -> Config:
    """Write a case's definition, which draws nothing, with parameters to start from and data."""
    for seed, part in enumerate(("training", "validation", "test")):
        write_csv(folder / f"{part}.csv", case.inputs(n, seed=seed))
    settings = {"batch_size": 4, "iter_per_epoch": 3, **settings}
    case.save_definition(folder, **settings)
    return config_of(folder, parameters=str(folder / "net.h5"))


def write_mlp(folder: Path, n: int = 20, **settings) -> Config:
    rng = np.random.default_rng(0)
    for part in ("training", "validation", "test"):
        x = rng.normal(size=(n, 4)).astype(np.float32)
        write_csv(folder / f"{part}.csv", {"x": x, "y": (x[:, :1] > 0).astype(np.float32)})
    settings = {"n_rows": n, "batch_size": 4, "epochs": 2, **settings}
    network = mlp((4,), 2, hidden=(5,), activation="tanh")
    write_definition(folder / "net.nntxt", network, Training(**settings))
    return config_of(folder)


# --------------------------------------------------------------- random layers


def _random(v):
    h = PF.batch_normalization(PF.affine(v["x"], 6, name="a"), name="n")
    h = F.dropout(F.tanh(h), 0.3)
    return F.softmax_cross_entropy(PF.affine(h, 3, name="out"), v["y"])


RANDOM = Case(
    "dropout",
    {"x": (5,), "y": (1,)},
    _random,
    lambda p, v: None,
    classes={"y": 3},
    statistics=lambda p, v: {},  # so that there is no monitor, which would move them
)


@pytest.fixture(scope="module")
def dropout(tmp_path_factory) -> Config:
    """Dropout without a seed and batch statistics, from given parameters, rows in their order.

    Two epochs of three mini-batches of 4, end to end: the last two of 26 rows are never seen.
    """
    folder = tmp_path_factory.mktemp("dropout")
    config = write_case(folder, RANDOM, n=26)

    def unshuffled(proto):
        proto.dataset[0].shuffle = False

    edit(folder / "net.nntxt", unshuffled)
    for seed in (0, 1):
        train_seed(config, seed, str(folder / f"run{seed}"))
    return config


def test_random_layers_draw_by_the_seed(dropout):
    """Nothing else differs between the two seeds."""
    one, other = (read_run(Path(dropout.model).parent / f"run{seed}") for seed in (0, 1))
    assert [s.rows.tolist() for s in one.steps] == [s.rows.tolist() for s in other.steps]
    assert np.concatenate([s.rows for s in one.steps]).tolist() == list(range(24))
    start, elsewhere = (run.checkpoint(0).parameters for run in (one, other))
    for name, value in start.items():
        np.testing.assert_array_equal(value, elsewhere[name])
    assert one.settings.random_seeds.keys() == other.settings.random_seeds.keys() != set()
    assert set(one.settings.random_seeds.values()).isdisjoint(other.settings.random_seeds.values())
    end, elsewhere = one.parameters(), other.parameters()
    assert not np.allclose(end["out/affine/W"], elsewhere["out/affine/W"], rtol=1e-3)
    assert not np.array_equal(end["n/bn/mean"], start["n/bn/mean"])


@pytest.mark.parametrize("ranking", ["exact", "exact-last"])
def test_a_run_with_random_layers_is_replayed_to_the_bit_by_exact_rankings(
    dropout, tmp_path, ranking
):
    """`score` refuses a replay that arrives elsewhere than the run."""
    run = Path(dropout.model).parent / "run1"
    done = rank(dropout, 1, ranking, str(run), str(tmp_path / "scores.npy"))
    assert done.cache_bytes > 0


@pytest.mark.parametrize("running_statistics", [False, True])
def test_final_takes_the_statistics_that_were_asked_for(dropout, tmp_path, running_statistics):
    run = Path(dropout.model).parent / "run1"
    config = dataclasses.replace(dropout, running_statistics=running_statistics)
    rank(config, 1, "final", str(run), str(tmp_path / "scores.npy"))
    options = Options(method="final", running_statistics=running_statistics)
    expected, other = (
        score(
            dropout.model,
            run=run,
            train=dropout.training,
            validation=dropout.validation,
            options=dataclasses.replace(options, running_statistics=which),
            device="cpu",
        ).scores.influence
        for which in (running_statistics, not running_statistics)
    )
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), expected)
    assert not np.allclose(expected, other, rtol=0.1)


@pytest.mark.parametrize("protocol", ["all", "last"])
def test_random_layers_draw_in_a_retraining_what_they_drew_in_the_training(
    dropout, tmp_path, protocol
):
    """To remove rows that are never seen changes no bit; to remove others does."""
    run, npy = str(Path(dropout.model).parent / "run1"), str(tmp_path / "scores.npy")
    np.save(npy, -np.arange(26.0))
    plain = retrain(dropout, 1, protocol, run, None, 0)
    unseen = retrain(dropout, 1, protocol, run, npy, 2)
    retrain(dropout, 0, protocol, str(Path(dropout.model).parent / "run0"), npy, 9)
    assert retrain(dropout, 1, protocol, run, npy, 2).loss == unseen.loss == plain.loss
    assert retrain(dropout, 1, protocol, run, npy, 9).loss != plain.loss


# --------------------------------------------------------------- another solver


@pytest.mark.parametrize("removed", [[], [3, 11, 17]])
def test_adam_is_that_of_a_plain_loop_of_nnabla(tmp_path, removed):
    config = write_mlp(tmp_path, solver="Adam", learning_rate=0.05, weight_decay=0.01)
    train_seed(config, 2, str(tmp_path / "run"))
    run = read_run(tmp_path / "run")
    scores = np.ones(20)
    scores[removed] = -1
    np.save(tmp_path / "scores.npy", scores)
    arguments = ("all", str(tmp_path / "run"), str(tmp_path / "scores.npy"), len(removed))
    got = retrain(config, 2, *arguments)

    arrays = {
        part: np.loadtxt(tmp_path / f"{part}.csv", delimiter=",", skiprows=1)
        for part in ("training", "test")
    }
    with nn.parameter_scope("", {}), nn.context_scope(cpu_device("tests").context):
        for name, value in run.checkpoint(0).parameters.items():
            nn.parameter.set_parameter(name, nn.Variable.from_numpy_array(value, need_grad=True))
        x, y, w = nn.Variable((4, 4)), nn.Variable((4, 1)), nn.Variable((4, 1))

        def losses(x, y):
            h = F.tanh(PF.affine(x, 5, name="Affine"))
            o = PF.affine(h, 2, name="Affine_2")
            return o, F.softmax_cross_entropy(o, y)

        loss = F.mean(losses(x, y)[1] * w)
        solver = S.Adam(0.05)
        solver.set_parameters(nn.get_parameters())
        for step in run.steps:
            x.d, y.d = arrays["training"][step.rows, :4], arrays["training"][step.rows, 4:]
            w.d = [[float(row not in removed)] for row in step.rows]
            solver.zero_grad()
            loss.forward()
            loss.backward()
            solver.weight_decay(0.01)
            solver.update()
        x, y = (nn.Variable.from_numpy_array(a) for a in np.split(arrays["test"], [4], axis=1))
        output, each = losses(x, y)
        F.sink(output, each).forward()
        assert got.loss == pytest.approx(each.d.mean(), rel=1e-5)
        assert got.accuracy == (output.d.argmax(1) == arrays["test"][:, 4]).mean()


# --------------------------------------------------------------- the start


def test_a_start_is_drawn_by_the_definitions_initialisers(tmp_path):
    definition = load_definition(write_mlp(tmp_path).model)
    drawn = initial_parameters(definition, 7)
    rng = np.random.RandomState(7)  # one after the other: NormalAffineGlorot, biases 0
    for layer, shape in (("Affine", (4, 5)), ("Affine_2", (5, 2))):
        wanted = rng.normal(0, np.sqrt(2 / sum(shape)), shape)
        np.testing.assert_allclose(drawn[f"{layer}/affine/W"], wanted, rtol=1e-6)
        assert not drawn[f"{layer}/affine/b"].any()


def test_given_parameters_are_every_seeds_start_and_the_others_are_drawn(tmp_path):
    config = write_mlp(tmp_path)
    given = np.full((4, 5), 0.25, np.float32)
    write_parameters(tmp_path / "some.h5", {"Affine/affine/W": given}, None)
    config = dataclasses.replace(config, parameters=str(tmp_path / "some.h5"))
    starts = []
    for seed in (0, 1):
        train_seed(config, seed, str(tmp_path / "run"))
        starts.append(read_run(tmp_path / "run").checkpoint(0).parameters)
        np.testing.assert_array_equal(starts[-1]["Affine/affine/W"], given)
    other = "Affine_2/affine/W"
    assert not np.isclose(starts[0][other], starts[1][other]).any()
    np.testing.assert_array_equal(
        starts[1][other],
        initial_parameters(load_definition(config.model), 1)[other],  # as without the given ones
    )


def test_parameters_of_another_network_are_refused(tmp_path):
    config = dataclasses.replace(write_mlp(tmp_path), parameters=str(tmp_path / "other.h5"))
    for name, message in (
        ("Affine/affine/W", r"\(3,\).*\(4, 5\)"),
        ("other/W", r"other\.h5: .*Affine"),
    ):
        write_parameters(tmp_path / "other.h5", {name: np.zeros(3)}, None)
        with pytest.raises(ModelError, match=message):
            train_seed(config, 0, str(tmp_path / "run"))


# --------------------------------------------------------------- what is refused


def test_a_training_that_diverges_says_so(tmp_path):
    config = write_case(tmp_path, BY_NAME["linear-squared"], max_epoch=40, solver=S.Sgd(1e3))
    with pytest.raises(RunError, match=r"net\.nntxt: seed 3: .*step \d+"):
        train_seed(config, 3, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    np.save(tmp_path / "scores.npy", np.arange(14.0))
    got = retrain(config, 3, "all", str(tmp_path / "run"), str(tmp_path / "scores.npy"), 2)
    assert np.isnan(got.loss)
    assert got.accuracy is None


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_test_loss_that_is_not_finite_is_no_result(tmp_path):
    config = write_case(tmp_path, BY_NAME["linear-squared"])
    train_seed(config, 0, str(tmp_path / "run"))
    arrays = BY_NAME["linear-squared"].inputs(14)
    write_csv(tmp_path / "test.csv", {k: v * 1e30 for k, v in arrays.items()})
    assert np.isnan(retrain(config, 0, "all", str(tmp_path / "run"), None, 0).loss)


def test_a_network_that_mixes_examples_is_refused(tmp_path):
    def build(v):
        h = PF.affine(v["x"], 2, name="a")
        return F.softmax_cross_entropy(h - F.mean(h, axis=0, keepdims=True), v["y"])

    case = Case("mixing", {"x": (3,), "y": (1,)}, build, lambda p, v: None, classes={"y": 2})
    config = write_case(tmp_path, case)
    train_seed(config, 0, str(tmp_path / "run"))
    with pytest.raises(UnsupportedError, match="examples"):
        retrain(config, 0, "all", str(tmp_path / "run"), None, 0)


def test_a_definition_that_names_no_batch_size_needs_one(tmp_path):
    config = write_mlp(tmp_path)

    def without_dataset(proto):
        del proto.optimizer[0].dataset_name[:]

    edit(tmp_path / "net.nntxt", without_dataset)
    with pytest.raises(ModelError, match=r"net\.nntxt: .*batch size"):
        train_seed(config, 0, str(tmp_path / "run"))
    train_seed(dataclasses.replace(config, batch_size=10), 0, str(tmp_path / "run"))
    assert len(read_run(tmp_path / "run").steps) == 4


# --------------------------------------------------------------- tests


def evaluated(inputs, parameters):
    rows = np.arange(len(inputs.test))
    return inputs.evaluator.evaluate(parameters, inputs.test.batch, rows)


def test_a_binary_cross_entropys_accuracy_is_that_of_a_threshold_of_a_half(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)  # more than one block
    y = (x[:, :1] + rng.normal(size=(300, 1)) > 0).astype(np.float32)
    for part in ("training", "validation", "test"):
        write_csv(tmp_path / f"{part}.csv", {"x": x, "y": y})
    write_definition(tmp_path / "net.nntxt", logistic_regression((3,)), Training(n_rows=300))
    inputs = open_inputs(config_of(tmp_path))
    parameters = initial_parameters(inputs.definition, 0)
    losses, right = evaluated(inputs, parameters)
    score = x @ parameters["Affine/affine/W"] + parameters["Affine/affine/b"]
    np.testing.assert_array_equal(right, ((score > 0) == y)[:, 0])
    assert 0.1 < right.mean() < 0.9
    wanted = np.log1p(np.exp(np.where(y > 0, -score, score)))[:, 0]
    np.testing.assert_allclose(losses, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("mlp-categorical", "y"),
        ("mlp-binary", "y"),
        ("embedding", "y"),
        ("autoencoder-soft-binary", None),
        ("two-inputs-huber", None),
    ],
)
def test_what_the_predicted_class_is_compared_with(tmp_path, name, column):
    config = write_case(tmp_path, BY_NAME[name])
    label = find_label(load_definition(config.model))
    assert (None if label is None else label.column) == column
    train_seed(config, 0, str(tmp_path / "run"))
    got = retrain(config, 0, "all", str(tmp_path / "run"), None, 0)
    assert (got.accuracy is None) == (column is None)
