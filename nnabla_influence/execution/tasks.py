"""What is done: tasks; who does them: an executor; what becomes of those that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # It imports nnabla, which a worker shall do where its greeting is not heard.
    from nnabla_influence.progress import Progress

TRIES = 3
"""How often a task is tried in all, where trying again may help."""


@dataclass(frozen=True)
class Task:
    """One unit of work.

    Attributes:
        name: Unique among the tasks of a call; what the user reads ("seed 3, 100 removed").
        function: Of module level, so that a worker finds it.
        arguments: Plain values that can be pickled; data go by path.
        after: Names of tasks of the same call that must have succeeded before it starts.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A task that failed, or was never started.

    Attributes:
        task: Its name.
        reason: One line; for one that was not started, the task whose failure kept it from it.
    """

    task: str
    reason: str


Finished = Callable[[Task, Any], None]


class Executor(Protocol):
    """Has tasks done."""

    @property
    def description(self) -> str:
        """For the user: where they are done."""

    def run(
        self,
        tasks: Sequence[Task],
        finished: Finished,
        progress: Progress,
        description: str,
        unit: str,
    ) -> tuple[Failure, ...]:
        """Do ``tasks``, as far as they can be done.

        An `InfluenceError` fails a task at once, since it would come again; after anything else it
        is tried `TRIES` times in all. What waits for a failed task is not started; all others go
        on.

        Args:
            tasks: In the order in which they are to be started.
            finished: Called in this process with each task that succeeded and its result, one at a
                time, as soon as it is there. What it raises ends the call.
            progress: Shows one unit for each task, failed or not.
            description: Of the stage that is shown.
            unit: Of its tasks.

        Returns:
            The failures, in the order of ``tasks``.

        Raises:
            InfluenceError: The workers cannot be used, or are lost.
        """
