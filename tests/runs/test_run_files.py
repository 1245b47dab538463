from __future__ import annotations

import h5py
import nnabla as nn
import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.errors import RunError
from nnabla_influence.runs.run_files import (
    read_parameters,
    read_solver_state,
    write_solver_state,
)
from nnabla_influence.solvers import get_state

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
    np.testing.assert_equal(found.values, wanted.values)


def in_h5(**arrays):
    def write(path):
        with h5py.File(path, "w") as file:
            for name, value in arrays.items():
                file[name.replace("__", "/")] = value

    return write


@pytest.mark.parametrize(
    ("read", "write", "message"),
    [
        (read_solver_state, lambda path: path.write_bytes(b"no HDF5"), "solver.save_states"),
        (read_solver_state, in_h5(), "no solver states"),
        (read_solver_state, in_h5(w__t=1, w__m=[np.nan]), "m of w is not finite"),
        (read_solver_state, in_h5(a__t=1, b__t=2), "1 times .* 2 times"),
        (read_solver_state, in_h5(a__t=[1, 2]), ""),
        (read_parameters, lambda path: path.write_bytes(b"no HDF5"), "nnabla.save_parameters"),
        (read_parameters, in_h5(), "no parameters"),
        (read_parameters, in_h5(affine__W=[1.0, np.inf]), "affine/W is not finite"),
        (read_parameters, in_h5(affine__W="text"), ""),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, read, write, message):
    write(tmp_path / "states.h5")
    with pytest.raises(RunError, match=rf"states.h5: .*{message}"):
        read(tmp_path / "states.h5")
