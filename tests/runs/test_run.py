from __future__ import annotations

import json

import nnabla as nn
import numpy as np
import pytest

from nnabla_influence.errors import OutputError, RunError
from nnabla_influence.runs.checkpoint import Checkpoint, write_checkpoints
from nnabla_influence.runs.run import (
    RunSettings,
    Step,
    check_fits,
    last_epochs,
    read_run,
    write_run,
)
from nnabla_influence.solvers import SolverState
from tests.runs.changing import as_of_version_0_1_0, flipped

PARAMETERS = {
    "affine/b": np.array([1.0, -2.0], np.float32),
    "affine/W": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "bn/mean": np.array([0.5], np.float32),
}
SETTINGS = RunSettings(
    n_rows=9,
    total_steps=40,
    solver="Momentum",
    hyperparameters={"lr": 0.1, "momentum": 0.9},
    weight_decay=1e-4,
    network="Main",
    dataset="/data/学習.csv",
)


def steps(*rows):
    return tuple(Step(10 + i, i // 2, 0.25, (row,)) for i, row in enumerate(rows))


def written(folder, **changes):
    arguments = {
        "parameters": PARAMETERS,
        "steps": steps([0, 1], [8, 2], [3]),
        "settings": SETTINGS,
        "trainable": {"affine/W", "affine/b"},
        **changes,
    }
    return write_run(folder, **arguments)


def test_a_run_reads_back_as_it_was_written(tmp_path):
    written(tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.settings == SETTINGS
    assert [(s.step, s.epoch, s.learning_rate, s.rows.tolist()) for s in run.steps] == [
        (10, 0, 0.25, [0, 1]),
        (11, 0, 0.25, [8, 2]),
        (12, 1, 0.25, [3]),
    ]
    for name, value in run.parameters().items():
        assert value.dtype == np.float32
        assert np.array_equal(value, PARAMETERS[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_nnabla_loads_final_h5_with_order_and_need_grad(tmp_path):
    before = list(nn.get_parameters(grad_only=False))
    written(tmp_path / "run")
    assert list(nn.get_parameters(grad_only=False)) == before
    with nn.parameter_scope("", scope={}):
        nn.load_parameters(str(tmp_path / "run" / "final.h5"))
        loaded = nn.get_parameters(grad_only=False)
        assert list(loaded) == list(PARAMETERS)
        assert {n: v.need_grad for n, v in loaded.items()} == {
            "affine/W": True,
            "bn/mean": False,
            "affine/b": True,
        }
        for name, variable in loaded.items():
            assert np.array_equal(variable.d, PARAMETERS[name])


def test_parameters_saved_by_nnabla_and_handwritten_steps_are_a_valid_run(tmp_path):
    with nn.parameter_scope("", scope={}):
        nn.parameter.set_parameter("w", nn.Variable.from_numpy_array(np.array([[1.5]])))
        nn.save_parameters(str(tmp_path / "final.h5"))
    (tmp_path / "steps.csv").write_text("step,epoch,learning_rate,rows\n0,0,0.1,4 5\n")
    run = read_run(str(tmp_path))
    assert run.settings is None
    assert run.parameters()["w"].tolist() == [[1.5]]
    check_fits(run, 6)


STATE = SolverState(13, {"m": {name: PARAMETERS[name] + 1 for name in ("affine/W", "affine/b")}})


def with_checkpoints(*numbers):
    """Return what makes a folder of checkpoints of parameters that tell the checkpoint's step."""

    def make(folder):
        folder.mkdir()
        values = [{name: v + n for name, v in PARAMETERS.items()} for n in np.float32(numbers)]
        write_checkpoints(
            folder,
            [Checkpoint(n, v, SolverState(n, STATE.values)) for n, v in zip(numbers, values)],
        )

    return make


def test_checkpoints_and_the_solvers_state_belong_to_a_run(tmp_path):
    written(tmp_path / "run", solver_state=STATE, checkpoints=with_checkpoints(10, 12))
    run = read_run(tmp_path / "run")
    assert run.checkpoints == (10, 12)
    for number in run.checkpoints:
        checkpoint = run.checkpoint(number)
        assert checkpoint.solver.t == checkpoint.step == number
        assert np.array_equal(checkpoint.parameters["affine/b"], PARAMETERS["affine/b"] + number)
    final = run.final_checkpoint()
    assert (final.step, final.solver.t) == (13, 13)
    assert np.array_equal(final.parameters["bn/mean"], PARAMETERS["bn/mean"])
    for name in ("affine/W", "affine/b"):
        assert np.array_equal(run.solver_state().values["m"][name], PARAMETERS[name] + 1)
    # And are replaced with it.
    written(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "final.h5",
        "run.json",
        "steps.csv",
    ]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((9, 10), "step 9 of a checkpoint"), ((13,), "step 13 of a checkpoint")],
)
def test_checkpoints_of_steps_that_the_run_does_not_hold(tmp_path, numbers, message):
    written(tmp_path / "run", checkpoints=with_checkpoints(*numbers))
    with pytest.raises(RunError, match=f"checkpoints: {message} .*steps.csv"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("missing", ["final.h5", "steps.csv"])
def test_a_missing_file_is_named(tmp_path, missing):
    written(tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(RunError, match=f"run: has no {missing}"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 7}, "format version 7"),
        ({"format_version": None}, "format version None"),
        ({"n_rows": "9"}, "n_rows: '9'"),
        ({"keep": "some"}, "keep: 'some'"),
        ({"solver": 3}, "solver: 3"),
        ({"weight_decay": "x"}, "weight_decay: 'x'"),
        ({"fed": 1}, "fed: 1"),
        ({"hyperparameters": {"lr": None}}, "hyperparameters: lr None"),
        ({"hyperparameters": [1]}, r"hyperparameters: \[1\]"),
        ("{", "JSON"),
        ("[]", "JSON object"),
    ],
)
def test_a_wrong_run_json_is_named(tmp_path, change, message):
    written(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    entries = json.loads(path.read_text())
    path.write_text(change if isinstance(change, str) else json.dumps({**entries, **change}))
    with pytest.raises(RunError, match=f"run.json: .*{message}"):
        read_run(tmp_path / "run")


def test_an_unknown_entry_of_run_json_is_passed_over(tmp_path):
    written(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "remark": "mine"}))
    assert read_run(tmp_path / "run").settings == SETTINGS


def test_a_run_replaces_a_run_and_an_empty_folder(tmp_path):
    (tmp_path / "run").mkdir()
    written(tmp_path / "run")
    (tmp_path / "run" / "nnabla_cli").mkdir()
    written(tmp_path / "run", steps=steps([7]))
    assert read_run(tmp_path / "run").steps[0].rows.tolist() == [7]
    assert not (tmp_path / "run" / "nnabla_cli").exists()


@pytest.mark.parametrize("name", ["thesis.tex", "final.h5", ".git", "a run and notes.txt"])
def test_a_folder_with_other_things_is_never_replaced(tmp_path, name):
    if name.startswith("a run"):
        written(tmp_path / "run")
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(OutputError, match=f"run: holds {name}"):
        written(tmp_path / "run")
    assert (tmp_path / "run" / name).read_text() == "mine"


def test_a_run_without_steps_is_not_written(tmp_path):
    with pytest.raises(RunError, match="without steps"):
        written(tmp_path / "run", steps=())
    assert list(tmp_path.iterdir()) == []


def test_the_last_epochs_are_those_that_the_lines_say(tmp_path):
    five = steps([0], [1], [2], [3], [4])
    assert [s.step for s in last_epochs(five, 1)] == [14]
    assert [s.step for s in last_epochs(five, 2)] == [12, 13, 14]
    assert last_epochs(five, 3) == five
    with pytest.raises(RunError, match=r"4 epochs .* 3"):
        last_epochs(five, 4)


def test_a_run_that_does_not_fit_the_dataset(tmp_path):
    run = written(tmp_path / "run")
    check_fits(run, 9)
    with pytest.raises(RunError, match=r"9 rows \(/data/学習.csv\), but the dataset has 10"):
        check_fits(run, 10)
    unnamed = written(tmp_path / "run", settings=None)
    with pytest.raises(RunError, match=r"steps.csv, line 3, column rows: row 8 "):
        check_fits(unnamed, 8)


# --------------------------------------------------------------------- damaged


@pytest.fixture
def kept(tmp_path):
    written(tmp_path / "run", solver_state=STATE, checkpoints=with_checkpoints(10, 12))
    return tmp_path / "run"


def everything(folder) -> list:
    """All that is read of a run, to be compared."""
    run = read_run(folder)
    read = [(s.step, s.epoch, s.learning_rate, s.rows.tolist()) for s in run.steps]
    for state in (run.final_checkpoint(), *map(run.checkpoint, run.checkpoints)):
        values = (state.parameters, state.solver.values["m"])
        read.append((state.step, state.solver.t, *map(as_lists, values)))
    return read


def as_lists(values) -> dict:
    return {name: value.tolist() for name, value in values.items()}


@pytest.mark.parametrize(
    "name",
    [
        *("final.h5", "solver_states.h5", "steps.csv"),
        *("checkpoints/layout.json", "checkpoints/10.npy", "checkpoints/12.npy"),
    ],
)
def test_a_flipped_bit_is_named_or_harmless(kept, name):
    wanted, path = everything(kept), kept / name
    whole = path.read_bytes()
    found = 0
    for bit in np.linspace(0, 8 * len(whole) - 1, 60).astype(int):
        flipped(path, bit)
        try:
            got = everything(kept)
        except RunError as error:
            got, message = wanted, str(error)
            found += 1
        else:
            message = str(path)
        assert message.startswith(str(path))
        assert got == wanted
        path.write_bytes(whole)
    assert found > 30


def test_a_run_of_the_version_without_checksums_is_read(kept):
    wanted = everything(kept)
    as_of_version_0_1_0(kept)
    assert everything(kept) == wanted
    flipped(kept / "checkpoints" / "12.npy", -10)
    assert everything(kept) != wanted
