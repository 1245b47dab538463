"""Shuffled trials that worker processes trace: the same bytes, and nothing lost at a kill."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from nnabla_influence import Options, score
from nnabla_influence.errors import InfluenceError, ScoreError
from nnabla_influence.execution import Failure, InProcess
from nnabla_influence.scoring import trials
from tests.exact_trainings import Said
from tests.small_projects import write_table

SHUFFLED = Options(batch_size=5, n_trials=3, device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture
def elsewhere(monkeypatch) -> None:
    """What is asked of workers is done here, by the function that they would call."""
    monkeypatch.setattr(trials, "open_executor", lambda *_: contextlib.nullcontext(HERE))


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
    assert "The 3 shuffled orders are traced in 2 worker processes" in said.lines
    assert shared == ranking(model, output)


def test_a_known_order_is_traced_here_and_nothing_is_started(model, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "open_executor", None)
    output, said = tmp_path / "influence.csv", Said()
    one = Options(batch_size=5, n_trials=1, device="cpu")
    ranking(model, output, options=one, jobs=2, progress=said)
    assert any("nothing to share out: it is done in this process" in line for line in said.lines)


def test_a_trial_that_was_done_before_a_kill_is_not_done_again(
    model, tmp_path, monkeypatch, elsewhere
):
    output = tmp_path / "influence.csv"
    wanted = ranking(model, output)

    class Killed(InProcess):
        def run(self, tasks, *rest) -> tuple[Failure, ...]:
            super().run(tasks[:2], *rest)
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(trials, "open_executor", lambda *_: contextlib.nullcontext(Killed()))
        with pytest.raises(RuntimeError, match="killed"):
            asked(model, output=output, jobs=2)
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == [".influence.csv.trace.npz", ".influence.csv.trace1.npz"]

    steps: list[int] = []
    trace_back = trials.trace_back

    def counting(*arguments, so_far, **more):
        steps.append(0 if so_far is None else so_far.n_steps)
        return trace_back(*arguments, so_far=so_far, **more)

    monkeypatch.setattr(trials, "trace_back", counting)
    assert ranking(model, output, jobs=2) == wanted
    assert steps == [4, 4, 0]


def test_the_traces_that_workers_left_are_of_use_in_this_process(
    model, tmp_path, monkeypatch, elsewhere
):
    output = tmp_path / "influence.csv"
    wanted = ranking(model, output)
    files = ("net.h5", "training.csv", "validation.csv")
    paths = [str(model), *(str(model.with_name(name)) for name in files), str(output)]
    trials.shuffled_trial(trials.Question(*paths, SHUFFLED), 1)
    said = Said()
    assert ranking(model, output, progress=said) == wanted
    assert "Taken up after 4 steps, where .influence.csv.trace1.npz was left" in said.lines


def test_a_trial_that_fails_is_named_and_nothing_is_left(model, tmp_path, monkeypatch, elsewhere):
    trace_back = trials.trace_back

    def diverging(steps, *arguments, **more):
        trace_back(steps, *arguments, **more)
        raise ScoreError("step 2 (epoch 0): the trace diverges")

    monkeypatch.setattr(trials, "trace_back", diverging)
    with pytest.raises(ScoreError, match=r"shuffled order 1 of 3: step 2 .* the trace diverges$"):
        asked(model, output=tmp_path / "influence.csv", jobs=2)
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_is_not_there_is_told_before_anything_is_traced(model, monkeypatch):
    monkeypatch.setattr(trials, "trace_back", None)
    with pytest.raises(InfluenceError, match=r"at somewhere .*tcp://host:8786"):
        asked(model, scheduler="somewhere")
