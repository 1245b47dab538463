"""However the command ends, its worker processes end too, quietly, and leave nothing on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Task
from nnabla_influence.execution.dask_executor import DaskExecutor
from nnabla_influence.progress import SilentProgress
from tests.small_projects import REPOSITORY, environment

COMMAND = """
import sys, tempfile, time
from nnabla_influence.execution import Task, open_executor
from nnabla_influence.process import tidy_process
from nnabla_influence.progress import SilentProgress

def work():
    print(tempfile.mkdtemp(), file=sys.stderr, flush=True)
    time.sleep(100)

try:
    with tidy_process(), open_executor(2) as executor:
        tasks = [Task(f"{n}", work) for n in range(2)]
        executor.run(tasks, print, SilentProgress(), "Work", "tasks")
except KeyboardInterrupt:
    sys.exit(130)
"""


DIES = """
import os, sys
if "execution.working" in " ".join(getattr(sys, "orig_argv", [])):
    with open(os.environ["STARTS"], "a") as file:
        file.write("x")
    if os.path.getsize(os.environ["STARTS"]) <= int(os.environ["DEATHS"]):
        os._exit(7)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="sends signals to a group")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_worker_survives_and_no_folder_is_left(tmp_path, number: int, code: int):
    # One worker dies at its start, and is started again without a word.
    (tmp_path / "sitecustomize.py").write_text(DIES)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", COMMAND],
        env=environment(
            TMPDIR=str(temporary),
            PYTHONPATH=os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
            STARTS=str(tmp_path / "starts"),
            DEATHS="1",
        ),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        said: list[str] = []
        while len([line for line in said if str(temporary) in line]) < 2:
            said.append(process.stderr.readline())
        os.killpg(process.pid, number)
        # The workers hold the other end of this pipe as long as one of them lives.
        assert process.stderr.read() == ""
    if hasattr(sys, "orig_argv"):
        assert (tmp_path / "starts").read_text() == "xxx"
    assert process.returncode == code
    until = time.monotonic() + 30
    while list(temporary.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(temporary.iterdir()) == []


SHORT = """
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import open_executor

try:
    with open_executor(2):
        pass
except InfluenceError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(sys, "orig_argv"), reason="the worker is known by its command line")
def test_a_worker_that_dies_at_each_start_ends_the_command(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(DIES)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHORT],
        env=environment(
            PYTHONPATH=os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
            STARTS=str(tmp_path / "starts"),
            DEATHS="99",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == (
        "2 worker processes could not be started (one ended with exit code 7 at each of 3 starts);"
        " try fewer, or one\n"
    )


def test_worker_processes_that_have_ended_are_told():
    class Gone:  # What a client is when its scheduler has gone.
        status = "closed"

        def subscribe_topic(self, *_: object) -> None:
            pass

    executor = DaskExecutor(Gone(), "tcp://127.0.0.1:1", jobs=2)  # type: ignore[arg-type]
    message = (
        "^the worker processes have ended, which the system also does to them where memory runs"
        " out; start the command again: what is finished is kept$"
    )
    with pytest.raises(InfluenceError, match=message):
        executor.run([Task("a", abs, (1,))], lambda *_: None, SilentProgress(), "Work", "tasks")
