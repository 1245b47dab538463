"""Worker processes on this machine.

They are reached by pipes, which no other user of the machine can open. Dask's `LocalCluster` was
tried in their place: it listens on eight ports, three of them without TLS, and a script that uses
it needs ``if __name__ == "__main__"``. A pool of `concurrent.futures` fails as a whole when one of
its processes dies.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution.executor import Executor, Task
from nnabla_influence.execution.worker import READY, Outcome, main

DIED = "its worker process died, perhaps for lack of memory"

_STARTS = 3
"""How often a worker process may die at its start."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def worker_processes(jobs: int) -> Iterator[Executor]:
    """Yield an executor with ``jobs`` worker processes, which end with the block.

    They end with this process too, even if it is killed. Ctrl-C in the terminal reaches this
    process only.

    Raises:
        InfluenceError: They die at each start.
    """
    folder = tempfile.mkdtemp(prefix="nnabla-influence-")
    workers = [_Worker(folder) for _ in range(jobs)]
    threads = ThreadPoolExecutor(jobs)
    try:
        list(threads.map(_Worker.start, workers))
        yield _WorkerProcesses(workers, threads)
    finally:
        for worker in workers:
            worker.close()
        threads.shutdown(cancel_futures=True)
        shutil.rmtree(folder, ignore_errors=True)


class _WorkerProcesses(Executor):
    def __init__(self, workers: list[_Worker], threads: ThreadPoolExecutor):
        self.description = f"in {len(workers)} worker processes"
        self.places = len(workers)
        self._threads = threads
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in workers:
            self._idle.put(worker)

    def _submit(self, task: Task) -> Future[Outcome]:
        return self._threads.submit(self._run, pickle.dumps((task.function, task.arguments)))

    def _run(self, request: bytes) -> Outcome:
        worker = self._idle.get()
        try:
            return worker.run(request)
        finally:
            self._idle.put(worker)


class _Worker:
    """A worker process, replaced when it dies; one thread at a time uses it."""

    def __init__(self, folder: str):
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def start(self) -> subprocess.Popen[bytes]:
        """Return the process, started unless it runs."""
        if self._process is not None:
            return self._process
        for _ in range(_STARTS):
            process = self._started()
            if process.stdout.read(1) == READY:  # type: ignore[union-attr]
                return process
            code = process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise InfluenceError(
            f"a worker process ended with {how} at each of {_STARTS} starts; use fewer jobs, or one"
        )

    def run(self, request: bytes) -> Outcome:
        """Return the outcome of a request."""
        process = self.start()
        try:
            pickle.dump(request, process.stdin)  # type: ignore[arg-type]
            process.stdin.flush()  # type: ignore[union-attr]
            outcome: Outcome = pickle.load(process.stdout)  # type: ignore[arg-type]
            return outcome
        except (OSError, EOFError, pickle.UnpicklingError):
            self._end()
            return Outcome(reason=DIED, may_succeed_again=True)

    def close(self) -> None:
        """End the process, whatever it does, and start no other."""
        with self._lock:
            self._is_closed = True
        self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        # Without -m, so that the current folder does not come before what is on the path.
        code = f"import sys; del sys.path[0]; from {main.__module__} import main; main(sys.argv[1])"
        with self._lock:
            if self._is_closed:
                raise EOFError
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, self._folder],
                env={**os.environ, **_environment(self._folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError), process:  # which closes its pipes and waits for it
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()


def _environment(folder: str) -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        # What a killed task leaves in a temporary folder is removed with all of it.
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder),
        **dict.fromkeys(_ONE_THREAD, "1"),
    }
