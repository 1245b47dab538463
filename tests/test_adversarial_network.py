"""What a neighbour tries: other users of the machine, and others on the network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from nnabla_influence.dataset import open_dataset
from nnabla_influence.execution import Task, open_executor
from nnabla_influence.progress import SilentProgress
from nnabla_influence.ranking import Ranking, Scores
from tests.dataset.common import write_csv
from tests.small_projects import REPOSITORY, environment, trained_table, write_table

pytestmark = pytest.mark.slow


def test_worker_processes_listen_nowhere():
    """They speak by pipes, so there is nothing for another user of the machine to connect to."""
    own = psutil.Process()
    before, others = own.net_connections("all"), set(own.children(recursive=True))
    with open_executor(2) as executor:
        executor.run([Task("a", abs, (1,))], lambda *_: None, SilentProgress(), "Work", "tasks")
        workers = set(own.children(recursive=True)) - others  # those of other tests
        assert [process.net_connections("all") for process in workers] == [[], []]
        assert own.net_connections("all") == before
        folders = {Path(process.environ()["TMPDIR"]) for process in workers}
        assert [folder.stat().st_mode & 0o077 for folder in folders] == [0]


# ------------------------------------------------- what files say to the terminal that shows it

ESC = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def said_by(*arguments: object, folder: Path) -> tuple[int, str]:
    """Return the exit code of the command in a process of its own, and all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "nnabla_influence", *map(str, arguments)],
        env=environment(PYTHONPATH=str(REPOSITORY), PYTHONIOENCODING="utf-8"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8")


def write_ranking(folder: Path) -> Path:
    """A ranking whose file names, headers, cells and class names are all from an enemy."""
    rows = [[f"{k}{ESC}.png", k % 2, f"note {ESC}"] for k in range(4)]
    header = ["x:image", f"y:label;{ESC}cat;dog", f"#{ESC}"]
    dataset = open_dataset(write_csv(folder / f"train{ESC}.csv", header, rows), [])
    ranking = folder / f"ranking{ESC}.csv"
    scores = Scores([-1.0, 2.0, 3.0, 4.0], times_seen=[0, 1, 1, 1])
    Ranking(dataset, scores).write(ranking)
    return ranking


def test_nothing_of_a_strangers_files_reaches_the_terminal_as_a_command(tmp_path):
    ranking = write_ranking(tmp_path)
    train = tmp_path / f"train{ESC}.csv"
    bad = tmp_path / f"bad{ESC}.csv"
    bad.write_text(f"x:image,y:label\na,{ESC}\n", encoding="utf-8")
    net = write_table(tmp_path)
    for code, words in [
        (0, ["review", "-i", ranking, "-o", f"{ESC}.html", "--xlsx", f"{ESC}.xlsx"]),
        (1, ["review", "-i", ranking, "-o", "x.html", "--label-column", f"no{ESC}"]),
        (1, ["review", "-i", ranking, "-o", "x.html", "--class-names", f"{ESC}.txt"]),
        (0, ["cleanse", "-i", ranking, "-o", f"clean{ESC}.csv", "-n", "1"]),
        (1, ["cleanse", "-i", ranking, "-t", bad, "-o", "clean.csv", "-n", "1"]),
        (1, ["cleanse", "-i", train, "-o", "clean.csv", "-n", "1"]),
        (1, ["cleanse", "-i", ranking, "-o", f"none{ESC}/clean.csv", "-n", "1"]),
        (1, ["score", "-m", net, "-t", bad, "-o", "x.csv", "--debug"]),
        (1, ["score", "-m", f"{ESC}.nnp", "-o", "x.csv"]),
        (1, ["train", "-c", f"{ESC}.nntxt", "-o", "run"]),
        (1, ["install", "--console", f"{ESC}"]),
        (2, ["score", "-m", net, "-o", "x.csv", ESC]),
        (2, ["score", "-m", net, "-o", "x.csv", "--jobs", ESC]),
        (2, [ESC]),
    ]:
        ended, said = said_by(*words, folder=tmp_path)
        assert (ended, OBEYED.findall(said)) == (code, []), said
        assert "\\x1b" in said or "no\\x1b" in said, said


def test_nor_do_the_rows_that_scoring_shows(tmp_path, tmp_path_factory):
    trained = trained_table(tmp_path_factory.getbasetemp())
    lines = trained.training.read_text(encoding="utf-8").splitlines()
    edited = tmp_path / f"{ESC}.csv"
    edited.write_text(
        "\n".join([f"#{ESC},{lines[0]}", *(f"{ESC},{line}" for line in lines[1:])]) + "\n",
        encoding="utf-8",
    )
    code, said = said_by(
        *("score", "-m", trained.final, "-t", edited, "-o", f"x{ESC}.csv"), folder=tmp_path
    )
    assert (code, OBEYED.findall(said)) == (0, []), said
    assert "#\\x1b[2J" in said
