"""The plugin "SGD Influence" in Windows NNC, as far as its contract is known."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nnabla_influence import Options, score
from nnabla_influence.console.sgd_influence import build_parser, main
from tests.console.nncd import hide_packages
from tests.console.scripts import IMAGE, TABLE, in_process, lines_of, run
from tests.small_projects import REPOSITORY, Trained, environment, write_table


def scores_in(path: Path) -> dict[int, float]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {
            int(row["datasource_index"]): float(row["influence"]) for row in csv.DictReader(file)
        }


def test_without_options_in_the_folder_of_the_results(trained: Trained, tmp_path):
    result = shutil.copytree(trained.result, tmp_path / "結果 2")
    before = {entry.name for entry in result.iterdir()}
    done = run(TABLE, cwd=result)
    lines = lines_of(done.stderr)
    assert (done.returncode, lines[-1]) == (0, "SGD influence completed successfully.")
    assert done.stdout.decode().splitlines()[0] == "SGD influence starts ..."  # before nnabla
    assert {entry.name for entry in result.iterdir()} - before == {
        "influence.csv",
        "influence.html",
    }
    wanted = dict(enumerate(score(trained.model).scores.influence))
    assert scores_in(result / "influence.csv") == wanted
    # The header and the rows of the user's own CSV, in the order of harm.
    own = (trained.training).read_text(encoding="utf-8").splitlines()
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
    path = result / "influence.html"
    assert f"Look at the rows, and decide for each: open {path} in a browser" in lines


def test_from_another_folder_with_absolute_paths(trained: Trained, tmp_path):
    """Spaces and Japanese, long options, an empty file where the output goes."""
    results = tmp_path / "ワーク space"
    results.mkdir()
    output = results / "影響 1.csv"
    output.touch()
    done = run(
        *(IMAGE, "--model", trained.final, "--input-train", trained.training),
        *("--input-val", trained.validation, "--output", output, "--window", 1),
        *("--batch_size", 0, "--n_trials", 3, "--validation-rows", "3,17", "--device", "cpu"),
        *("--review-page", "no"),
        python=("-B",),
        cwd="/",
    )
    assert done.returncode == 0, done.stderr.decode()
    assert [entry.name for entry in results.iterdir()] == ["影響 1.csv"]
    options = Options(window=1, validation_rows=[3, 17])
    assert scores_in(output) == dict(
        enumerate(score(trained.final, options=options).scores.influence)
    )


def test_a_page_that_cannot_be_written_costs_no_ranking(
    trained: Trained, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ranked.html").mkdir()
    code, lines = in_process(main, caplog, "-m", str(trained.final), "-o", "ranked.csv")
    assert (code, lines[-1]) == (0, "SGD influence completed successfully.")
    assert len(scores_in(tmp_path / "ranked.csv")) == 40
    (said,) = (line for line in lines if line.startswith("No review page was written: "))
    assert "ranked.html" in said


def test_a_page_of_somebody_elses_stays(trained: Trained, tmp_path, monkeypatch, caplog):
    """Its name comes from the ranking's: nobody chose to replace it. A review page is replaced."""
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "report.html"
    page.write_text("<p>mine</p>")
    code, lines = in_process(main, caplog, "-m", str(trained.final), "-o", "report.csv")
    assert (code, page.read_text()) == (0, "<p>mine</p>")
    assert any(
        "report.html: is there already, and no review page; move it, or choose" in x for x in lines
    )
    page.write_text("")  # an empty file is nobody's
    for _ in range(2):
        code, lines = in_process(main, caplog, "-m", str(trained.final), "-o", "report.csv")
        assert code == 0
        assert not any("is there already" in line for line in lines)
    assert 'id="review-data"' in page.read_text(encoding="utf-8")


