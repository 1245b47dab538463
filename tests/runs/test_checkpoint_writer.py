from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import nnabla as nn
import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.errors import RunError
from nnabla_influence.files import replacing_folder
from nnabla_influence.runs.checkpoint_plan import CheckpointSelection
from nnabla_influence.runs.checkpoint_writer import (
    CheckpointWriter,
    Snapshot,
    final_solver_state,
)


def trained(n, solver=None, shapes=((2, 3), (), (1,))):
    rng = np.random.default_rng(0)
    parameters = {
        f"p{i}": nn.Variable.from_numpy_array(np.float32(rng.normal(size=s)), need_grad=True)
        for i, s in enumerate(shapes)
    }
    solver = S.Adam() if solver is None else solver
    # By other names, as in another scope, and not all of them.
    solver.set_parameters({f"net/{name}": v for name, v in list(parameters.items())[:-1]})
    update(solver, parameters, n)
    return solver, parameters


def update(solver, parameters, n):
    for i in range(n):
        for variable in parameters.values():
            variable.g = i + 1.5
        solver.update()


def expected(solver, parameters):
    """Array by array, as nnabla hands them out."""
    states = solver.get_states()
    values = {(name, ""): v.d for name, v in parameters.items()}
    for key, state in states.items():
        values.update({(key[4:], kind): v.d for kind, v in state.pstate.items()})
    return values


def check(snapshot, solver, parameters, t):
    found_t, flat = snapshot.take()
    assert found_t == t
    wanted, start = expected(solver, parameters), 0
    assert {(array.parameter, array.state) for array in snapshot.arrays} == set(wanted)
    for array in snapshot.arrays:
        value = wanted[array.parameter, array.state]
        assert value.shape == array.shape
        assert np.array_equal(flat[start : start + array.size], value.ravel())
        start += array.size
    assert start == flat.size


@pytest.mark.parametrize("make", [S.Sgd, S.Momentum, S.Adam])
@pytest.mark.parametrize("eager", [False, True])
def test_every_value_at_its_place_each_time(make, eager):
    solver, parameters = trained(2, make())
    snapshot = Snapshot(solver, parameters)
    with nn.auto_forward(eager):
        check(snapshot, solver, parameters, t=2)
        update(solver, parameters, 3)
        check(snapshot, solver, parameters, t=5)


def test_half_precision_in_the_users_context_rounds_nothing():
    solver, parameters = trained(1)
    parameters["p0"].d = np.float32(1) + np.float32(2**-20)
    with nn.context_scope(nn.Context(["cpu:half"], "CpuCachedArray", "0")):
        _, flat = Snapshot(solver, parameters).take()
    assert flat[0] == np.float32(1) + np.float32(2**-20)


def test_states_and_data_that_were_replaced_are_seen(tmp_path):
    solver, parameters = trained(2)
    snapshot = Snapshot(solver, parameters)
    snapshot.take()
    solver.save_states(str(tmp_path / "states.h5"))
    update(solver, parameters, 2)
    solver.load_states(str(tmp_path / "states.h5"))
    parameters["p0"].data = nn.NdArray.from_numpy_array(np.full((2, 3), 7, np.float32))
    check(snapshot, solver, parameters, t=2)


def test_parameters_that_were_not_updated_together(tmp_path):
    solver, parameters = trained(2)
    added = nn.Variable.from_numpy_array(np.ones(2, np.float32), need_grad=True)
    parameters["late"] = added
    solver.set_parameters({"net/late": added}, reset=False, retain_state=True)
    update(solver, parameters, 1)
    message = "some parameters were updated 1 times and others 3 times"
    with pytest.raises(RunError, match=message):
        Snapshot(solver, parameters).take()
    with pytest.raises(RunError, match=message):
        final_solver_state(solver, parameters, "sqrt")
    # Without checkpoints the run is worth as much without the solver's state.
    assert final_solver_state(solver, parameters, "final") is None


SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.runs.test_checkpoint_writer import writer_of
writer = writer_of(Path(sys.argv[1]))
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.exit()
if sys.argv[2] == "fork":
    os.wait()
    assert list(Path(sys.argv[1]).parent.glob(".run.*/0.npy"))
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
raise KeyboardInterrupt
"""


def writer_of(run_folder):
    writer = CheckpointWriter(run_folder, *trained(1), CheckpointSelection("all"))
    writer.write(0)
    return writer


def test_checkpoints_are_hidden_beside_the_run_until_it_is_closed(tmp_path):
    writer = writer_of(tmp_path / "run")
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith(".run.")
    assert [path.name for path in folder.iterdir()] == ["0.npy"]
    with replacing_folder(tmp_path / "run"):  # a run that is written meanwhile leaves them alone
        pass
    assert folder.exists()
    writer.close()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills")
@pytest.mark.parametrize("how", ["interrupt", "fork", "kill"])
def test_an_ended_process_leaves_nothing_and_a_killed_one_what_the_next_run_removes(tmp_path, how):
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), how],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )
    if how == "kill":
        assert process.returncode == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 1
        with replacing_folder(tmp_path / "run"):
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
    else:
        assert "KeyboardInterrupt" in process.stderr
        assert list(tmp_path.iterdir()) == []
