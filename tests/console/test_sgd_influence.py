"""The plugin "SGD Influence" in Windows NNC, as far as its contract is known."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_influence import Options, score
from nnabla_influence.console.sgd_influence import build_parser, main
from tests.console.scripts import (
    IMAGE,
    TABLE,
    in_process,
    lines_of,
    make_model,
    names_in,
    run,
    scores_in,
)
from tests.small_projects import REPOSITORY, Trained, environment, write_table

pytestmark = pytest.mark.slow


def test_without_options_in_the_folder_of_the_results(trained: Trained, tmp_path):
    result = shutil.copytree(trained.result, tmp_path / "結果 2")
    before = names_in(result)
    done = run(TABLE, cwd=result)
    lines = lines_of(done.stderr)
    assert (done.returncode, lines[-1]) == (0, "SGD influence completed successfully.")
    assert done.stdout.decode().splitlines()[0] == "SGD influence starts ..."  # before nnabla
    assert names_in(result) - before == {"influence.csv", "influence.html"}
    wanted = dict(enumerate(score(trained.model).scores.influence))
    assert scores_in(result / "influence.csv") == wanted
    # The header and the rows of the user's own CSV, in the order of harm.
    own = trained.training.read_text(encoding="utf-8").splitlines()
    written = (result / "influence.csv").read_text(encoding="utf-8-sig").splitlines()
    assert written[0].startswith(own[0] + ",influence,")
    worst = min(wanted, key=lambda row: wanted[row])
    assert written[1].startswith(own[1 + worst] + ",")
    assert any(line.startswith("influence.csv: 40 rows") for line in lines)
    # The page has the same rows in the same order.
    page = (result / "influence.html").read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="review-data">(.*?)</script>', page)
    columns = json.loads(data[1])["columns"]
    assert columns["datasource_index"] == sorted(wanted, key=lambda row: wanted[row])
    assert columns["influence"] == sorted(wanted.values())
    assert f"To review the rows, open {result / 'influence.html'} in a browser" in lines


def test_from_another_folder_with_absolute_paths(trained: Trained, tmp_path):
    """Spaces and Japanese, long options, an empty file at the output's path."""
    results = tmp_path / "ワーク space"
    results.mkdir()
    output = results / "影響 1.csv"
    output.touch()
    typed = {
        "model": trained.final,
        "input-train": trained.training,
        "input-val": trained.validation,
        "output": output,
        "window": 1,
        "batch_size": 0,
        "n_trials": 3,
        "validation-rows": "3,17",
        "device": "cpu",
        "review-page": "no",
    }
    words = [word for name, value in typed.items() for word in (f"--{name}", value)]
    done = run(IMAGE, *words, python=("-B",), cwd="/")
    assert done.returncode == 0, done.stderr.decode()
    assert names_in(results) == {"影響 1.csv"}
    options = Options(window=1, validation_rows=[3, 17])
    wanted = score(trained.final, options=options).scores.influence
    assert scores_in(output) == dict(enumerate(wanted))


@pytest.mark.parametrize("obstacle", ["a folder", "a page of somebody else"])
def test_a_page_that_cannot_be_written_costs_no_ranking(
    trained: Trained, tmp_path, monkeypatch, caplog, obstacle: str
):
    """The user did not choose its name; an empty file and a review page are replaced."""
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "ranked.html"
    page.mkdir() if obstacle == "a folder" else page.write_text("<p>mine</p>")
    arguments = ("-m", str(trained.final), "-o", "ranked.csv")
    code, lines = in_process(main, caplog, *arguments)
    assert (code, lines[-1]) == (0, "SGD influence completed successfully.")
    assert len(scores_in(tmp_path / "ranked.csv")) == 40
    (said,) = (line for line in lines if line.startswith("No review page was written: "))
    assert "ranked.html" in said
    if obstacle == "a folder":
        return
    assert page.read_text() == "<p>mine</p>"
    page.write_text("")
    for _ in range(2):
        _, lines = in_process(main, caplog, *arguments)
        assert not any("No review page" in line for line in lines)
    assert 'id="review-data"' in page.read_text(encoding="utf-8")


def test_empty_fields_are_not_given(trained: Trained, tmp_path, monkeypatch, caplog):
    """What a dialog may pass for an empty field; spaces are as empty."""
    monkeypatch.chdir(shutil.copytree(trained.result, tmp_path / "result"))
    options = [action.option_strings for action in build_parser("x")._actions[1:]]
    written = []
    for blank, which in (("", 0), (" ", -1)):
        words = [word for option in options for word in (option[which], blank)]
        assert in_process(main, caplog, *words)[0] == 0
        written.append(Path("influence.csv").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["-m", "none.nnp"], 1, "none.nnp"),
        (["-m", "../net.nntxt", "-me", "final"], 1, "in the field run"),
        (["-o", "none/x.csv"], 1, "none/x.csv"),
        (["-w", "9"], 1, "9 epochs"),
        (["-bn", "mini"], 1, "'mini' must be batch or running"),
        (["-bs", "x"], 2, "-bs/--batch_size"),
        (["--guess", "1"], 2, "--guess"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    table: Path, monkeypatch, caplog, capsys, arguments, code: int, named: str
):
    folder = table.parent / "result"
    folder.mkdir()
    earlier = "x,influence,datasource_index\n1,-0.5,0\n"
    (folder / "influence.csv").write_text(earlier)
    monkeypatch.chdir(folder)
    got, lines = in_process(main, caplog, "-m", make_model(table), *arguments)
    assert got == code
    assert [line for line in lines if "failed" in line] == lines[-1:]
    assert lines[-1].startswith("SGD influence failed: ")
    assert named in lines[-1]
    assert "Traceback" not in caplog.text + capsys.readouterr().err
    assert names_in(folder) == {"influence.csv"}
    assert (folder / "influence.csv").read_text() == earlier


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path)


def test_an_unexpected_failure_names_its_place(table: Path, monkeypatch, caplog, tmp_path):
    import nnabla_influence.scoring as scoring

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(scoring, "score", fail)
    monkeypatch.chdir(tmp_path)
    code, lines = in_process(main, caplog, "-m", make_model(table))
    assert code == 1
    assert re.search(r"^SGD influence failed: .*first second \(.*, line \d+\)", lines[-1])


def test_a_stop_writes_nothing_but_traces_to_resume_from(trained: Trained, tmp_path):
    result = Path(shutil.copytree(trained.result, tmp_path / "result"))
    before = names_in(result)
    running = subprocess.Popen(
        [sys.executable, str(TABLE), "-bs", "3", "-nt", "1500"],
        cwd=result,
        env=environment(PYTHONPATH=str(REPOSITORY)),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert running.stderr is not None
    while b"Method " not in running.stderr.readline():
        assert running.poll() is None
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert lines_of(err)[-1] == "SGD influence was stopped; nothing was written."
    assert {n for n in names_in(result) if not n.startswith(".influence.csv.trace")} == before
