"""Shuffled trials traced by worker processes: the same bytes, and nothing lost by a kill."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from nnabla_influence import Options
from nnabla_influence.errors import InfluenceError, ScoreError
from nnabla_influence.execution import Failure, InProcess
from nnabla_influence.influence import trace_file
from nnabla_influence.scoring import traces
from nnabla_influence.scoring.inputs import Request
from tests.exact_trainings import Said
from tests.scores import score
from tests.small_projects import write_table

SHUFFLED = Options(batch_size=5, n_trials=3, window="all")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture
def elsewhere(monkeypatch) -> None:
    """What workers would do is done here, by the function that they would call."""
    monkeypatch.setattr(traces, "open_executor", lambda *_: contextlib.nullcontext(HERE))


HERE = InProcess()


def asked(model: Path, **more) -> None:
    score(model, parameters=model.with_name("net.h5"), **{"options": SHUFFLED, **more})


def ranking(model: Path, output: Path, **more) -> bytes:
    asked(model, output=output, **more)
    assert [entry.name for entry in output.parent.iterdir()] == [output.name]
    content = output.read_bytes()
    output.unlink()
    return content


def test_two_workers_write_the_same_bytes_as_this_process(model, tmp_path):
    output, said = tmp_path / "influence.csv", Said()
    shared = ranking(model, output, jobs=2, progress=said)
    assert b",relabel_gain," in shared  # the workers return what it is made of
    assert "The 3 shuffled orders are traced in 2 worker processes" in said.lines
    assert shared == ranking(model, output)


def test_a_known_order_is_traced_here_and_nothing_is_started(model, tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "open_executor", None)
    output, said = tmp_path / "influence.csv", Said()
    one = Options(batch_size=5, n_trials=1, window="all")
    ranking(model, output, options=one, jobs=2, progress=said)
    assert any("cannot be parallelised" in line for line in said.lines)


def test_a_trial_that_was_traced_before_a_kill_is_not_traced_again(
    model, tmp_path, monkeypatch, elsewhere
):
    output = tmp_path / "influence.csv"
    wanted = ranking(model, output)

    class Killed(InProcess):
        def run(self, tasks, *rest) -> tuple[Failure, ...]:
            super().run(tasks[:2], *rest)
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(traces, "open_executor", lambda *_: contextlib.nullcontext(Killed()))
        with pytest.raises(RuntimeError, match="killed"):
            asked(model, output=output, jobs=2)
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == [".influence.csv.trace.npz", ".influence.csv.trace1.npz"]

    steps: list[int] = []
    trace_back = traces.trace_back

    def counting(inputs, trace):
        steps.append(trace.n_steps)
        return trace_back(inputs, trace)

    monkeypatch.setattr(traces, "trace_back", counting)
    assert ranking(model, output, jobs=2) == wanted
    assert steps == [8, 8, 0]


def test_the_traces_that_workers_left_are_resumed_by_this_process(
    model, tmp_path, monkeypatch, elsewhere
):
    output = tmp_path / "influence.csv"
    wanted = ranking(model, output)
    request = Request(
        model,
        run=None,
        train=model.with_name("training.csv"),
        validation=model.with_name("validation.csv"),
        output=output,
        parameters=model.with_name("net.h5"),
        options=SHUFFLED,
        device="cpu",
    )
    traces.trace_shuffled(request, 1)
    said = Said()
    assert ranking(model, output, progress=said) == wanted
    assert "Resumed after 8 steps from .influence.csv.trace1.npz" in said.lines


def test_a_trace_that_was_killed_keeps_its_relabel_gains(model, tmp_path, monkeypatch):
    output, killed = tmp_path / "influence.csv", Said(11)  # in the second order
    wanted = ranking(model, output)
    monkeypatch.setattr(trace_file, "SAVE_SECONDS", 0.0)
    with pytest.raises(RuntimeError):
        asked(model, output=output, progress=killed)
    said = Said()
    assert ranking(model, output, progress=said) == wanted
    assert "Resumed after 3 steps from .influence.csv.trace1.npz" in said.lines
    assert b",relabel_gain," in wanted


def test_a_trial_that_fails_is_named_and_nothing_is_left(model, tmp_path, monkeypatch, elsewhere):
    trace_back = traces.trace_back

    def diverging(inputs, trace):
        yield from trace_back(inputs, trace)
        raise ScoreError("step 2 diverges")

    monkeypatch.setattr(traces, "trace_back", diverging)
    with pytest.raises(ScoreError, match="order 1 of 3: step 2 diverges"):
        asked(model, output=tmp_path / "influence.csv", jobs=2)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_scheduler_is_reported_before_anything_is_traced(model, monkeypatch):
    monkeypatch.setattr(traces, "trace_back", None)
    with pytest.raises(InfluenceError, match="somewhere"):
        asked(model, jobs="somewhere")
