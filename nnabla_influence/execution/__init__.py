"""Tasks run in this process, in worker processes, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution.executor import Executor, Failure, InProcess, Task
from nnabla_influence.execution.processes import worker_processes
from nnabla_influence.options import check_count

__all__ = ["Executor", "Failure", "InProcess", "Task", "open_executor"]


@contextlib.contextmanager
def open_executor(jobs: int | str = 1) -> Iterator[Executor]:
    """Yield what runs tasks; leaving the block ends what was started for it.

    Args:
        jobs: 1: in this process. More: in that many worker processes. The address of a Dask
            scheduler (``tcp://host:8786``): its workers.

    Raises:
        InfluenceError: The processes cannot be started, the scheduler cannot be reached, or the
            package ``distributed`` is missing for it.
    """
    if isinstance(jobs, str):
        if importlib.util.find_spec("distributed") is None:
            raise InfluenceError(
                "a Dask scheduler needs the package distributed, which is missing; install it"
                f" (`{sys.executable} -m pip install distributed`), or use --jobs"
            )
        # Its import takes a second or two.
        from nnabla_influence.execution.cluster import dask_cluster

        with dask_cluster(jobs) as executor:
            yield executor
        return
    check_count("jobs", jobs)
    if jobs == 1:
        yield InProcess()
        return
    with worker_processes(jobs) as executor:
        yield executor
