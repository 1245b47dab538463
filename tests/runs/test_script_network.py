"""The definition that a Recorder writes, against the one that a user writes by hand."""

from __future__ import annotations

from pathlib import Path

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest
from nnabla.utils.save import save

from nnabla_influence.commands.main import main
from nnabla_influence.definition import load_definition
from nnabla_influence.errors import InfluenceError, ModelError, RunError, UnsupportedError
from nnabla_influence.options import RecorderOptions
from nnabla_influence.runs.recorder import Recorder
from nnabla_influence.runs.run import read_run
from tests.cases import write_csv
from tests.training_data import saved_contents

N, B = 24, 6


def mlp(v):
    h = F.tanh(PF.affine(v["x"], 5, name="h"))
    return F.mean(F.softmax_cross_entropy(PF.affine(h, 3, name="out"), v["y"]))


def cnn(v, seed=7):
    pictures = F.reshape(v["x"], (v["x"].shape[0], 1, 5, 5))
    h = PF.convolution(pictures, 4, (3, 3), name="c")
    h = F.relu(PF.batch_normalization(h, name="bn"))
    h = F.dropout(h, 0.25, seed=seed)
    return F.mean(F.softmax_cross_entropy(PF.affine(h, 3, name="out"), v["y"]))


def two_inputs(v):
    h = F.concatenate(PF.affine(v["a"], 3, name="a"), PF.affine(v["b"], 2, name="b"), axis=1)
    return F.squared_error(PF.affine(F.tanh(h), 1, name="out"), v["y"])  # a value an example


CASES = {
    "mlp": (mlp, {"x": (4,), "y": (1,)}, lambda: S.AdamW(0.02, wd=0.01), 0.0),
    "cnn": (cnn, {"x": (25,), "y": (1,)}, lambda: S.Momentum(0.05, 0.8), 0.01),
    "two inputs": (two_inputs, {"a": (3,), "b": (2,), "y": (1,)}, lambda: S.Sgd(0.1), 0.0),
}


def data(shapes, seed, n, classes):
    rng = np.random.RandomState(seed)
    arrays = {
        name: rng.randn(n, *shape).astype(np.float32).round(3) for name, shape in shapes.items()
    }
    return {**arrays, "y": rng.randint(3, size=(n, 1)).astype(np.float32)} if classes else arrays


