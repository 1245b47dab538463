"""Choose the executor that the user asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Optional

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution.connecting import (
    check_address,
    connected,
    import_distributed,
    needs_packages,
)
from nnabla_influence.execution.in_process import InProcess
from nnabla_influence.execution.local_cluster import local_cluster
from nnabla_influence.execution.tasks import Executor


@contextlib.contextmanager
def open_executor(jobs: int = 1, scheduler: Optional[str] = None) -> Iterator[Executor]:
    """Yield what has tasks done; leaving the block ends what was started for it.

    Args:
        jobs: 1: in this process. More: in so many worker processes, which are started and end
            with the block, however it ends.
        scheduler: Address of a Dask scheduler (``tcp://host:8786``), whose workers do the tasks.

    Raises:
        InfluenceError: A package that it needs is missing; the processes cannot be started; the
            scheduler cannot be reached; both are given.
    """
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise InfluenceError(f"jobs {jobs!r} is not a whole number from 1")
    if jobs > 1 and scheduler is not None:
        raise InfluenceError(
            f"both {jobs} jobs and the scheduler {scheduler} are given; leave one out, since a"
            " cluster's workers are as many as were started there"
        )
    if jobs == 1 and scheduler is None:
        yield InProcess()
        return
    needs_packages("distributed", *(["cryptography"] if scheduler is None else []))
    with contextlib.ExitStack() as stack:
        if scheduler is not None:
            check_address(scheduler)
            address, security, n_workers = scheduler, None, None
        else:
            starting = stack.enter_context(local_cluster(jobs))
            import_distributed()  # It takes a second or two, and so do the workers.
            contact = starting.contact()
            address, security, n_workers = contact.address, contact.security(), jobs
        client = stack.enter_context(connected(address, security))
        # It imports what needs not be there for work in this process.
        from nnabla_influence.execution.dask_executor import DaskExecutor

        yield DaskExecutor(client, address, n_workers)
