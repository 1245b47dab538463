"""The command: what it writes, prints, leaves behind an interruption, and refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_influence.errors import DatasetError, InfluenceError, OutputError, RunError
from nnabla_influence.options import Sample
from nnabla_influence.retraining.retraining import Retraining
from nnabla_influence.retraining.validation import validate
from tests.commands.common import run
from tests.retraining.conftest import Project
from tests.small_projects import REPOSITORY, environment

pytestmark = pytest.mark.slow


def test_the_command_writes_the_folder_and_prints_the_table(project, tmp_path, capsys):
    output = tmp_path / "結果"
    words = ["-m", project.net, "--run", project.run, "-i", project.folder / "exact last.csv"]
    more = ["--rows", 10, "--subsets", 6, "--leave", 3, "--seed", 4, "--window", 2]
    code, out, _ = run(capsys, "validate", *words, "-o", output, *more, "--device", "cpu")
    assert code == 0
    wanted = project.validate(sample=Sample(10, 6, 3, 4), window=2)
    assert out.splitlines() == list(wanted.table())
    assert {entry.name for entry in tmp_path.iterdir()} == {"結果"}
    assert {p.name for p in output.iterdir()} == {
        "result.json",
        "scatter.png",
        "subsets.csv",
        "truth.csv",
    }
    result = json.loads((output / "result.json").read_text("utf-8"))
    assert result["settings"]["command"].startswith("nnabla-influence validate -m ")
    assert result["settings"]["sample"] == {
        "rows": 10,
        "subsets": 6,
        "leave": 3,
        "seed": 4,
        "retest": True,
    }
    assert result["question"] == "retrain the last 2 epochs without it"


KILLED = """
import os, signal, sys
from nnabla_influence.options import Sample, ValidationOptions
from nnabla_influence.retraining.validation import validate
from nnabla_influence.retraining.store import PartialValidation
add = PartialValidation.add
def killed(self, name, loss):
    add(self, name, loss)
    if len(self.losses) == 7:
        os.kill(os.getpid(), getattr(signal, sys.argv[5]))
PartialValidation.add = killed
validate(sys.argv[1], run=sys.argv[2], scores=sys.argv[3], output=sys.argv[4],
         options=ValidationOptions(sample=Sample(rows=10, subsets=5)))
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_an_interrupted_validation_goes_on(project, tmp_path, monkeypatch, end):
    ranking = project.folder / "exact last.csv"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, project.net, project.run, ranking, tmp_path / "out", end],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
    )
    assert killed.returncode != 0
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.partial"}
    sample = Sample(rows=10, subsets=5)
    project.validate(output=tmp_path / "whole", sample=sample)
    calls, without = [], Retraining.without
    monkeypatch.setattr(
        Retraining, "without", lambda self, *key: calls.append(key) or without(self, *key)
    )
    project.validate(output=tmp_path / "out", sample=sample)
    assert len(calls) == 2 * 15 - 7
    assert {entry.name for entry in tmp_path.iterdir()} == {"out", "whole"}
    for name in ("result.json", "truth.csv", "subsets.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_commands_and_workers_import_nothing_heavy():
    code = (
        "import sys; from nnabla_influence.commands.main import main, build_parser\n"
        "import nnabla_influence.scoring.scoring, nnabla_influence.nnabla_cli.training\n"
        "build_parser().parse_args(['validate', '-m', 'a', '--run', 'b', '-i', 'c', '-o', 'd'])\n"
        "assert not [m for m in sys.modules if m.startswith('nnabla_influence.retraining')]\n"
        "import nnabla_influence.retraining.tasks\n"
        "assert not {'matplotlib', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=environment(PYTHONPATH=str(REPOSITORY)), check=True
    )


# --------------------------------------------------------------------- bad input


def test_a_run_without_checkpoints(project: Project, tmp_path: Path):
    shutil.copytree(project.run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    run = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    (tmp_path / "run" / "run.json").write_text(json.dumps({**run, "keep": "final"}), "utf-8")
    with pytest.raises(RunError, match=r"run: has no checkpoint from before step 25.*--keep sqrt"):
        project.validate(run=tmp_path / "run", output=tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}


def test_bad_input_leaves_nothing_behind(project, tmp_path):
    for arguments, kind, message in (
        ({"sample": Sample(rows=46)}, InfluenceError, "46 rows .* 32"),
        ({"window": 9}, RunError, "9 epochs"),
        ({"window": "first"}, InfluenceError, "window 'first'"),
        ({"validation_rows": [30]}, DatasetError, "row 30"),
        ({"scores": "gone.csv"}, DatasetError, r"gone\.csv"),
    ):
        with pytest.raises(kind, match=message):
            project.validate(output=tmp_path / "out", **arguments)
        assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_told_before_the_work(project, tmp_path):
    (tmp_path / "thesis.txt").write_text("kept")
    for output, named in ((tmp_path / "thesis.txt", "is a file"), (tmp_path, r"holds thesis\.txt")):
        with pytest.raises(OutputError, match=named):
            validate("no such model", run="no run", scores="none", output=output)
    assert (tmp_path / "thesis.txt").read_text() == "kept"
