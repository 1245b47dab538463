from __future__ import annotations

import h5py
import nnabla as nn
import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.errors import RunError
from nnabla_influence.runs.solver_states import read_solver_state, write_solver_state
from nnabla_influence.solvers import SolverState, get_state

SOLVERS = [S.Sgd, S.Momentum, S.Adam, S.AdamW, S.RMSprop, S.Adadelta]


def trained(make, n=3):
    """A solver after some updates with gradients of its own."""
    rng = np.random.default_rng(0)
    solver = make()
    parameters = {
        name: nn.Variable.from_numpy_array(rng.normal(size=shape), need_grad=True)
        for name, shape in (("a/W", (2, 3)), ("a/b", (3,)))
    }
    solver.set_parameters(parameters)
    for _ in range(n):
        for variable in parameters.values():
            variable.g = rng.normal(size=variable.shape)
        solver.update()
    return solver, parameters


def values_of(state):
    return {
        (kind, name): value.tolist()
        for kind, values in state.values.items()
        for name, value in values.items()
    }


@pytest.mark.parametrize("make", SOLVERS)
def test_nnabla_loads_it_and_trains_on_to_the_bit(tmp_path, make):
    solver, parameters = trained(make)
    state = get_state(solver)
    write_solver_state(tmp_path / "states.h5", state, list(parameters))
    other, copies = trained(make, n=0)
    for name, variable in copies.items():
        variable.d = parameters[name].d
    other.load_states(str(tmp_path / "states.h5"))
    for one, variables in ((solver, parameters), (other, copies)):
        for variable in variables.values():
            variable.g = 0.5
        one.update()
    for name, variable in copies.items():
        assert np.array_equal(variable.d, parameters[name].d)
    assert read_solver_state(tmp_path / "states.h5").t == 3


@pytest.mark.parametrize("make", SOLVERS)
def test_what_nnabla_saved_is_read(tmp_path, make):
    solver, _ = trained(make)
    solver.save_states(str(tmp_path / "states.h5"))
    found, wanted = read_solver_state(tmp_path / "states.h5"), get_state(solver)
    assert found.t == wanted.t == 3
    assert values_of(found) == values_of(wanted)


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "states.h5"
    path.write_bytes(b"no file of this kind")
    with pytest.raises(RunError, match=r"states.h5: is not a readable file of a solver's states"):
        read_solver_state(path)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(RunError, match=r"states.h5: holds no solver's states; write it with solve"):
        read_solver_state(path)
    write_solver_state(path, SolverState(1, {"m": {"w": np.array([np.nan], np.float32)}}), ["w"])
    with pytest.raises(RunError, match=r"states.h5: state m of w is not finite; the training dive"):
        read_solver_state(path)
    with h5py.File(path, "w") as file:
        file["a/t"], file["b/t"] = 1, 2
    with pytest.raises(RunError, match=r"states.h5: .*updated 1 times and others 2 times"):
        read_solver_state(path)
