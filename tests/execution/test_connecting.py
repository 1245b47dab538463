"""A cluster that cannot be used is told in one line, before any work is given to it."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nnabla_influence import __version__
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Task, connecting, dask_executor, open_executor
from tests.exact_trainings import Said
from tests.execution import work
from tests.small_projects import environment


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler as a user starts it, without any worker."""
    command = "dask scheduler --host 127.0.0.1 --port 0 --no-dashboard --no-show"
    with subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
                yield found.group(1)
                break
        process.kill()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("somewhere", "scheduler 'somewhere' is not an address such as tcp://host:8786"),
        ("tcp://host", "scheduler 'tcp://host' is not an address such as tcp://host:8786"),
        ("tcp://host:99999", "is not an address such as tcp://host:8786"),
        ("http://host:8786", "the protocol http:// is unknown; use tcp:// or tls://"),
    ],
)
def test_what_is_no_address_is_refused(address: str, message: str):
    with pytest.raises(InfluenceError, match=message), open_executor(scheduler=address):
        pass


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch, capfd):
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.5)
    with socket.socket() as taken:  # It has the port, and nobody listens.
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        message = rf"^no Dask scheduler can be reached at {address} \(.*\); start one \(`dask s"
        with pytest.raises(InfluenceError, match=message), open_executor(scheduler=address):
            pass
    assert capfd.readouterr() == ("", "")


def test_a_scheduler_without_workers_is_waited_for(scheduler, monkeypatch):
    monkeypatch.setattr(dask_executor, "WAIT_SECONDS", 0.3)
    said = Said()
    with open_executor(scheduler=scheduler) as executor:
        assert executor.description == f"on the Dask cluster {scheduler} (0 workers)"
        with pytest.raises(InfluenceError, match=f"scheduler {scheduler} has had no worker for"):
            executor.run([Task("a", work.double, (1,))], lambda *_: None, said, "Work", "tasks")
    assert said.lines[0].startswith(f"The Dask scheduler {scheduler} has no worker; one is waited")


def test_jobs_and_a_scheduler_are_one_too_many():
    message = "both 2 jobs and the scheduler tcp://host:1 are given"
    with pytest.raises(InfluenceError, match=message), open_executor(2, "tcp://host:1"):
        pass


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True])
def test_jobs_is_a_count(jobs):
    message = f"jobs {jobs} is not a whole number from 1"
    with pytest.raises(InfluenceError, match=message), open_executor(jobs):
        pass


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"need the package distributed, which is missing; install it \(`.* -m pip install"
    with pytest.raises(InfluenceError, match=message), open_executor(2):
        pass


def test_one_job_needs_no_dask():
    code = """if True:
        import sys
        from nnabla_influence.execution import open_executor
        with open_executor() as executor:
            assert executor.description == "in this process"
        assert not {"dask", "distributed", "nnabla"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


HERE = {"nnabla-influence": __version__, "nnabla": "1.39.0"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            ModuleNotFoundError("No module named 'nnabla_influence'"),
            "worker tcp://w:2: nnabla-influence is not installed there .*; install version "
            + re.escape(__version__),
        ),
        (
            {**HERE, "nnabla-influence": "0.0.1"},
            rf"worker tcp://w:2: has nnabla-influence 0.0.1, here it is {re.escape(__version__)};",
        ),
        ({**HERE, "nnabla": "1.38.0"}, r"tcp://w:2: has nnabla 1.38.0, here it is 1\.39\.0; inst"),
    ],
)
def test_a_worker_with_other_packages_is_named(answer, message: str):
    with pytest.raises(InfluenceError, match=message):
        connecting.check_versions({"tcp://w:1": HERE, "tcp://w:2": answer})


def test_a_worker_that_has_gone_meanwhile_is_no_error():
    connecting.check_versions({"tcp://w:1": HERE, "tcp://w:2": OSError("closed")})
