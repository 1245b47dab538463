"""A message is one line, and a terminal obeys nothing in it."""

from __future__ import annotations

import unicodedata
import warnings

import pytest
from nnabla.logger import logger

from nnabla_influence.text import (
    in_dialog,
    listed,
    others_printable,
    printable,
    with_option,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("back\x08\x7f", "back\\x08\\x7f"),
        ("\x9b2J", "\\x9b2J"),
        ("gnp.\u202egpj\u2066", "gnp.\\u202egpj\\u2066"),
        ("\udc9b.png", "\\udc9b.png"),
        ("one\ntwo\r\nthree\rfour\u2028five\x85six", "one two three four five six"),
        ("tab\tstop\0", "tab\\x09stop\\x00"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str):
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "影響\u3000データ.csv",
        "é ü ß",
        "עברית \u200f",
        "👩\u200d🔬",
        r"C:\new\table.csv",
        "  indented",
    ],
)
def test_what_people_write_stays(text: str):
    assert printable(text) == text


def test_no_control_character_passes():
    everything = "".join(map(chr, range(0x110000)))
    left = {unicodedata.category(character) for character in printable(everything)}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}


def test_what_nnabla_logs_and_python_warns_of_is_printable_too(caplog, monkeypatch):
    with others_printable():
        logger.log(99, 'Failed to load array from "%s".', "a\x1b[2J\n.npy")
        said = warnings.formatwarning("\x1b[2J\nb", UserWarning, "x.py", 1)
    assert caplog.messages == ['Failed to load array from "a\\x1b[2J .npy".']
    assert said.endswith("UserWarning: \\x1b[2J b\n")
    logger.log(99, "a\x1b")
    assert caplog.messages[1] == "a\x1b"


def test_a_long_list_is_cut():
    assert listed([]) == ""
    assert listed([1, 2, 3], 3) == "1, 2, 3"
    assert listed((f"{n}" for n in range(10)), 3) == "0, 1, 2 and 7 more"


def test_an_option_is_named_by_what_its_user_sees():
    assert with_option("-t", "input-train") == "with -t"
    with in_dialog(["model", "input-train"]):
        assert with_option("-t", "input-train") == "in the field input-train"
        with in_dialog(["model"]):
            assert with_option("-t", "input-train") == "with -t of the nnabla-influence command"
        assert with_option("-p") == "with -p of the nnabla-influence command"
    assert with_option("-p") == "with -p"
