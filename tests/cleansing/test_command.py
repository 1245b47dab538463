"""The command: its options, what it prints, its exit codes."""

from __future__ import annotations

import pytest

from nnabla_influence.cleansing import Decision, write_decisions
from tests.cleansing.common import read_cells, write_ranking
from tests.commands.common import run


def command(capsys, *words: object) -> tuple[int, list[str], str]:
    """Return exit code, lines of the output, and the errors."""
    code, out, errors = run(capsys, "cleanse", *words)
    return code, out.splitlines(), "\n".join(errors)


@pytest.mark.parametrize(
    ("choice", "n_removed"),
    [
        (["-n", "2"], 2),
        (["-n", "0.25", "--allow-empty-class"], 3),
        (["--below", "0", "--allow-empty-class"], 3),
        (["--below", "-1e-5"], 2),
        (["--below", "-.5"], 1),
        (["--below=-2.5E-1"], 1),
    ],
)
def test_choices(table, capsys, choice, n_removed):
    code, out, _ = command(capsys, "-i", table.ranking, "-o", table.output, *choice)
    assert code == 0
    assert out[0].startswith(
        f"{table.output}: {12 - n_removed} of 12 rows; {n_removed} removed, 0 "
    )
    assert len(read_cells(table.output)) == 1 + 12 - n_removed
    assert len(read_cells(table.removed)) == 1 + n_removed


def test_every_option(table, capsys):
    decisions = table.decisions("datasource_index,decision,label\n7,remove,\n9,relabel,2\n")
    removed = table.folder / "gone.csv"
    words = ["-i", table.ranking, "-t", table.train, "-o", table.output, "--decisions", decisions]
    more = ["--removed", removed, "--label-column", "y", "--allow-empty-class"]
    code, lines, _ = command(capsys, *words, *more)
    assert code == 0
    assert lines[0].startswith(f"{table.output}: 11 of 12 rows; 1 removed, 1 relabelled")
    assert str(removed) in lines[0]
    assert not table.removed.exists()


def test_an_advice_is_its_ranking_and_its_decisions(table, capsys):
    advice = table.folder / "advice"
    advice.mkdir()
    ranking = write_ranking(table.train, advice / "influence.csv")
    write_decisions(advice / "decisions.csv", ranking, {7: Decision("remove")})
    code, lines, _ = command(capsys, "--advice", advice, "-o", table.output)
    assert code == 0
    assert lines[0].startswith(f"{table.output}: 11 of 12 rows; 1 removed, 0 relabelled")
    for words in (["-i", table.ranking, "--advice", advice], ["-n", 2]):
        code, _, err = command(capsys, "-o", table.output, *words)
        assert code == 2
        assert "-i" in err
        assert "--advice" in err
    (advice / "decisions.csv").unlink()
    code, _, err = command(capsys, "--advice", advice, "-o", table.output)
    assert code == 1
    assert f"{advice / 'decisions.csv'}: " in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "-n --below --decisions"),
        (["-n", "1", "--decisions", "d.csv"], "-n"),
        (["-n", "1", "--below", "0"], "-n"),
        (["-n", "0"], "'0'"),
        (["-n", "1.5"], "'1.5'"),
        (["--below", "nan"], "'nan'"),
        (["--below", "low"], "'low'"),
    ],
)
def test_wrong_usage(table, capsys, words, message):
    code, _, err = command(capsys, "-i", table.ranking, "-o", table.output, *words)
    assert code == 2
    assert message in err
    assert not table.output.exists()


def test_a_failure_is_one_line(table, capsys):
    code, out, err = command(capsys, "-i", table.ranking, "-o", table.ranking, "-n", "1")
    assert (code, out) == (1, [])
    assert err.startswith(f"nnabla-influence cleanse: {table.ranking}: ")
    assert "\n" not in err.strip()
