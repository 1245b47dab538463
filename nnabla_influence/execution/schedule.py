"""Which task may start, and which never will."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from nnabla_influence.execution.tasks import Failure, Task


class Schedule:
    """Hands out tasks in their order, each one after those that it waits for.

    Args:
        tasks: All of them.

    Raises:
        ValueError: Two have the same name; or one waits for a task that is not among those before
            it.
    """

    def __init__(self, tasks: Sequence[Task]):
        known: set[str] = set()
        for task in tasks:
            if task.name in known:
                raise ValueError(f"two tasks are named {task.name!r}")
            missing = [name for name in task.after if name not in known]
            if missing:
                raise ValueError(f"{task.name!r} waits for {missing[0]!r}, not a task before it")
            known.add(task.name)
        self._order = {task.name: place for place, task in enumerate(tasks)}
        self._waiting = {task.name: task for task in tasks}
        self._waits_for = {task.name: set(task.after) for task in tasks}
        self._wanted_by: dict[str, list[str]] = {name: [] for name in known}
        for task in tasks:
            for name in set(task.after):
                self._wanted_by[name].append(task.name)
        # Sorted by place, the next one last.
        self._ready = sorted((t for t in tasks if not t.after), key=self._place, reverse=True)
        self._under_way: dict[str, Task] = {}
        self._failures: dict[str, Failure] = {}

    @property
    def is_over(self) -> bool:
        """Whether every task has succeeded, failed or is never started."""
        return not self._ready and not self._under_way

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The failures so far, in the order of the tasks."""
        return tuple(sorted(self._failures.values(), key=lambda f: self._order[f.task]))

    def start(self) -> Optional[Task]:
        """Return the next task that may start; None where there is none at the moment."""
        if not self._ready:
            return None
        task = self._ready.pop()
        del self._waiting[task.name]
        self._under_way[task.name] = task
        return task

    def succeeded(self, task: Task) -> None:
        """Note that a started task is done."""
        del self._under_way[task.name]
        for name in self._wanted_by[task.name]:
            self._waits_for[name].discard(task.name)
            if not self._waits_for[name] and name in self._waiting:
                self._ready.append(self._waiting[name])
        self._ready.sort(key=self._place, reverse=True)

    def failed(self, task: Task, reason: str) -> int:
        """Note that a started task has failed; return how many tasks are over with it."""
        del self._under_way[task.name]
        before = len(self._failures)
        self._failures[task.name] = Failure(task.name, reason)
        lost = [(name, task.name) for name in self._wanted_by[task.name]]
        while lost:
            name, because_of = lost.pop()
            if name in self._waiting:
                del self._waiting[name]
                reason = f"not started, since {because_of!r}, which it needs, failed"
                self._failures[name] = Failure(name, reason)
                lost += [(other, because_of) for other in self._wanted_by[name]]
        return len(self._failures) - before

    def _place(self, task: Task) -> int:
        return self._order[task.name]
