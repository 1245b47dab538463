"""What a user meets at the command line: what works, help, and wrong usage."""

from __future__ import annotations

import csv
import os
import re
import sys

import pytest

from nnabla_influence import score
from nnabla_influence.commands.main import build_parser, main
from nnabla_influence.commands.options import without_aliases
from tests.commands.common import PROGRESS, process, run
from tests.small_projects import Trained


@pytest.mark.slow
def test_score_prints_what_it_wrote(trained: Trained, tmp_path, capsys):
    output = tmp_path / "影響 influence.csv"
    code, out, err = run(capsys, "score", "-m", trained.final, "-o", output)
    assert (code, err) == (0, [])
    with output.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    values = [float(row["influence"]) for row in rows]
    assert values == sorted(values)
    harmful = sum(value < 0 for value in values)
    helpful = sum(value > 0 for value in values)
    assert f"{output}: 40 rows" in out
    assert re.search(rf"\b{harmful} harmful .*\b{helpful} helpful", out)
    for row in rows[:3]:
        assert (
            f"datasource_index {row['datasource_index']}  influence {row['influence'][:5]}" in out
        )


def test_score_sums_the_influence_by_a_column(trained: Trained, tmp_path, capsys):
    output = tmp_path / "influence.csv"
    words = ["score", "-m", trained.final, "-o", output, "--group-by"]
    code, _, err = run(capsys, *words, "nobody")
    assert code == 1
    assert "has no column 'nobody'" in err[-1]
    assert not output.exists()  # Refused before the work.
    code, out, _ = run(capsys, *words, "y")
    assert code == 0
    with output.open(newline="", encoding="utf-8-sig") as file:
        total = sum(float(row["influence"]) for row in csv.DictReader(file))
    _, _, lines = out.partition("Influence by ")
    sums = [float(line.split()[0]) for line in lines.splitlines()[2:]]
    assert sums == sorted(sums)
    assert sum(sums) == pytest.approx(total, abs=0.01 * sum(map(abs, sums)))


@pytest.mark.slow
def test_every_option_reaches_the_scoring(trained: Trained, tmp_path, capsys, monkeypatch):
    import nnabla_influence.scoring as scoring

    called: dict = {}

    def noted(model, **arguments):
        called.update(arguments, model=model)
        return score(trained.final)

    monkeypatch.setattr(scoring, "score", noted)
    words = "-m a -p b --run c -t d -v e -o f --validation-rows 3,1 --window 2 -bs 5 -nt 6"
    words += " --chunk-size 7 --device cpu --method exact --running-statistics --jobs 2"
    words += " --replay-budget 3"
    code, *_ = run(capsys, "score", *words.split())
    assert code == 0
    options = called.pop("options")
    called.pop("progress")
    assert called == {
        "model": "a",
        "parameters": "b",
        "run": "c",
        "train": "d",
        "validation": "e",
        "output": "f",
        "device": "cpu",
        "jobs": 2,
    }
    assert (options.validation_rows, options.window) == ([3, 1], 2)
    assert (options.batch_size, options.n_trials, options.chunk_size) == (5, 6, 7)
    assert (options.method, options.running_statistics) == ("exact", True)
    assert options.replay_budget == 3


@pytest.mark.slow
def test_python_m_and_streams(trained: Trained, tmp_path):
    """Results on standard output, all else on standard error, from any folder."""
    model = os.path.relpath(trained.final, tmp_path)
    running = process(
        "-m", "nnabla_influence", "score", "-m", model, "-o", "influence.csv", cwd=tmp_path
    )
    out, err = (text.decode() for text in running.communicate())
    assert running.returncode == 0
    assert out.startswith("influence.csv: 40 rows")
    assert err.startswith("Computing on CPU")
    assert all(line.startswith(PROGRESS) for line in err.splitlines())
    assert [entry.name for entry in tmp_path.iterdir()] == ["influence.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_a_console_of_an_old_encoding_shows_what_it_can(
    trained: Trained, tmp_path, encoding: str, monkeypatch
):
    with (tmp_path / "stdout").open("w", encoding=encoding) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        main(["score", "-m", str(trained.final), "-o", str(tmp_path / "é 影響.csv")])
    text = (tmp_path / "stdout").read_bytes().decode(encoding)
    assert "\\xe9 " in text
    assert ("影響.csv" in text) == (encoding == "cp932")
    assert (tmp_path / "é 影響.csv").exists()


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_failure_to_talk_about(trained: Trained, tmp_path):
    reading, writing = os.pipe()
    words = ("score", "-m", trained.final, "-o", tmp_path / "influence.csv")
    running = process("-m", "nnabla_influence", *words, stdout=writing)
    os.close(reading)
    os.close(writing)
    _, err = running.communicate()
    assert running.returncode == 1
    assert all(line.startswith(PROGRESS) for line in err.decode().splitlines())
    assert [entry.name for entry in tmp_path.iterdir()] == ["influence.csv"]


# --------------------------------------------------------------------- help and wrong usage


@pytest.mark.slow
@pytest.mark.parametrize("words", ["-h", "--version", "demo -h", "train -h", "score -h"])
def test_help_does_not_wait_for_nnabla(words: str):
    shown = process("-X", "importtime", "-m", "nnabla_influence", *words.split(), text=True)
    out, err = shown.communicate()
    assert shown.returncode == 0
    imported = {line.split("|")[-1].strip() for line in err.splitlines()}
    assert "nnabla_influence.commands.main" in imported
    assert not imported & {"nnabla", "numpy", "tqdm", "h5py", "PIL"}
    assert max(map(len, out.splitlines())) < 80


@pytest.mark.parametrize(
    ("older", "present"),
    [
        ("train -c a --param=b -o c", "train -m a -p b -o c"),
        (
            "score --model a --input-train b --input-val c --batch_size 2 --n_trials 3 -o d",
            "score -m a -t b -v c -bs 2 -nt 3 -o d",
        ),
        ("curve -m a -t b -v c --input-test d -o e", "curve -m a -t b -v c -e d -o e"),
        ("cleanse --input a -o b -n 3", "cleanse --ranking a --output b -n 3"),
    ],
)
def test_the_spellings_of_sony_and_of_older_versions_are_accepted(older: str, present: str):
    parser = build_parser()
    accepted = parser.parse_args(without_aliases(older.split()))
    assert accepted == parser.parse_args(present.split())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("", "COMMAND"),
        ("guess", "'guess' (choose from 'demo', 'advise', 'train', 'score', 'validate', "),
        ("score -m a", "-o/--output"),
        ("score -m a -o b -bs 0", "-bs/--batch-size: '0'"),
        ("score -m a -o b -nt 1.5", "-nt/--n-trials: '1.5'"),
        ("score -m a -o b -nt +3", "-nt/--n-trials: '+3'"),
        ("score -m a -o b --window 0", "--window: '0'"),
        ("train -m a -o b --window x", "--window: 'x'"),
        ("score -m a -o b --validation-rows 1,,2", "--validation-rows: '1,,2'"),
        ("score -m a -o b --validation-rows -1", "--validation-rows: '-1'"),
        ("score -m a -o b --jobs 2 --scheduler c", "not allowed with argument --jobs"),
        ("score -m a -o b --method best", "'best' (choose from 'auto', 'exact', 'final', "),
    ],
)
def test_wrong_usage(capsys, words: str, named: str):
    code, out, err = run(capsys, *words.split())
    assert (code, out) == (2, "")
    assert named in err[-1]
