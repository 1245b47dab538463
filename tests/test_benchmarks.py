from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from nnabla_influence.runs.run import Run

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def exact_sizes(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("exact_sizes")


def test_sets_of_the_papers_size_give_the_papers_table(exact_sizes):
    sizes = exact_sizes.Sizes("Sgd", set=1_236_000, final=1_236_000, parameters=1_236_000)
    computed = {(c.window, c.keep): c for c in exact_sizes.compute(sizes)}
    # The paper counts 1,563 steps an epoch, nnabla_cli does 1,562.
    assert computed["all epochs", "all"].steps == 31_240
    assert computed["last epoch", "all"].steps == 1_562
    assert computed["all epochs", "all"].disk_bytes == pytest.approx(38.64e9, rel=1e-3)
    assert computed["last epoch", "all"].disk_bytes == pytest.approx(1.932e9, rel=2e-3)
    assert computed["last epoch", "final"].disk_bytes == 1_236_000


@pytest.mark.parametrize(("window", "steps"), [("all epochs", 31_240), ("last epoch", 1_562)])
def test_sqrt_keeps_about_as_many_sets_as_it_holds_at_once(exact_sizes, window, steps):
    sizes = exact_sizes.Sizes("Sgd", set=10, final=3, parameters=2)
    (sqrt,) = (c for c in exact_sizes.compute(sizes) if (c.window, c.keep) == (window, "sqrt"))
    spacing = sqrt.memory_bytes // 10 - 1  # the set that a segment ends with is held too
    assert sqrt.disk_bytes == 3 + 10 * sqrt.sets
    assert (sqrt.sets - 1) * spacing < steps <= sqrt.sets * spacing
    assert abs(sqrt.sets - spacing) <= 1


def test_the_files_of_a_run_are_weighed(exact_sizes, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name, size in {
        "final.h5": 7,
        "solver_states.h5": 5,
        "checkpoints/0.npy": 11,
        "checkpoints/1.npy": 11,
        "checkpoints/layout.json": 100,
    }.items():
        (tmp_path / name).write_bytes(bytes(size))
    run = Run(tmp_path, None, ())
    assert exact_sizes.measure_sizes(run, "Adam") == exact_sizes.Sizes("Adam", 11, 12, 7)
    (tmp_path / "checkpoints/2.npy").write_bytes(bytes(12))
    with pytest.raises(RuntimeError, match=r"different sizes: \[11, 12\]"):
        exact_sizes.measure_sizes(run, "Adam")


def test_ratios_are_of_the_same_round(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    exact = importlib.import_module("exact")
    trace = {"slow": [2.0, 30.0, 4.0], "fast": [1.0, 10.0, 4.0]}
    times = exact.Times("name", 4, whole={"slow": [1.0], "fast": [4.0]}, trace=trace)
    assert times.ratio("slow", "fast") == 2.0
    assert times.ratio("slow", "fast", whole=True) == 0.25
    assert times.milliseconds("fast") == 1000.0
