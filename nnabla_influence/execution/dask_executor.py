"""Tasks done by the workers of a Dask cluster, on this machine or on many."""

from __future__ import annotations

import contextlib
import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Union

import cloudpickle  # type: ignore[import-untyped]
from distributed import Client, Future, KilledWorker

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution.attempt import Outcome, attempt_in_worker
from nnabla_influence.execution.connecting import answer_of, check_versions, worker_versions
from nnabla_influence.execution.in_process import again_line, failure_line
from nnabla_influence.execution.schedule import Schedule
from nnabla_influence.execution.tasks import TRIES, Failure, Finished, Task

if TYPE_CHECKING:
    from nnabla_influence.progress import Progress

WAIT_SECONDS = 60.0
"""How long no worker may be there before it is an error."""

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class _Try:
    task: Task
    number: int
    worker: str
    future: Future


@dataclass(frozen=True)
class _Again:
    task: Task
    number: int


@dataclass(frozen=True)
class _Changed:
    """A worker has come or gone."""


class DaskExecutor:
    """Has a Dask cluster do tasks; see `Executor`.

    Each worker is given one task at a time, which no other one does unless this one is gone: so a
    task that brings its worker down takes no other one with it, and the scheduler is not flooded.

    Args:
        client: Connected to the scheduler.
        address: The scheduler's.
        jobs: How many worker processes were started for this executor; None for a cluster that
            is there without it.
    """

    def __init__(self, client: Client, address: str, jobs: Optional[int] = None):
        self._client = client
        self._address = address
        self._jobs = jobs
        self._workers: set[str] = set()
        self._checked: set[str] = set()

    @property
    def description(self) -> str:
        """For the user: where the tasks are done."""
        if self._jobs is not None:
            return f"in {self._jobs} worker processes"
        n = len(answer_of(self._client.nthreads))
        return f"on the Dask cluster {self._address} ({n} worker{'' if n == 1 else 's'})"

    def run(
        self,
        tasks: Sequence[Task],
        finished: Finished,
        progress: Progress,
        description: str,
        unit: str,
    ) -> tuple[Failure, ...]:
        """Do ``tasks``; see `Executor.run`."""
        schedule = Schedule(tasks)
        events: queue.SimpleQueue[Union[str, _Changed]] = queue.SimpleQueue()
        under_way: dict[str, _Try] = {}
        again: list[_Again] = []

        def failed(task: Task, number: int, reason: str, *, may_succeed_again: bool) -> None:
            if may_succeed_again and number < TRIES:
                progress.say(again_line(task, reason, number))
                again.append(_Again(task, number + 1))
            else:
                stage.update(schedule.failed(task, failure_line(reason, number)))

        with (
            self._changes(events),
            progress.stage(description, len(tasks), unit) as stage,
            self._cancelling(under_way),
        ):
            looked_at = -_LOOK_SECONDS
            while not schedule.is_over:
                if time.monotonic() - looked_at >= _LOOK_SECONDS:
                    self._look_at_workers(progress)
                    looked_at = time.monotonic()
                    for key, tried in list(under_way.items()):
                        if tried.worker not in self._workers and not tried.future.done():
                            del under_way[key]
                            tried.future.cancel()
                            failed(tried.task, tried.number, _DIED, may_succeed_again=True)
                for worker in sorted(
                    self._workers - {tried.worker for tried in under_way.values()}
                ):
                    if again:
                        next_try = again.pop(0)
                    elif (task := schedule.start()) is not None:
                        next_try = _Again(task, 1)
                    else:
                        break
                    tried = self._submit(next_try, worker, events)
                    under_way[tried.future.key] = tried
                try:
                    event = events.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(event, _Changed):
                    looked_at = -_LOOK_SECONDS
                    continue
                if event not in under_way:
                    continue  # It was cancelled.
                tried = under_way.pop(event)
                outcome = self._outcome(tried.future)
                if outcome.reason is None:
                    finished(tried.task, outcome.value)
                    schedule.succeeded(tried.task)
                    stage.update()
                else:
                    failed(
                        *(tried.task, tried.number, outcome.reason),
                        may_succeed_again=outcome.may_succeed_again,
                    )
        return schedule.failures

    @contextlib.contextmanager
    def _changes(self, events: queue.SimpleQueue[Any]) -> Iterator[None]:
        """Let the scheduler tell of workers that come and go while the block runs."""

        def note(event: tuple[float, Any]) -> None:
            said = event[1]
            if isinstance(said, dict) and said.get("action") in ("remove-worker", "add-worker"):
                events.put(_Changed())

        self._client.subscribe_topic("all", note)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                self._client.unsubscribe_topic("all")

    @contextlib.contextmanager
    def _cancelling(self, under_way: dict[str, _Try]) -> Iterator[None]:
        """Take back what is under way if the block fails."""
        try:
            yield
        finally:
            for tried in under_way.values():
                with contextlib.suppress(Exception):
                    tried.future.cancel()

    def _submit(self, what: _Again, worker: str, events: queue.SimpleQueue[Any]) -> _Try:
        task = what.task
        pickled = cloudpickle.dumps((task.function, task.arguments))
        future = self._client.submit(
            attempt_in_worker,
            pickled,
            key=f"{getattr(task.function, '__name__', 'task')}-{uuid.uuid4().hex}",
            pure=False,
            workers=[worker],
        )
        future.add_done_callback(lambda done: events.put(done.key))
        return _Try(task, what.number, worker, future)

    def _outcome(self, future: Future) -> Outcome:
        if future.status == "finished":
            outcome: Outcome = answer_of(future.result)
            if outcome.reason is None:
                return Outcome(cloudpickle.loads(outcome.value))
            return outcome
        if future.status != "error":
            raise self._lost()
        error = answer_of(future.exception)
        if isinstance(error, KilledWorker):
            return Outcome(reason=_DIED, may_succeed_again=True)
        text = " ".join(str(error).split())
        return Outcome(reason=f"no worker could do it: {type(error).__name__}: {text}")

    def _look_at_workers(self, progress: Progress) -> None:
        """Learn which workers there are, and wait for one if there is none.

        Raises:
            InfluenceError: None comes, or one cannot be used, or the scheduler is lost.
        """
        self._workers = self._ask_for_workers()
        if not self._workers:
            self._wait_for_one(progress)
        new = self._workers - self._checked
        if new:
            check_versions(worker_versions(self._client, new))
            self._checked |= new

    def _wait_for_one(self, progress: Progress) -> None:
        if self._jobs is None:
            progress.say(
                f"The Dask scheduler {self._address} has no worker; one is waited for"
                f" (`dask worker {self._address} --nthreads 1`)"
            )
        until = time.monotonic() + WAIT_SECONDS
        while not self._workers:
            if time.monotonic() > until:
                if self._jobs is not None:
                    raise InfluenceError(
                        f"no worker process has been there for {WAIT_SECONDS:.0f} seconds; start"
                        " the command again: what is finished is kept"
                    )
                raise InfluenceError(
                    f"the Dask scheduler {self._address} has had no worker for"
                    f" {WAIT_SECONDS:.0f} seconds; start some"
                    f" (`dask worker {self._address} --nthreads 1`), and the command again"
                )
            time.sleep(0.2)
            self._workers = self._ask_for_workers()

    def _ask_for_workers(self) -> set[str]:
        if self._client.status != "running":
            raise self._lost()
        try:
            return set(answer_of(self._client.nthreads))
        except Exception as error:  # Of sockets, of its protocol: no short list.
            raise self._lost() from error

    def _lost(self) -> InfluenceError:
        if self._jobs is not None:
            return InfluenceError(
                "the worker processes have ended, which the system also does to them where memory"
                " runs out; start the command again: what is finished is kept"
            )
        return InfluenceError(
            f"the connection to the Dask scheduler {self._address} is lost; see whether it still"
            " runs, and start the command again"
        )


_DIED = "the worker process that did it died, which it also does where memory runs out"