def trained(folder: Path, name: str, **more):
    """Train as a script; return what a user needs to save the definition by hand."""
    build, shapes, solver, decay = CASES[name]
    arrays = data(shapes, 1, N, name != "two inputs")
    write_csv(folder / "train.csv", arrays)
    write_csv(folder / "valid.csv", data(shapes, 2, 5, name != "two inputs"))
    inputs = {column: nn.Variable((B, *shape)) for column, shape in shapes.items()}
    loss, solver = build(inputs), solver()
    trained_loss = F.mean(loss) if loss.shape else loss
    solver.set_parameters(nn.get_parameters())
    dataset = str(folder / "train.csv")
    more = {"inputs": inputs, "loss": loss, **more}
    with Recorder(folder / "run", solver=solver, n_rows=N, dataset=dataset, **more) as recorder:
        rng = np.random.RandomState(3)
        for _ in range(3):
            for rows in np.split(rng.permutation(N), N // B):
                for column, variable in inputs.items():
                    variable.d = arrays[column][rows]
                trained_loss.forward()
                solver.zero_grad()
                trained_loss.backward()
                recorder.batch(rows)
                if decay:
                    recorder.solver.weight_decay(decay)
                recorder.solver.update()
    return inputs, loss, solver


def by_hand(folder: Path, inputs, loss, solver, weight_decay):
    uri = folder / "train.csv"
    contents = saved_contents(inputs, loss, solver, B, uri=uri, weight_decay=weight_decay)
    context = {"default_context": nn.get_current_context()}
    training = {"max_epoch": 3, "iter_per_epoch": N // B, "save_best": False}
    contents.update(global_config=context, training_config=training)
    save(str(folder / "net.nntxt"), contents)


def scored(folder: Path, model: Path) -> bytes:
    csvs = ["-t", str(folder / "train.csv"), "-v", str(folder / "valid.csv")]
    output = folder / "ranking.csv"
    run = ["--run", str(folder / "run"), "--device", "cpu"]
    main(["score", "-m", str(model), *run, *csvs, "-o", str(output)])
    return output.read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_the_ranking_is_that_of_a_definition_saved_by_hand(tmp_path, name):
    with nn.parameter_scope("", scope={}):
        by_hand(tmp_path, *trained(tmp_path, name), CASES[name][3])
    written, own = tmp_path / "run" / "network.nntxt", tmp_path / "net.nntxt"
    assert scored(tmp_path, written) == scored(tmp_path, own)
    definition, expected = load_definition(written), load_definition(own)
    assert definition.trainable == expected.trainable
    assert definition.max_epoch == 3
    assert definition.proto.training_config == expected.proto.training_config
    assert definition.proto.dataset == expected.proto.dataset
    settings = read_run(tmp_path / "run").settings
    assert (settings.definition, settings.network) == (str(written), "Main")
    # nnabla.utils.save leaves out the settings of some solvers, as of AdamW.
    found = definition.solver.hyperparameters
    assert {n: found[n] for n in settings.hyperparameters} == settings.hyperparameters


def test_making_the_definition_does_not_change_the_training(tmp_path, monkeypatch):
    """nnabla draws the masks of a Dropout without a seed from one generator."""
    monkeypatch.setitem(CASES, "cnn", (lambda v: cnn(v, seed=-1), *CASES["cnn"][1:]))
    finals = []
    for more in ({}, {"inputs": None, "loss": None}):
        nn.seed(5)
        with nn.parameter_scope("", scope={}):
            trained(tmp_path, "cnn", **more)
        finals.append(read_run(tmp_path / "run").parameters())
    assert all(np.array_equal(finals[0][name], value) for name, value in finals[1].items())
    assert not (tmp_path / "run" / "network.nntxt").exists()


def test_parameters_of_another_scope_keep_the_names_of_the_run(tmp_path):
    x, y = nn.Variable((B, 4)), nn.Variable((B, 1))
    with nn.parameter_scope("", scope={}):
        with nn.parameter_scope("mine"):
            loss = mlp({"x": x, "y": y})
            inner = nn.get_parameters()
        solver = S.Adam(0.1)
        solver.set_parameters(nn.get_parameters())
        run = tmp_path / "run"
        with Recorder(
            run,
            solver=solver,
            n_rows=N,
            inputs={"x": x, "y": y},
            loss=loss,
            options=RecorderOptions(parameters=inner),
        ) as recorder:
            recorder.step(range(B))
        assert set(nn.get_parameters()) == {f"mine/{name}" for name in inner}
    definition = load_definition(run / "network.nntxt", run / "final.h5")
    assert definition.trainable == tuple(sorted(inner)) == tuple(sorted(definition.parameters))
    assert definition.training is None  # no dataset was named


def refused(tmp_path, error: type[InfluenceError], message: str, inputs, loss, **more):
    solver = more.pop("solver", S.Sgd())
    solver.set_parameters(nn.get_parameters())
    with pytest.raises(error, match=message):
        Recorder(tmp_path / "run", solver=solver, n_rows=N, inputs=inputs, loss=loss, **more)


def test_what_scoring_would_refuse_is_refused_before_the_training(tmp_path):
    v = {name: nn.Variable((B, size)) for name, size in (("x", 4), ("y", 1))}
    with nn.parameter_scope("", scope={}):
        loss = mlp(v)
        refused(tmp_path, RunError, "both", v, None)
        refused(
            tmp_path, RunError, "both", v, loss, options=RecorderOptions(definition="net.nntxt")
        )
        refused(tmp_path, RunError, "inputs: ", {}, loss)
        refused(tmp_path, RunError, "not computed", v, nn.Variable((B, 1)))
        refused(tmp_path, RunError, "inputs: .*'y': 1", {**v, "y": nn.Variable((1, 1))}, loss)
        refused(tmp_path, ModelError, "SoftmaxCrossEntropy", {"x": v["x"]}, loss)
        constant = nn.Variable.from_numpy_array(np.ones((1, 4), np.float32))
        refused(tmp_path, ModelError, "reads an array", v, mlp({**v, "x": v["x"] * constant}))
        refused(tmp_path, UnsupportedError, "one number for the whole", v, F.sum(loss * loss))
        refused(tmp_path, UnsupportedError, "Lion", v, loss, solver=S.Lion())
        fixed = F.mean(PF.affine(F.reshape(F.reshape(v["x"], (2, 12)), (B, 4)), 1))
        refused(tmp_path, UnsupportedError, "batch size", v, fixed)
    assert list(tmp_path.iterdir()) == []
