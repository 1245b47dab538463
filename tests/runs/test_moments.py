from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence.errors import RunError
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.solvers import SolverState

ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("step", "parameters", "state", "message"),
    [
        (-1, {"w": ONES}, {}, "a checkpoint before step -1: steps are numbered from 0"),
        (4, {}, {}, "the checkpoint before step 4 holds no parameters"),
        (4, {"w": ONES.astype(float)}, {}, "before step 4: parameter w is float64, not float32"),
        (4, {"w": ONES * np.inf}, {}, "step 4: parameter w is not finite; the training div"),
        (4, {"w": ONES}, {"m": {"w": ONES * np.nan}}, "solver state m of w is not finite"),
        (4, {"w": ONES}, {"m": {"v": ONES}}, "a state m of v, which is none of the parameters"),
    ],
)
def test_what_is_no_checkpoint(step, parameters, state, message):
    with pytest.raises(RunError, match=message):
        Checkpoint(step, parameters, SolverState(3, state))
