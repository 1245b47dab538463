"""Tasks, their order, their retries and their failures, wherever they run."""

from __future__ import annotations

import contextlib
import queue
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nnabla_influence.execution.worker import Outcome, attempt

if TYPE_CHECKING:  # It imports nnabla, which `--jobs 1` without a task need not wait for.
    from nnabla_influence.progress import Progress

TRIES = 3
"""How often a task is tried in all, where another try may help."""


@dataclass(frozen=True)
class Task:
    """One unit of work.

    Attributes:
        name: Unique among the tasks of a call; the user reads it ("seed 3, 100 removed").
        function: Of module level, so that a worker can import it.
        arguments: Plain values that can be pickled; data go by path.
        after: Names of earlier tasks of the same call that must have succeeded before it starts.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A task that failed or was not started.

    Attributes:
        task: Its name.
        reason: One line; for a task that was not started, the failed task that it needs.
    """

    task: str
    reason: str


class Executor(ABC):
    """Runs tasks.

    Attributes:
        description: Where they run, for the user.
        places: How many are handed out at a time.
    """

    description: str
    places: int

    def run(
        self,
        tasks: Sequence[Task],
        finished: Callable[[Task, Any], None],
        progress: Progress,
        title: str,
        unit: str,
    ) -> tuple[Failure, ...]:
        """Run ``tasks``, as far as possible.

        A task that ends with an `InfluenceError` fails at once, since another try would end the
        same way; after any other error it is tried `TRIES` times in all. What needs a failed task
        is not started; all others still run.

        Args:
            tasks: In the order in which to start them.
            finished: Called in this thread with each task that succeeded and its result, as soon
                as it arrives. What it raises ends the call.
            progress: Shows one unit for each task, failed or not.
            title: Of the stage that is shown.
            unit: Of its tasks.

        Returns:
            The failures, in the order of ``tasks``.

        Raises:
            InfluenceError: The workers cannot be used, or are lost.
        """
        waiting, running = list(tasks), dict[str, Any]()
        tries, succeeded, failures = Counter[str](), set[str](), dict[str, Failure]()
        events: queue.SimpleQueue[tuple[Task, Any]] = queue.SimpleQueue()
        with progress.stage(title, len(tasks), unit) as stage, _cancelled(running):
            while waiting or running:
                self._check_workers(progress)
                for task in _startable(waiting, succeeded, self.places - len(running)):
                    waiting.remove(task)
                    tries[task.name] += 1
                    running[task.name] = future = self._submit(task)
                    future.add_done_callback(lambda done, task=task: events.put((task, done)))
                try:
                    task, future = events.get(timeout=1)
                except queue.Empty:
                    continue
                outcome, number = self._outcome(future), tries[task.name]
                del running[task.name]
                if outcome.reason is None:
                    finished(task, outcome.value)
                    succeeded.add(task.name)
                    stage.update()
                elif outcome.may_succeed_again and number < TRIES:
                    again = f"trying again ({number + 1} of {TRIES})"
                    progress.say(f"{task.name}: {outcome.reason}; {again}")
                    waiting.insert(0, task)
                else:
                    tried = f" (tried {number} times)" if number > 1 else ""
                    failures[task.name] = Failure(task.name, outcome.reason + tried)
                    stage.update(1 + _drop(waiting, failures))
        return tuple(failures[task.name] for task in tasks if task.name in failures)

    @abstractmethod
    def _submit(self, task: Task) -> Any:
        """Start a task; return its future."""

    def _outcome(self, future: Any) -> Outcome:
        """Return what a future that has ended holds."""
        outcome: Outcome = future.result()
        return outcome

    def _check_workers(self, progress: Progress) -> None:  # noqa: B027 (nothing to check)
        """Check once a second that tasks can still end, and count the places.

        Raises:
            InfluenceError: They cannot.
        """


class InProcess(Executor):
    """Runs tasks in this process, one after the other."""

    description = "in this process"
    places = 1

    def _submit(self, task: Task) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(attempt(task.function, task.arguments))
        return future


def _startable(waiting: Sequence[Task], succeeded: set[str], n: int) -> list[Task]:
    """Return up to ``n`` tasks that need nothing else any more."""
    return list(islice((t for t in waiting if succeeded.issuperset(t.after)), max(n, 0)))


def _drop(waiting: list[Task], failures: dict[str, Failure]) -> int:
    """Move to the failures what needs a failed task; return how many tasks."""
    before = len(failures)
    for task in list(waiting):
        if needed := [name for name in task.after if name in failures]:
            waiting.remove(task)
            reason = f"not started, since {needed[0]!r}, which it needs, failed"
            failures[task.name] = Failure(task.name, reason)
    return len(failures) - before


@contextlib.contextmanager
def _cancelled(running: Mapping[str, Any]) -> Iterator[None]:
    """Cancel what still runs when the block fails."""
    try:
        yield
    finally:
        for future in running.values():
            with contextlib.suppress(Exception):
                future.cancel()
