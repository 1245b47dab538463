"""A process ends with its parent or its application, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnabla_influence import lifeline
from tests.console import nncd
from tests.small_projects import REPOSITORY, edit, environment, write_table

pytestmark = pytest.mark.slow

_IN_PROC = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks into /proc")

# Between it and the plugin stands a process that goes on without it, as in NNCD.
# NNCD's server ignores Ctrl-C, and so does whatever it starts.
_APPLICATION = (
    "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    " subprocess.run([sys.executable, '-c',"
    " 'import subprocess, sys; subprocess.run(sys.argv[1:])', *sys.argv[1:]])"
)


def processes_naming(text: str) -> list[int]:
    """Return the processes whose arguments have a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in arguments:
                found.append(int(entry.name))
    return found


def wait_until(is_so: Callable[[], bool], seconds: float) -> float:
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < seconds
        time.sleep(0.05)
    return time.monotonic() - started


def long_job(folder: Path, epochs: int) -> Path:
    """Make a job whose training has many epochs."""
    net = write_table(folder, max_epoch=epochs)

    def trainable(proto):
        for dataset in proto.dataset:
            dataset.uri = str(folder / dataset.uri)
        for variable in proto.network[0].variable:
            if variable.type == "Parameter":
                variable.initializer.type, variable.initializer.multiplier = "Normal", 0.5

    edit(net, trainable)
    job = nncd.job_folder(folder / "home")
    with zipfile.ZipFile(job / "result_train_last.nnp", "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.write(net, "net.nntxt")
        archive.write(folder / "net.h5", "parameter.h5")
    return job


@_IN_PROC
@pytest.mark.parametrize(
    ("method", "epochs", "window", "seen", "processes"),
    [
        ("final", 6_000, 6_000, "steps are traced", 3),
        # It trains again, in a process of its own, and hides what nnabla_cli writes meanwhile.
        ("exact", 1_000_000, 10, "Training ", 4),
    ],
)
def test_a_kill_of_the_application_ends_all(
    tmp_path: Path, method: str, epochs: int, window: int, seen: str, processes: int
):
    job = long_job(tmp_path, epochs)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = nncd.surroundings(tmp_path / "hide", TMPDIR=str(temporary))
    call = nncd.call(nncd.TABLE, job, method=method, window=str(window))
    before = set(tmp_path.rglob("*"))
    log, marker = call.folder / "plugin_log.txt", str(call.folder)
    with log.open("wb") as file:
        application = subprocess.Popen(
            [sys.executable, "-c", _APPLICATION, *call.command], env=env, stdout=file, stderr=file
        )
    try:
        wait_until(
            lambda: seen in log.read_text() and len(processes_naming(marker)) == processes, 30
        )
        assert len(list(call.folder.iterdir())) == 3  # with what is made meanwhile
        application.kill()
        application.wait()
        wait_until(lambda: not processes_naming(marker), 30)
    finally:
        application.kill()
        for pid in processes_naming(marker):
            os.kill(pid, signal.SIGKILL)
    assert "SGD influence was stopped; nothing was written." in log.read_text()
    assert set(tmp_path.rglob("*")) == before - {call.placeholder}


@_IN_PROC
def test_a_process_that_ignores_the_signal_is_ended(tmp_path: Path):
    left = tmp_path / "left behind"
    left.touch()
    deaf = (
        "import signal, sys, time; from pathlib import Path\n"
        "from nnabla_influence import lifeline\n"
        "lifeline.PATIENCE = lifeline.INTERVAL = 0.2\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "lifeline.end_with_application(Path(sys.argv[1]).unlink)\n"
        "print('watching', flush=True)\n"
        "time.sleep(60)\n"
    )
    application = subprocess.Popen(
        [sys.executable, "-c", _APPLICATION, sys.executable, "-c", deaf, str(left)],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        stdout=subprocess.PIPE,
    )
    assert application.stdout is not None
    try:
        assert application.stdout.readline() == b"watching\n"
        assert left.exists()
        application.kill()
        application.wait()
        wait_until(lambda: not processes_naming(str(left)), 30)
    finally:
        for pid in processes_naming(str(left)):
            os.kill(pid, signal.SIGKILL)
        application.stdout.close()
    assert not left.exists()


@pytest.mark.parametrize("how", [b"", b"kill"])
def test_a_process_ends_when_its_pipe_closes_and_folders_are_removed(tmp_path: Path, how: bytes):
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "file").touch()
    script = (
        "import sys, time; from nnabla_influence.lifeline import end_with_pipe\n"
        "end_with_pipe(remove=sys.argv[1:]); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        stdin=subprocess.PIPE,
    ) as process:
        process.communicate(how)
        assert process.returncode == 1
    wait_until(lambda: not folder.exists(), 30)


class Kernel:
    """Windows' kernel32, with a few processes."""

    def __init__(self, parents: dict[int, int]):
        def open_process(access: int, _inherit: bool, pid: int) -> int | None:
            assert access == 0x00100000  # SYNCHRONIZE
            return None if pid == 13 else 1000 + pid

        def entry_at(number: int, entry: object) -> bool:
            if number >= len(parents):
                return False
            pid, parent = list(parents.items())[number]
            entry._obj.th32ProcessID = pid  # type: ignore[attr-defined]
            entry._obj.th32ParentProcessID = parent  # type: ignore[attr-defined]
            self.place = number
            return True

        def wait(count: int, handles: object, every: bool, milliseconds: int) -> int:
            self.waited = ([*handles], every, milliseconds)  # type: ignore[misc]
            assert count == len(self.waited[0])
            return 0

        def function(do):
            made = lambda *arguments: do(*arguments)  # noqa: E731 (takes attributes)
            return made

        self.closed: list[int] = []
        self.OpenProcess = function(open_process)
        self.WaitForMultipleObjects = function(wait)
        self.CreateToolhelp32Snapshot = function(lambda flags, _: 7 if flags == 2 else None)
        self.Process32FirstW = function(lambda _, entry: entry_at(0, entry))
        self.Process32NextW = function(lambda _, entry: entry_at(self.place + 1, entry))
        self.CloseHandle = function(self.closed.append)


@pytest.mark.parametrize(
    ("parents", "watched"),
    [
        # A shell, the one that waits for it, the connector, the application; not what started that.
        ({10: 20, 20: 30, 30: 40, 40: 50, 99: 10}, [1010, 1020, 1030, 1040]),
        ({10: 20}, [1010, 1020]),
        ({10: 13, 13: 20}, [1010, 1020]),  # one may not be watched
        ({}, [1010]),
    ],
)
def test_on_windows_the_end_of_any_ancestor_is_awaited(monkeypatch, parents, watched):
    kernel = Kernel(parents)
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: kernel, raising=False)
    monkeypatch.setattr(lifeline, "os", SimpleNamespace(getppid=lambda: 10))
    lifeline._end_on_windows()()
    assert kernel.waited == (watched, False, 0xFFFFFFFF)
    assert kernel.closed == [7]