def test_the_package_may_lie_beside_the_script(trained: Trained, tmp_path):
    """Not installed: the Console's Python finds it through the script's folder."""
    folder = tmp_path / "plugins" / "_Post_Process" / "_XAI" / "_Table"
    folder.mkdir(parents=True)
    script = Path(shutil.copy(TABLE, folder))
    shutil.copytree(
        *(REPOSITORY / "nnabla_influence", folder / "nnabla_influence"),
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    path = folder / "nnabla_influence" / "console" / "dialog.py"  # so that the log tells it apart
    path.write_text(path.read_text().replace("completed successfully.", "completed beside."))
    hide = tmp_path / "hide"
    hide_packages(hide)
    env = environment(PYTHONPATH=str(hide), PYTHONUTF8="1")
    done = run(script, "-m", trained.final, "-o", "out.csv", cwd=tmp_path, env=env, python=("-B",))
    assert done.returncode == 0, done.stderr.decode()
    assert len(scores_in(tmp_path / "out.csv")) == 40
    assert lines_of(done.stderr)[-1] == "SGD influence completed beside."


def test_fields_left_empty_are_not_given(trained: Trained, tmp_path, monkeypatch, caplog):
    """What a dialog may hand over for an empty field; blanks are as empty."""
    shutil.copytree(trained.result, tmp_path / "result")
    monkeypatch.chdir(tmp_path / "result")
    options = [action.option_strings for action in build_parser("x")._actions[1:]]
    names = [(option[0], option[-1]) for option in options]
    empty = [word for short, long in names for word in (short, "")]
    code, lines = in_process(main, caplog, *empty)
    assert (code, lines[-1]) == (0, "SGD influence completed successfully.")
    first = (tmp_path / "result" / "influence.csv").read_bytes()
    blank = [word for short, long in names for word in (long, " ")]
    assert in_process(main, caplog, *blank)[0] == 0
    assert (tmp_path / "result" / "influence.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "none.nnp"], 1, "none.nnp: does not exist; check the path"),
        (["-t", "none.csv"], 1, "none.csv: does not exist; check the dataset's path"),
        (["-v", "nil.csv"], 1, "nil.csv: does not exist; check the dataset's path"),
        (
            ["-m", "../net.nntxt", "-me", "final"],
            1,
            "no trained parameters; .* in the field run",
        ),
        (["-o", "none/x.csv"], 1, r"none/x\.csv: cannot be written \(.*\); make its folder first"),
        (["-r", "none"], 1, "none: no such folder; give the run folder"),
        (["-vr", "99"], 1, "validation.csv: has no row 99; its 20 rows are numbered from 0"),
        (["-w", "9"], 1, "a window of 9 epochs was asked for"),
        (["-w", "0"], 1, "window 0 is not"),
        (["-nt", "0"], 1, "n_trials 0 is not a whole number from 1"),
        (["-bs", "-4"], 1, "batch_size -4 is not a whole number from 1"),
        (["-d", "tpu"], 1, "device 'tpu' is unknown; use auto, cpu, cuda"),
        (["-bs", "x"], 2, "argument -bs/--batch_size: invalid int value: 'x'"),
        (["-vr", "3;4"], 2, "'3;4' is not a list of row numbers such as 3,17"),
        (["--guess", "1"], 2, "unrecognized arguments: --guess 1"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    table: Path, monkeypatch, caplog, capsys, arguments, code: int, message: str
):
    folder = table.parent / "result"
    folder.mkdir()
    earlier = "x,influence,datasource_index\n1,-0.5,0\n"
    (folder / "influence.csv").write_text(earlier)
    monkeypatch.chdir(folder)
    got, lines = in_process(main, caplog, "-m", make_model(table), *arguments)
    assert got == code
    progress = ("Computing on ", "Order of ", "Decoding ", "Note: ")
    said = [line for line in lines if not line.startswith(progress)]
    assert len(said) == 1, said
    assert said[0].startswith("SGD influence failed: ")
    assert re.search(message, said[0]), said[0]
    assert "Traceback" not in caplog.text + capsys.readouterr().err
    assert [entry.name for entry in folder.iterdir()] == ["influence.csv"]
    assert (folder / "influence.csv").read_text() == earlier


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path)


def make_model(net: Path) -> Path:
    """Pack a definition and its parameters as the Console does."""
    with zipfile.ZipFile(net.parent / "results.nnp", "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.write(net, "net.nntxt")
        archive.write(net.parent / "net.h5", "parameter.h5")
    return net.parent / "results.nnp"


def test_an_unforeseen_failure_says_where(table: Path, monkeypatch, caplog, tmp_path):
    from nnabla_influence.scoring import inputs

    def fail(*_: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(inputs, "choose_device", fail)
    monkeypatch.chdir(tmp_path)
    code, lines = in_process(main, caplog, "-m", make_model(table))
    assert code == 1
    assert re.fullmatch(
        r"SGD influence failed: unexpected ZeroDivisionError: first second"
        r" \(test_sgd_influence\.py, line \d+\)",
        lines[-1],
    )


def test_a_missing_package_is_named(table: Path, monkeypatch, caplog, tmp_path):
    monkeypatch.delitem(sys.modules, "nnabla_influence.scoring", raising=False)
    monkeypatch.delitem(sys.modules, "nnabla_influence.scoring.scoring", raising=False)
    monkeypatch.setitem(sys.modules, "nnabla_influence.scoring.choice", None)
    code, lines = in_process(main, caplog, "-m", make_model(table))
    assert code == 1
    assert lines[-1].startswith(
        "SGD influence failed: the package nnabla_influence.scoring.choice is"
    )
    assert lines[-1].endswith(f"missing; install it for {sys.executable}")


def test_an_older_python_is_told(table: Path, monkeypatch, caplog):
    class Version(tuple):
        major, minor = 3, 8

    monkeypatch.setattr(sys, "version_info", Version((3, 8, 18)))
    code, lines = in_process(main, caplog, "-m", table)
    assert code == 1
    assert lines == [
        "SGD influence failed: this needs Python 3.9 or 3.10, but the Console's is 3.8; install"
        " nnabla-influence with another Python, and use its command on the model file"
    ]


def test_stop_removes_what_is_temporary(trained: Trained, tmp_path):
    result = shutil.copytree(trained.result, tmp_path / "result")
    before = sorted(result.iterdir())
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
    assert sorted(result.iterdir()) == before
