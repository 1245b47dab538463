"""A cluster that cannot be used is reported in one line."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.config
import pytest
from distributed import Security

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Task, cluster, open_executor
from tests.exact_trainings import Said
from tests.execution import work
from tests.execution.cluster import dask_scheduler
from tests.small_projects import environment

pytestmark = pytest.mark.slow


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
        # It is tried until the time is over, which on a busy machine ends within a try.
        (lambda server: None, "(refused|no answer)"),
        (serve(b""), "no answer"),
        (serve(b"SSH-2.0-OpenSSH_9.2 and more\r\n"), ""),
    ],
)
def test_what_is_not_a_scheduler_is_reported(listen, reason: str, monkeypatch, capfd):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5 if reason == "no answer" else 3)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        listen(server)
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(
                InfluenceError, match=rf"at {address} \(.*{reason}.*\); give the address"
            ),
            open_executor(address),
        ):
            pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("address", ["somewhere", "tcp://host", "http://host:8786"])
def test_what_is_not_an_address_is_refused(address: str):
    with (
        pytest.raises(InfluenceError, match=rf"at {address} \(.*address.*\)"),
        open_executor(address),
    ):
        pass


def test_a_scheduler_without_workers_is_waited_for(monkeypatch):
    monkeypatch.setattr(cluster, "WAIT_SECONDS", 0.3)
    said = Said()
    with dask_scheduler() as (address, _), open_executor(address) as executor:
        assert executor.description == f"on the Dask cluster {address} (0 workers)"
        with pytest.raises(InfluenceError, match=f"{address} has had no worker"):
            executor.run([Task("a", work.double, (1,))], lambda *_: None, said, "Work", "tasks")
    assert address in said.lines[0]


def write_certificate(folder: Path) -> dict[str, str]:
    """Return what names a new certificate to Dask, in the names of its settings."""
    made, ends = Security.temporary(), ("client", "scheduler", "worker")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(made.tls_client_cert)
    key.write_text(made.tls_client_key)
    return {
        "ca-file": str(certificate),
        **{f"{end}.cert": str(certificate) for end in ends},
        **{f"{end}.key": str(key) for end in ends},
    }


def test_a_cluster_with_tls_lets_in_its_own_certificate_only(tmp_path, monkeypatch):
    """As docs/scale.md says it: Dask's own settings, and an address with tls://."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 3)
    (tmp_path / "other").mkdir()
    own, other = write_certificate(tmp_path), write_certificate(tmp_path / "other")
    variables = {
        f"DASK_DISTRIBUTED__COMM__TLS__{name.upper().replace('.', '__').replace('-', '_')}": path
        for name, path in own.items()
    }

    def settings(names: dict[str, str]) -> Any:
        return dask.config.set({f"distributed.comm.tls.{name}": v for name, v in names.items()})

    with dask_scheduler(variables, "tls") as (address, _):
        with settings(own), open_executor(address) as executor:
            assert executor.description == f"on the Dask cluster {address} (0 workers)"
        for names, reason in ((other, "certificate"), ({}, "TLS")):
            with (
                pytest.raises(InfluenceError, match=rf"at {address} \(.*{reason}"),
                settings(names),
                open_executor(address),
            ):
                pass


def test_a_scheduler_that_is_lost_midway_is_reported_in_one_line():
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
            with open_executor(sys.argv[1]) as executor:
                executor.run([Task("a", abs, (1,))], print, Waits(), "Work", "tasks")
        except InfluenceError as error:
            print(error)
    """
    with (
        dask_scheduler() as (address, process),
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
            f"the connection to the Dask scheduler {address} is lost; check that it runs, and start"
            " the command again\n"
        )


@pytest.mark.parametrize("package", ["nnabla", "nnabla-influence"])
def test_a_worker_with_another_version_computes_nothing(package: str, monkeypatch):
    monkeypatch.setattr(
        cluster.distributed, "get_worker", lambda: type("W", (), {"address": "w:1"})
    )
    with pytest.raises(InfluenceError, match=f"w:1: has {package} .*, the command has 0.0.1"):
        cluster.attempt_with({**cluster._versions(), package: "0.0.1"}, b"not even unpickled")


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True])
def test_jobs_is_a_count(jobs):
    with pytest.raises(InfluenceError, match=f"jobs {jobs} "), open_executor(jobs):
        pass


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InfluenceError, match="distributed"), open_executor("tcp://h:1"):
        pass


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_need_no_dask(jobs: int):
    code = f"""if True:
        import sys
        from nnabla_influence.execution import open_executor
        with open_executor({jobs}):
            assert not {{"dask", "distributed", "nnabla"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
