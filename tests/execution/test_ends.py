"""However the command ends, its worker processes end too, quietly, and leave nothing on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small_projects import REPOSITORY, environment

pytestmark = pytest.mark.slow

COMMAND = """
import sys
from nnabla_influence.errors import InfluenceError
from nnabla_influence.execution import Task, open_executor
from nnabla_influence.process import tidy_process
from nnabla_influence.progress import SilentProgress
from tests.execution import work

try:
    with tidy_process(), open_executor(2) as executor:
        tasks = [Task(f"{n}", work.wait, (float(sys.argv[1]),)) for n in range(2)]
        executor.run(tasks, print, SilentProgress(), "Work", "tasks")
except InfluenceError as error:
    print(error)
except KeyboardInterrupt:
    sys.exit(130)
"""

DIES = """
import os, sys
if "execution.worker" in " ".join(getattr(sys, "orig_argv", [])):
    with open(os.environ["STARTS"], "a") as file:
        file.write("x")
    if os.path.getsize(os.environ["STARTS"]) <= int(os.environ["DEATHS"]):
        os._exit(7)
"""

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="sends signals to a group"),
    pytest.mark.skipif(not hasattr(sys, "orig_argv"), reason="workers are known by command line"),
]


def started(folder: Path, seconds: float, deaths: int) -> subprocess.Popen[str]:
    """Start two workers, of which the first ``deaths`` processes die at their start."""
    (folder / "sitecustomize.py").write_text(DIES)
    (folder / "temporary").mkdir()
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", COMMAND, str(seconds)],
        env=environment(
            TMPDIR=str(folder / "temporary"),
            PYTHONPATH=os.pathsep.join([str(folder), str(REPOSITORY)]),
            STARTS=str(folder / "starts"),
            DEATHS=str(deaths),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_no_worker_survives_and_no_folder_is_left(tmp_path, number: int, code: int):
    # One worker dies at its start, and is started again without a word.
    with started(tmp_path, 100, deaths=1) as process:
        assert process.stderr is not None
        begun = 0
        while begun < 2:  # Each task prints its folder.
            begun += str(tmp_path / "temporary") in process.stderr.readline()
        began = time.monotonic()
        os.killpg(process.pid, number)
        # The workers hold the other end of this pipe as long as one of them lives.
        assert process.stderr.read() == ""
        assert time.monotonic() - began < 10  # about a second on an idle machine
    assert (tmp_path / "starts").read_text() == "xxx"
    assert process.returncode == code
    until = time.monotonic() + 30
    while list((tmp_path / "temporary").iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_worker_that_dies_at_each_start_ends_the_command(tmp_path):
    with started(tmp_path, 0, deaths=99) as process:
        said, _ = process.communicate(timeout=60)
    assert said.splitlines() == [
        "a worker process ended with exit code 7 at each of 3 starts; use fewer jobs, or one"
    ]
    assert process.returncode == 0
    assert list((tmp_path / "temporary").iterdir()) == []
