"""Several targets at once give what each gives alone."""

from __future__ import annotations

import nnabla as nn
import numpy as np
import pytest

from nnabla_influence.definition import Mode
from tests.cases import CASES, Case
from tests.engine.products import objective_of, relative

K = 3


@pytest.mark.slow
@pytest.mark.parametrize("gauss_newton", [False, True])
@pytest.mark.parametrize("mode", [Mode.TEST, Mode.BATCH])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_is_what_it_is_alone(build, case: Case, tmp_path, mode, gauss_newton):
    engine = build(objective_of(case, tmp_path, 4, mode))
    n = 4 if engine.objective.whole_batch else 7  # two chunks, the second filled up
    inputs, weights = case.inputs(n, seed=3), np.full(n, 1 / n)
    rng = np.random.default_rng(5)

    def vectors(size: int) -> np.ndarray:
        return rng.normal(size=(K, size)).astype(np.float32)

    u, q = vectors(engine.size), sum(s.value.size for s in engine.objective.statistics)
    r = vectors(q) if q else None
    h = nn.NdArray.from_numpy_array(np.ones((K, engine.size), np.float32))
    of_r = None if r is None else nn.NdArray.from_numpy_array(r.copy())
    together = engine.add_products(
        inputs, weights, nn.NdArray.from_numpy_array(u), h, of_r, gauss_newton
    )
    assert together.losses.shape == (K, n)
    for i in range(K):
        own = nn.NdArray.from_numpy_array(np.ones(engine.size, np.float32))
        own_r = None if r is None else nn.NdArray.from_numpy_array(r[i].copy())
        direction = nn.NdArray.from_numpy_array(u[i].copy())
        alone = engine.add_products(inputs, weights, direction, own, own_r, gauss_newton)
        assert relative(together.losses[i], alone.losses) < 1e-5
        assert relative(h.data[i], own.data) < 1e-5
        if alone.outputs is not None:
            assert together.outputs[i].shape == alone.outputs.shape
            assert relative(together.outputs[i], alone.outputs) < 1e-5
        if own_r is not None:
            np.testing.assert_allclose(of_r.data[i], own_r.data, rtol=1e-6)
