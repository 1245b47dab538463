"""Against real trainings by `nnabla_cli train`: its files are read, and its loss is ours."""

from __future__ import annotations

import subprocess
import sys

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np

from nnabla_influence.definition import build_objective, load_definition
from nnabla_influence.definition.model_file import read_parameters

from .definitions import BATCH, CPU, python_proto, write_nnp

RATE = 0.2


def make(v):
    hidden = F.tanh(PF.affine(v["x"], 4, name="a"))
    output = PF.affine(hidden, 2, name="b")
    return {
        "fit": F.squared_error(output, v["t"]),
        "size": 0.5 * F.sum(output**2, axis=1),
        "norm": 0.3 * F.mean(F.abs(nn.get_parameters()["a/affine/W"]), axis=0),
    }


def test_one_step_of_nnabla_cli_goes_down_our_objective(tmp_path):
    """theta_1 = theta_0 - rate * grad(mean of the losses + penalty), for losses of three sizes."""
    rng = np.random.RandomState(0)
    x, t = rng.randn(BATCH, 3).round(3), rng.randn(BATCH, 2).round(3)
    rows = [",".join(map(str, (*a, *b))) for a, b in zip(x, t)]
    (tmp_path / "train.csv").write_text("\n".join(["x__0,x__1,x__2,y__0,y__1", *rows]) + "\n")
    proto, parameters = python_proto(make, {"x": (3,), "t": (2,)}, solver=S.Sgd(RATE))
    proto.training_config.max_epoch = proto.training_config.iter_per_epoch = 1
    path = write_nnp(tmp_path / "net.nnp", proto, parameters)
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "nnabla.utils.cli.cli", "train", "-c", path, "-p", path]
    subprocess.run(
        [*command, "-o", "out"], cwd=tmp_path, check=True, capture_output=True, timeout=120
    )
    results = tmp_path / "out" / "results_current_1.nnp"
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
        expected = parameters[name] - RATE * parameter.g
        assert np.abs(parameter.g).max() > 1e-3
        np.testing.assert_allclose(trained[name], expected, atol=1e-6)
