"""A cluster that cannot be used is told in one line, before any work is given to it."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dask
import pytest

from nnabla_influence import __version__
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Task, connecting, dask_executor, open_executor
from nnabla_influence.execution.contact import new_contact
from nnabla_influence.execution.reasons import reason_of
from tests.exact_trainings import Said
from tests.execution import work
from tests.small_projects import environment


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler as a user starts it, without any worker."""
    with started_scheduler() as (address, _):
        yield address


@contextlib.contextmanager
def started_scheduler(
    variables: Mapping[str, str] | None = None, protocol: str = "tcp"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    where = f"--host 127.0.0.1 --port 0 --protocol {protocol}"
    command = f"dask scheduler {where} --no-dashboard --no-show"
    with subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**(variables or {})),
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(rf"Scheduler at:\s+({protocol}://\S+)", line):
                    yield found.group(1), process
                    break
        finally:
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


def serve(answer: bytes) -> Callable[[socket.socket], None]:
    """Return what listens, and says ``answer`` to whoever connects."""

    def listen(server: socket.socket) -> None:
        server.listen()
        if answer:
            threading.Thread(target=say, args=[server], daemon=True).start()

    def say(server: socket.socket) -> None:
        connection = server.accept()[0]
        connection.sendall(answer)
        connection.recv(10000)
        connection.close()

    return listen


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        (lambda server: None, "the connection is refused: nothing listens there"),
        (serve(b""), "no answer within 0.5 seconds"),
        (serve(b"SSH-2.0-OpenSSH_9.2 and more\r\n"), "what answers there does not speak Dask's"),
    ],
)
def test_what_is_no_scheduler_is_told(listen, reason: str, monkeypatch, capfd):
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        listen(server)
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        message = rf"^no Dask scheduler can be reached at {address} \({reason}.*\); start one \(`d"
        with pytest.raises(InfluenceError, match=message), open_executor(scheduler=address):
            pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "address", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "h:1", "the host is not known"),
        (OSError(113, "No route to host"), "h:1", "no route to host"),
        (ConnectionResetError(104, "reset"), "h:1", "what answers there does not speak Dask's"),
        (TypeError("TLS expects"), "tls://h:1", "for tls:// Dask's settings distributed.comm.tls"),
        (ssl.SSLError(1, "[SSL: X] x"), "tls://h:1", "TLS: it failed"),
        (AssertionError(), "ws://h:1", "there is no way to it by ws://"),
    ],
)
def test_the_reason_is_found_among_the_causes(error: Exception, address: str, reason: str):
    outer = RuntimeError("in <TCPConnector object at 0x7f23>")
    if not isinstance(error, TypeError):
        outer.__cause__, error = error, outer
    assert reason_of(error, address, 10).startswith(reason)


def test_a_worker_is_no_scheduler(monkeypatch):
    async def kind(address: str, security: object) -> str:
        return "Worker"

    monkeypatch.setattr(connecting, "_kind", kind)
    message = "at tcp://host:1 is no Dask scheduler, but a Dask worker; give the address that"
    with pytest.raises(InfluenceError, match=message), open_executor(scheduler="tcp://host:1"):
        pass


def test_a_scheduler_without_workers_is_waited_for(scheduler, monkeypatch):
    monkeypatch.setattr(dask_executor, "WAIT_SECONDS", 0.3)
    said = Said()
    with open_executor(scheduler=scheduler) as executor:
        assert executor.description == f"on the Dask cluster {scheduler} (0 workers)"
        with pytest.raises(InfluenceError, match=f"scheduler {scheduler} has had no worker for"):
            executor.run([Task("a", work.double, (1,))], lambda *_: None, said, "Work", "tasks")
    assert said.lines[0].startswith(f"The Dask scheduler {scheduler} has no worker; one is waited")


def write_certificate(folder: Path) -> dict[str, str]:
    """Return what names a new certificate to Dask, in the names of its settings."""
    contact, ends = new_contact(), ("client", "scheduler", "worker")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(contact.certificate)
    key.write_text(contact.key)
    return {
        "ca-file": str(certificate),
        **{f"{end}.cert": str(certificate) for end in ends},
        **{f"{end}.key": str(key) for end in ends},
    }


def test_a_cluster_of_ones_own_with_tls(tmp_path, monkeypatch):
    """As docs/scale.md says it: Dask's own settings, and an address with tls://."""
    monkeypatch.setattr(dask_executor, "WAIT_SECONDS", 0.3)
    (tmp_path / "other").mkdir()
    own, other = write_certificate(tmp_path), write_certificate(tmp_path / "other")
    variables = {
        f"DASK_DISTRIBUTED__COMM__TLS__{name.upper().replace('.', '__').replace('-', '_')}": path
        for name, path in own.items()
    }

    def settings(names: dict[str, str]) -> Any:
        return dask.config.set({f"distributed.comm.tls.{name}": v for name, v in names.items()})

    with started_scheduler(variables, "tls") as (address, _):
        with settings(own), open_executor(scheduler=address) as executor:
            assert executor.description == f"on the Dask cluster {address} (0 workers)"
        for names, reason in ((other, "TLS: "), ({}, "for tls:// Dask's settings")):
            with (
                pytest.raises(InfluenceError, match=rf"at {address} \({reason}"),
                settings(names),
                open_executor(scheduler=address),
            ):
                pass


def test_a_scheduler_that_is_lost_midway_is_told_in_one_line():
    # In a process of its own, where Dask's import sets the levels of its loggers.
    code = """if True:
        import sys
        from nnabla_influence.errors import InfluenceError
        from nnabla_influence.execution import Task, open_executor
        from nnabla_influence.progress import SilentProgress

        class Waits(SilentProgress):
            def say(self, line):
                print("waits", flush=True)

        try:
            with open_executor(scheduler=sys.argv[1]) as executor:
                executor.run([Task("a", abs, (1,))], print, Waits(), "Work", "tasks")
        except InfluenceError as error:
            print(error)
    """
    with (
        started_scheduler() as (address, process),
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, address],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        ) as caller,
    ):
        assert caller.stdout is not None
        while (line := caller.stdout.readline()) not in ("waits\n", ""):
            assert "[nnabla][INFO]" in line
        process.kill()
        assert caller.stdout.read() == (
            f"the connection to the Dask scheduler {address} is lost; see whether it still runs,"
            " and start the command again\n"
        )


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
