"""The command: its options, what it prints, its exit codes."""

from __future__ import annotations

import argparse

import pytest

from nnabla_influence import cleanse_command
from nnabla_influence.errors import OutputError
from tests.cleansing.common import read_cells


def command(*words: object) -> None:
    parser = argparse.ArgumentParser()
    cleanse_command.add_options(parser)
    cleanse_command.run(parser.parse_args([str(word) for word in words]))


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
    command("-i", table.ranking, "-o", table.output, *choice)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(
        f"{table.output}: {12 - n_removed} of 12 rows; {n_removed} removed, 0 "
    )
    assert len(read_cells(table.output)) == 1 + 12 - n_removed
    assert len(read_cells(table.removed)) == 1 + n_removed


def test_every_option(table, capsys):
    decisions = table.decisions("datasource_index,decision,label\n7,remove,\n9,relabel,2\n")
    removed = table.folder / "gone.csv"
    words = ["-i", table.ranking, "-t", table.train, "-o", table.output, "--decisions", decisions]
    command(*words, "--removed", removed, "--label-column", "y", "--allow-empty-class")
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == f"{table.output}: 11 of 12 rows; 1 removed, 1 relabelled ({removed} lists them)"
    )
    assert not table.removed.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of the arguments -n --below --decisions is required"),
        (["-n", "1", "--decisions", "d.csv"], "--decisions: not allowed with argument -n"),
        (["-n", "1", "--below", "0"], "--below: not allowed with argument -n"),
        (["-n", "0"], "'0' is not a whole number from 1"),
        (["-n", "1.5"], "'1.5' is neither a number of rows from 1 nor a fraction between 0 and 1"),
        (["--below", "nan"], "'nan' is not a finite number"),
        (["--below", "low"], "'low' is not a finite number"),
    ],
)
def test_wrong_usage(table, capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        command("-i", table.ranking, "-o", table.output, *words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not table.output.exists()


def test_the_input_is_never_the_output(table):
    with pytest.raises(
        OutputError, match="is the ranking itself, which is never changed; choose another"
    ):
        command("-i", table.ranking, "-o", table.ranking, "-n", "1")
