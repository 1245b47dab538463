"""The solver's state in files that nnabla_cli and nnabla.utils.save wrote."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass

import h5py
import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest
from nnabla.utils.save import save

from nnabla_influence.definition import load_definition
from nnabla_influence.errors import ModelError
from nnabla_influence.solvers import get_state, read_solver_state
from tests.rules import RULES, first_states
from tests.training_data import parameters_of, run_nnabla_cli, saved_contents, write_project


@dataclass(frozen=True)
class Trained:
    """Five epochs and three epochs of Adam, and what they start from."""

    five: object
    three: object
    first: dict
    project: object


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    base = tmp_path_factory.mktemp("adam")
    jobs, projects = [], {}
    for epochs in (0, 3, 5):
        folder = base / str(epochs)
        projects[epochs] = write_project(folder, max_epoch=epochs, solver=S.Adam(0.05))
        config, outdir = str(projects[epochs].definition), str(folder / "out")
        jobs.append({"config": config, "outdir": outdir, "recorded": False})
    run_nnabla_cli(base, jobs)
    return Trained(
        five=base / "5" / "out",
        three=base / "3" / "out",
        first=parameters_of(base / "0" / "out" / "results.nnp"),
        project=projects[5],
    )


@pytest.mark.slow
def test_the_state_that_nnabla_cli_left_is_that_of_the_rule(trained):
    path = trained.five / "results_current_5.nnp"
    state = read_solver_state(path)
    assert state.t == 25
    assert {name: set(arrays) for name, arrays in state.values.items()} == {
        "mean": {"affine/affine/W", "affine/affine/b"},
        "var": {"affine/affine/W", "affine/affine/b"},
    }

    # Adam on the mean squared error, by hand, over the rows that nnabla_cli was fed.
    x = np.hstack([trained.project.x, np.ones((20, 1))])
    theta = np.concatenate(
        [trained.first["affine/affine/W"], trained.first["affine/affine/b"][None]]
    ).astype(float)
    states = first_states("Adam", theta)
    hyper = load_definition(path).solver.hyperparameters
    fed = json.loads((trained.five / "fed.json").read_text())
    assert len(fed) == 25
    for t, rows in enumerate(fed):
        g = 2 * x[rows].T @ (x[rows] @ theta - trained.project.y[rows]) / len(rows)
        theta, states = RULES["Adam"](theta, states, g, 0.05, t, hyper, 0.0)
    final = parameters_of(path)
    np.testing.assert_allclose(final["affine/affine/W"], theta[:3], rtol=1e-4, atol=1e-6)
    for name, value in states.items():
        np.testing.assert_allclose(state.values[name]["affine/affine/W"], value[:3], rtol=1e-3)
        np.testing.assert_allclose(state.values[name]["affine/affine/b"], value[3], rtol=1e-3)


def test_files_without_a_state(trained, tmp_path):
    assert read_solver_state(trained.three / "results_current_3.nnp") is None
    assert read_solver_state(trained.project.definition) is None
    (tmp_path / "net.h5").write_bytes(b"anything")
    assert read_solver_state(tmp_path / "net.h5") is None


def saved(path, solver, **options):
    """Save a small trained network by nnabla.utils.save; return the solver's state."""
    with nn.parameter_scope("", scope={}):
        x, y = nn.Variable((4, 3)), nn.Variable((4, 1))
        loss = F.mean(F.squared_error(PF.affine(x, 1, name="a"), y))
        solver.set_parameters(nn.get_parameters())
        for seed in range(4):
            rng = np.random.default_rng(seed)
            x.d, y.d = rng.normal(size=(4, 3)), rng.normal(size=(4, 1))
            loss.forward()
            solver.zero_grad()
            loss.backward()
            solver.update()
        contents = saved_contents({"x": x, "y": y}, loss, solver, 4, name="My_Optimizer")
        save(str(path), contents, include_solver_state=True, **options)
        return get_state(solver)


@pytest.mark.parametrize("kind", ["Sgd", "Momentum", "Adam", "AMSGRAD", "Adadelta"])
@pytest.mark.parametrize("form", [".h5", ".protobuf", None])
def test_what_nnablas_save_writes_is_read_back(tmp_path, kind, form):
    path = tmp_path / ("net.nntxt" if form is None else "net.nnp")
    options = {} if form is None else {"solver_state_format": form}
    expected = saved(path, getattr(S, kind)(), **options)
    assert expected.t == 4
    found = read_solver_state(path)
    assert found.t == 4
    np.testing.assert_equal(found.values, expected.values)


def test_a_missing_or_damaged_archive(tmp_path):
    path = tmp_path / "net.nnp"
    with pytest.raises(ModelError, match=r"net\.nnp: "):
        read_solver_state(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"net\.nnp: .*archive"):
        read_solver_state(path)


def h5(**datasets) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in datasets.items():
            file[name.replace("__", "/")] = value
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("o_Adam_optimizer.h5.optimizer", b"no h5"),
        ("o_Adam_optimizer.h5.optimizer", h5(w__t=[1, 2], w__m=np.ones(2))),
        ("o_Adam_optimizer.h5.optimizer", h5(w__t=1, w__m=np.ones(2), b__t=2, b__m=np.ones(2))),
        ("o_optimizer.protobuf.optimizer", b"\xff\xff"),
        ("net.nntxt", b"no proto {"),
        ("net.nntxt", b"\xff"),
    ],
)
def test_a_damaged_state(tmp_path, name, content):
    path = tmp_path / "net.nnp"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    with pytest.raises(ModelError, match=rf"net\.nnp, {name}: "):
        read_solver_state(path)


def test_two_optimizers(tmp_path):
    path = tmp_path / "net.nnp"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("one", "two"):
            archive.writestr(f"{name}_Sgd_optimizer.h5.optimizer", h5(w__t=1))
    with pytest.raises(ModelError, match="2 optimizers"):
        read_solver_state(path)
