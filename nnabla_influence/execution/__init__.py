"""One way to have tasks done: in this process, in worker processes, or on a Dask cluster."""

from nnabla_influence.execution.opening import open_executor
from nnabla_influence.execution.tasks import Executor, Failure, Task

__all__ = ["Executor", "Failure", "Task", "open_executor"]
