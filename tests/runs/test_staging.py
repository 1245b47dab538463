from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.runs.staging import Staging, in_use, remove_leftovers

SCRIPT = """
import os, signal, sys
from pathlib import Path
from nnabla_influence.runs.staging import Staging
staging = Staging(Path(sys.argv[1]))
(staging.path / "0.npy").write_bytes(b"0")
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.exit()
if sys.argv[2] == "fork":
    os.wait()
    assert (staging.path / "0.npy").exists()
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
raise KeyboardInterrupt
"""


def interrupted(target, how):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(target), how],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_lies_hidden_beside_the_target_until_it_is_closed(tmp_path):
    staging = Staging(tmp_path / "run")
    (staging.path / "0.npy").touch()
    assert staging.path.parent == tmp_path
    assert staging.path.name.startswith(".run.")
    staging.close()
    staging.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("how", ["interrupt", "fork"])
def test_an_interrupted_process_leaves_nothing(tmp_path, how):
    finished = interrupted(tmp_path / "run", how)
    assert "KeyboardInterrupt" in finished.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills")
def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path):
    for target in ("run", "run 2"):
        assert interrupted(tmp_path / target, "kill").returncode == -signal.SIGKILL
    (tmp_path / ".run.mine.recording").mkdir()
    in_use = Staging(tmp_path / "run 2")
    assert len(list(tmp_path.iterdir())) == 3
    remove_leftovers(tmp_path / "run 2")
    remove_leftovers(tmp_path / "run")
    assert sorted(tmp_path.iterdir()) == sorted([in_use.path, tmp_path / ".run.mine.recording"])


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"nowhere/run: cannot be written \(No such file"):
        Staging(tmp_path / "nowhere" / "run")


def test_a_folder_in_use_stays_and_one_that_a_killed_process_left_goes(tmp_path):
    folder = tmp_path / ".run.abc.tmp"
    folder.mkdir()
    with in_use(folder):
        remove_leftovers(tmp_path / "run", ".tmp")
        assert folder.is_dir()
    assert list(folder.iterdir()) == []
    remove_leftovers(tmp_path / "run", ".tmp")  # without a lock it is not known whose it is
    assert folder.is_dir()
    (folder / "lock").touch()
    remove_leftovers(tmp_path / "run", ".tmp")
    assert list(tmp_path.iterdir()) == []
