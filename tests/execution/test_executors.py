"""Every executor does the same tasks to the same results, and says of the others why not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.execution import Executor, Failure, Task, dask_executor, open_executor
from tests.exact_trainings import Said
from tests.execution import work


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with open_executor(2) as executor:
        yield executor


@pytest.fixture(params=["in this process", "in 2 worker processes"])
def executor(request) -> Iterator[Executor]:
    if request.param == "in this process":
        with open_executor() as here:
            yield here
    else:
        yield request.getfixturevalue("workers")


def done_by(executor: Executor, tasks: list[Task]) -> tuple[dict, list[str], tuple[Failure, ...]]:
    """Return the results by name, what was said, and the failures."""
    results: dict[str, object] = {}

    def finished(task: Task, result: object) -> None:
        assert task.name not in results
        results[task.name] = result

    said = Said()
    failures = executor.run(tasks, finished, said, "Work", "tasks")
    return results, said.lines, failures


def test_results_arrive_by_name(executor):
    tasks = [Task(f"twice {n}", work.double, (n,)) for n in range(20)]
    results, said, failures = done_by(executor, tasks)
    assert results == {f"twice {n}": 2 * n for n in range(20)}
    assert (said, failures) == ([], ())


def test_no_task_starts_before_those_that_it_waits_for(executor, tmp_path):
    (tmp_path / "x").write_text("")
    tasks = [
        Task("first", work.fail_until, (str(tmp_path), "x", 2)),
        Task("second", work.fail_until, (str(tmp_path), "x", 3), ("first",)),
    ]
    results, _, failures = done_by(executor, tasks)
    assert list(results) == ["first", "second"]
    assert failures == ()
    assert (tmp_path / "x").read_text() == "done\n" * 3


def test_a_known_error_is_final_and_skips_what_waits_for_it(executor, tmp_path):
    tasks = [
        Task("a", work.refuse, (str(tmp_path), "a")),
        Task("b", work.double, (1,), ("a",)),
        Task("c", work.double, (2,)),
        Task("d", work.double, (3,), ("b", "c")),
    ]
    results, said, failures = done_by(executor, tasks)
    assert results == {"c": 4}
    assert said == []
    waited = "not started, since 'a', which it needs, failed"
    assert failures == (
        Failure("a", "row 3 is no number; correct it"),
        Failure("b", waited),
        Failure("d", waited),
    )
    assert (tmp_path / "a").read_text() == "done\n"


def test_anything_else_is_tried_three_times(executor, tmp_path):
    tasks = [
        Task("third time", work.fail_until, (str(tmp_path), "a", 3)),
        Task("never", work.fail_until, (str(tmp_path), "b", 4)),
    ]
    results, said, failures = done_by(executor, tasks)
    assert results == {"third time": "at last"}
    reason = r"unexpected ValueError: not yet (work.py, line 26)"
    assert f"third time: {reason}; it is tried again (2 of 3)" in said
    assert f"never: {reason}; it is tried again (3 of 3)" in said
    assert failures == (Failure("never", f"{reason} (tried 3 times)"),)
    assert (tmp_path / "b").read_text() == "done\n" * 3


def test_what_cannot_be_written_ends_the_call_and_no_more_is_begun(executor, tmp_path):
    def full(task: Task, result: object) -> None:
        raise OutputError("results.csv: cannot be written")

    tasks = [Task(f"{n}", work.note, (str(tmp_path), f"{n}")) for n in range(9)]
    with pytest.raises(OutputError, match=r"results\.csv: cannot be written"):
        executor.run(tasks, full, Said(), "Work", "tasks")
    assert len(list(tmp_path.iterdir())) <= 2
    assert done_by(executor, [Task("next", work.double, (1,))])[0] == {"next": 2}


def test_a_worker_that_dies_costs_its_task_only(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_executor, "TRIES", 2)  # Each takes the start of a process.
    folder = str(tmp_path)
    tasks = [
        Task("dies once", work.die_once, (folder, "once")),
        Task("always dies", work.die, (folder, "always")),
        Task("waits for it", work.double, (1,), ("always dies",)),
        *[Task(f"{n}", work.note, (folder, f"{n}")) for n in range(8)],
    ]
    results, said, failures = done_by(workers, tasks)
    assert results == {"dies once": "lived", **{f"{n}": None for n in range(8)}}
    assert [f.task for f in failures] == ["always dies", "waits for it"]
    assert failures[0].reason.startswith(
        "the worker process that did it died, which it also does where memory runs out"
    )
    assert failures[0].reason.endswith("(tried 2 times)")
    assert len([line for line in said if line.startswith("dies once: the worker process")]) == 1
    assert len([line for line in said if line.startswith("always dies: the worker")]) == 1
    counts = {path.name: path.read_text().count("done") for path in tmp_path.iterdir()}
    assert counts == {"once": 2, "always": 2, **{f"{n}": 1 for n in range(8)}}


def test_workers_compute_with_nnabla_in_one_thread_and_say_nothing(workers, capfd):
    results, said, failures = done_by(workers, [Task("gradient", work.gradient)])
    assert results == {"gradient": (24.0, "1")}
    assert (said, failures) == ([], ())
    assert capfd.readouterr() == ("", "")


def test_what_a_worker_cannot_send_or_survive_is_told(workers):
    tasks = [Task("lock", work.not_to_be_sent), Task("exit", work.end_process)]
    results, _, failures = done_by(workers, tasks)
    assert results == {}
    assert failures[0].reason.startswith("its result cannot be sent back (unexpected TypeError: ")
    assert failures[1] == Failure("exit", "it wanted to end its process (exit code 5)")


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([Task("a", work.double), Task("a", work.double)], "two tasks are named 'a'"),
        ([Task("a", work.double, after=("b",))], "'a' waits for 'b', not a task before it"),
    ],
)
def test_tasks_that_make_no_plan_are_refused(tasks, message: str):
    with open_executor() as here, pytest.raises(ValueError, match=message):
        here.run(tasks, lambda *_: None, Said(), "Work", "tasks")
