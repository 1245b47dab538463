"""Every executor runs the same tasks to the same results, and reports why others failed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.execution import Executor, Failure, Task, open_executor
from nnabla_influence.execution import executor as module
from nnabla_influence.execution.processes import DIED
from tests.exact_trainings import Said
from tests.execution import work
from tests.execution.cluster import dask, dask_scheduler

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with open_executor(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    with dask_scheduler() as (address, _):
        words = f"worker {address} --nworkers 2 --nthreads 1 --memory-limit 0 --no-dashboard"
        with dask(words), open_executor(address) as executor:
            yield executor


@pytest.fixture(params=["here", "workers", "cluster"])
def executor(request) -> Iterator[Executor]:
    if request.param == "here":
        with open_executor() as here:
            yield here
    else:
        yield request.getfixturevalue(request.param)


def results_of(executor: Executor, tasks: list[Task]) -> tuple[dict, list[str], tuple]:
    """Return the results by name, what was said, and the failures."""
    results: dict[str, object] = {}

    def finished(task: Task, result: object) -> None:
        assert task.name not in results
        results[task.name] = result

    said = Said()
    failures = executor.run(tasks, finished, said, "Work", "tasks")
    return results, [line for line in said.lines if "waiting for one" not in line], failures


def test_results_arrive_by_name(executor):
    tasks = [Task(f"twice {n}", work.double, (n,)) for n in range(20)]
    results, said, failures = results_of(executor, tasks)
    assert results == {f"twice {n}": 2 * n for n in range(20)}
    assert (said, failures) == ([], ())


def test_no_task_starts_before_those_that_it_needs(executor, tmp_path):
    (tmp_path / "x").write_text("")
    tasks = [
        Task("first", work.fail_until, (str(tmp_path), "x", 2)),
        Task("second", work.fail_until, (str(tmp_path), "x", 3), ("first",)),
    ]
    results, _, failures = results_of(executor, tasks)
    assert list(results) == ["first", "second"]
    assert failures == ()
    assert (tmp_path / "x").read_text() == "done\n" * 3


def test_a_known_error_is_final_and_skips_what_needs_the_task(executor, tmp_path):
    tasks = [
        Task("a", work.refuse, (str(tmp_path), "a")),
        Task("b", work.double, (1,), ("a",)),
        Task("c", work.double, (2,)),
        Task("d", work.double, (3,), ("b", "c")),
    ]
    results, said, failures = results_of(executor, tasks)
    assert (results, said) == ({"c": 4}, [])
    assert failures[0] == Failure("a", "row 3 is not a number; correct it")
    assert [f.task for f in failures[1:]] == ["b", "d"]
    assert "'a'" in failures[1].reason
    assert (tmp_path / "a").read_text() == "done\n"


def test_any_other_error_is_tried_three_times(executor, tmp_path):
    tasks = [
        Task("third time", work.fail_until, (str(tmp_path), "a", 3)),
        Task("never", work.fail_until, (str(tmp_path), "b", 4)),
    ]
    results, said, failures = results_of(executor, tasks)
    assert results == {"third time": "at last"}
    assert any(re.match(r"third time: .* not yet .*; trying again \(2 of 3\)", x) for x in said)
    assert [f.task for f in failures] == ["never"]
    reason = r"unexpected ValueError: not yet \(work\.py, line \d+\) \(tried 3 times\)"
    assert re.fullmatch(reason, failures[0].reason)
    assert (tmp_path / "b").read_text() == "done\n" * 3


def test_an_error_of_the_caller_ends_the_call_and_no_more_tasks_start(executor, tmp_path):
    def full(task: Task, result: object) -> None:
        raise OutputError("results.csv: cannot be written")

    tasks = [Task(f"{n}", work.note, (str(tmp_path), f"{n}")) for n in range(9)]
    with pytest.raises(OutputError, match=r"results\.csv"):
        executor.run(tasks, full, Said(), "Work", "tasks")
    assert len(list(tmp_path.iterdir())) <= 2
    assert results_of(executor, [Task("next", work.double, (1,))])[0] == {"next": 2}


def test_a_worker_that_dies_costs_its_task_only(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 2)
    folder = str(tmp_path)
    tasks = [
        Task("dies once", work.die_once, (folder, "once")),
        Task("always dies", work.die, (folder, "always")),
        Task("needs it", work.double, (1,), ("always dies",)),
        *[Task(f"{n}", work.note, (folder, f"{n}")) for n in range(8)],
    ]
    results, said, failures = results_of(workers, tasks)
    assert results == {"dies once": "lived", **{f"{n}": None for n in range(8)}}
    assert [f.task for f in failures] == ["always dies", "needs it"]
    assert failures[0].reason == f"{DIED} (tried 2 times)"
    assert [line.split(":")[0] for line in said].count("dies once") == 1
    counts = {path.name: path.read_text().count("done") for path in tmp_path.iterdir()}
    assert counts == {"once": 2, "always": 2, **{f"{n}": 1 for n in range(8)}}


def test_a_worker_of_a_cluster_that_dies_costs_its_task_only(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)  # Dask tries four times for each of ours.
    folder = str(tmp_path)
    tasks = [
        Task("dies once", work.die_once, (folder, "once")),
        *[Task(f"{n}", work.note, (folder, f"{n}")) for n in range(8)],
    ]
    results, _, failures = results_of(cluster, tasks)
    assert results == {"dies once": "lived", **{f"{n}": None for n in range(8)}}
    assert failures == ()
    counts = {path.name: path.read_text().count("done") for path in tmp_path.iterdir()}
    assert counts == {"once": 2, **{f"{n}": 1 for n in range(8)}}
    always = [Task("always dies", work.die, (folder, "always"))]
    assert results_of(cluster, always)[2] == (Failure("always dies", DIED),)


def test_workers_compute_with_nnabla_in_one_thread_and_print_nothing(workers, capfd):
    results, said, failures = results_of(workers, [Task("gradient", work.gradient)])
    assert results == {"gradient": (24.0, "1")}
    assert (said, failures) == ([], ())
    assert capfd.readouterr() == ("", "")


def test_what_a_task_prints_is_not_taken_for_a_result(workers):
    assert results_of(workers, [Task("loud", work.print_much)])[0] == {"loud": "done"}


def test_what_a_worker_cannot_send_or_survive_is_reported(workers):
    tasks = [Task("lock", threading.Lock), Task("exit", work.end_process)]
    results, _, failures = results_of(workers, tasks)
    assert results == {}
    assert "TypeError" in failures[0].reason
    assert "exit code 5" in failures[1].reason
