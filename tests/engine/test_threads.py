"""Threads share the work, and change no bit of it."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

from nnabla_influence.engine import threads
from nnabla_influence.engine.numpy_engine import NumpyEngine
from nnabla_influence.engine.numpy_functions.correlation import (
    Window,
    correlate,
    spread,
    weights,
)
from tests.cases import CASES
from tests.engine.products import objective_of, vector


@pytest.fixture(autouse=True)
def fresh_pool():
    threads._pool.cache_clear()
    yield
    threads._pool.cache_clear()


def correlations() -> list[bytes]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 20, 20, 32)).astype(np.float32)
    y = rng.normal(size=(9, 20, 20, 32)).astype(np.float32)
    kernels = [rng.normal(size=(3, 3, 32, 32)).astype(np.float32) for _ in range(2)]
    window = Window((3, 3), (1, 1), (1, 1), (1, 1))
    assert x[..., 0].size * kernels[0].size > threads.WORTH_SHARING
    with threads.one_blas_thread():
        found = [*correlate(x, kernels, window), *weights(x, [y], window)]
        found += spread(y, kernels, window, (20, 20))
        strided = Window((3, 3), (1, 1), (2, 2), (1, 1))
        found += spread(y[:, :10, :10], kernels, strided, (20, 20))
    return [array.tobytes() for array in found]


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    found = []
    for n in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", n)
        threads._pool.cache_clear()
        assert threads.n_threads() == int(n)
        found.append(correlations())
    assert found[0] == found[1] == found[2]


def test_nor_in_an_engine(monkeypatch, tmp_path):
    """Chunks are shared by threads; a diverged training warns in none of them."""
    case = next(case for case in CASES if case.name == "cnn-softmax")
    engine = NumpyEngine(objective_of(case, tmp_path, 2))
    inputs, weights = case.inputs(11, seed=3), np.full(11, 1 / 11)
    u = vector(engine, np.random.default_rng(5).normal(size=engine.size).astype(np.float32))
    found = []
    for n in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", n)
        threads._pool.cache_clear()
        h, g = engine.zeros(), engine.zeros()
        along = engine.add_products(inputs, weights, u, h)
        engine.add_gradient(inputs, weights, g)
        evaluation = vars(engine.outputs(inputs)).values()
        arrays = (along.losses, along.outputs, h.data, g.data, *evaluation)
        found.append([array.tobytes() for array in arrays])
    assert found[0] == found[1]
    infinite = {name: np.full_like(v, 3e38) for name, v in engine.parameters().items()}
    engine.set_parameters(infinite)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.add_products(inputs, weights, u, engine.zeros())


def test_without_threadpoolctl_the_librarys_own_threads_are_used(monkeypatch):
    monkeypatch.setattr(threads, "_blas", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    done = []
    with threads.one_blas_thread():
        threads.for_each(done.append, range(5))
    assert done == [0, 1, 2, 3, 4]
    assert threads._pool() is None


def test_what_fails_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    def fail(item: int) -> None:
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        threads.for_each(fail, range(3))


def test_as_many_as_there_are_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= threads.n_threads() <= (os.cpu_count() or 1)
