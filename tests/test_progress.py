"""Progress in a terminal, in the Console's log, and none."""

from __future__ import annotations

import io
import logging
import sys

import pytest

import nnabla_influence.progress as progress_module
from nnabla_influence.progress import ConsoleProgress, TerminalProgress


def work(progress, total: int, each: int = 1) -> None:
    progress.say("begun")
    with progress.stage("Trace back", total, "steps") as stage:
        for _ in range(0, total, each):
            stage.update(each)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(progress_module.time, "monotonic", lambda: Clock.now)
    return Clock


def shown(caplog) -> list[str]:
    assert {record.levelno for record in caplog.records} == {99}
    return [record.getMessage() for record in caplog.records]


def test_the_console_gets_ten_lines_however_many_steps(caplog, clock):
    with ConsoleProgress().stage("Trace back", 12345, "steps") as stage:
        for _ in range(12345):
            clock.now += 0.01
            stage.update()
    lines = shown(caplog)
    assert len(lines) == 10
    assert lines[0] == "Trace back: 1235 of 12345 steps, 111 s remaining"
    assert lines[-1] == "Trace back: 12345 of 12345 steps, 0 s remaining"


def test_the_console_gets_the_last_line_only_of_a_quick_stage(caplog, clock):
    with caplog.at_level(logging.WARNING, logger="nnabla"):
        work(ConsoleProgress(), 12345)
    assert shown(caplog) == ["begun", "Trace back: 12345 of 12345 steps, 0 s remaining"]


def test_the_console_gets_a_line_every_half_minute_of_a_slow_stage(caplog, clock):
    with ConsoleProgress().stage("Decoding", 1000, "rows") as stage:
        for _ in range(9):
            clock.now += 10
            stage.update()
    # 10 s a row: after 30 s 997 rows remain, and so on.
    assert shown(caplog) == [
        "Decoding: 3 of 1000 rows, 9970 s remaining",
        "Decoding: 6 of 1000 rows, 9940 s remaining",
        "Decoding: 9 of 1000 rows, 9910 s remaining",
    ]


def test_a_stage_may_be_empty_or_stand_still(caplog, clock):
    with ConsoleProgress().stage("Decoding", 0) as stage:
        clock.now += 60
        stage.update(0)
    assert shown(caplog) == ["Decoding: 0 of 0 it, 0 s remaining"]


def test_a_terminal_shows_a_bar_on_standard_error_only(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work(TerminalProgress(), 40)
    text = terminal.getvalue()
    assert text.startswith("begun\n")
    assert "Trace back: 100%" in text
    assert "40/40" in text
    assert capsys.readouterr().out == ""


def test_no_bar_where_there_is_no_terminal(capsys):
    work(TerminalProgress(), 40)
    assert capsys.readouterr() == ("", "begun\n")
