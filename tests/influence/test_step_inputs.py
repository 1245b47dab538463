"""The inputs of each step, whatever the order of asking, with what random layers drew."""

from __future__ import annotations

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest

from nnabla_influence.definition import RandomLayers, load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.errors import UnsupportedError
from nnabla_influence.influence.step_inputs import StepInputs, step_inputs
from nnabla_influence.runs.run import write_run
from nnabla_influence.runs.steps import Step
from tests.cases import Case
from tests.small_projects import edit

CONTEXT = cpu_device("tests").context


def _dropped_out(v):
    h = F.dropout(F.tanh(PF.affine(v["x"], 6, name="h")), 0.4, seed=3)
    return F.squared_error(PF.affine(h, 1, name="out"), v["y"])


CASE = Case("dropped-out", {"x": (4,), "y": (1,)}, _dropped_out, None)
DATA = CASE.inputs(20, seed=1)


def fetch(rows):
    return {k: v[rows] for k, v in DATA.items()}


@pytest.fixture
def definition(tmp_path):
    path = CASE.save_definition(tmp_path, batch_size=4)
    edit(path, lambda proto: proto.ClearField("monitor"))
    return load_definition(path, tmp_path / "net.h5")


def some_steps(n: int, *, interval: int = 1) -> list[Step]:
    rng = np.random.default_rng(0)
    batches = [rng.permutation(20)[:4] for _ in range(n * interval)]
    return [Step(i, 0, 0.1, tuple(batches[i * interval : (i + 1) * interval])) for i in range(n)]


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("first", [0, 5])
def test_backwards_it_is_what_was_drawn_forwards(definition, interval: int, first: int):
    steps = some_steps(12, interval=interval)
    training = RandomLayers(definition, 4, CONTEXT)
    wanted = [[training.draw(fetch(rows)) for rows in step.batches] for step in steps]
    (name,) = training.names
    inputs = StepInputs(fetch, RandomLayers(definition, 4, CONTEXT), steps[first:])
    assert inputs.random
    rng = np.random.default_rng(1)
    some = [steps[first + i] for i in rng.permutation(12 - first)]
    for step in [*reversed(steps[first:]), *some]:
        for rows, got, drawn in zip(step.batches, inputs.of(step), wanted[step.step]):
            np.testing.assert_array_equal(got["x"], DATA["x"][rows])
            np.testing.assert_array_equal(got[name], drawn[name])


def test_without_random_layers_it_is_the_data_alone():
    (step,) = some_steps(1)
    (got,) = StepInputs(fetch).of(step)
    assert set(got) == {"x", "y"}


def test_draws_for_ragged_batches_are_refused(definition, tmp_path):
    steps = [*some_steps(2), Step(2, 0, 0.1, (np.array([1, 2]),))]
    run = write_run(tmp_path / "run", parameters=definition.parameters, steps=steps, settings=None)
    with nn.context_scope(CONTEXT), pytest.raises(UnsupportedError, match=r"run: .*Dropout"):
        step_inputs(definition, run, fetch, CONTEXT)
