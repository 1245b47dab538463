"""Tasks done in this process, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnabla_influence.execution.attempt import attempt
from nnabla_influence.execution.schedule import Schedule
from nnabla_influence.execution.tasks import TRIES, Failure, Finished, Task

if TYPE_CHECKING:
    from nnabla_influence.progress import Progress


class InProcess:
    """Does tasks in this process, in their order; see `Executor`."""

    description = "in this process"

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
        with progress.stage(description, len(tasks), unit) as stage:
            while (task := schedule.start()) is not None:
                for number in range(1, TRIES + 1):
                    outcome = attempt(task.function, task.arguments)
                    if outcome.reason is None or not outcome.may_succeed_again:
                        break
                    if number < TRIES:
                        progress.say(again_line(task, outcome.reason, number))
                if outcome.reason is None:
                    finished(task, outcome.value)
                    schedule.succeeded(task)
                    stage.update()
                else:
                    stage.update(schedule.failed(task, failure_line(outcome.reason, number)))
        return schedule.failures


def again_line(task: Task, reason: str, number: int) -> str:
    """Return what the user reads of a task that failed in its ``number``-th try of `TRIES`."""
    return f"{task.name}: {reason}; it is tried again ({number + 1} of {TRIES})"


def failure_line(reason: str, number: int) -> str:
    """Return the reason of a failure in the ``number``-th try."""
    return f"{reason} (tried {number} times)" if number > 1 else reason
