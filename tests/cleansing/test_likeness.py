"""Cells before and after a spreadsheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnabla_influence.cleansing.likeness import agrees, near

SAME = [
    ("3", "3"),
    ("3.0", "3"),
    ("7", "007"),
    ("-0.00000000703735235807", "-7.037352358069926e-09"),
    ("-2.18E-02", "-0.021844584494829178"),
    ("-2,18E-02", "-0.021844584494829178"),
    ("\u22122.18e-2", "-0.021844584494829178"),
    ("0,3", "0.30000000000000004"),
    ("1234567", "1.234567"),
    ("-1000", " -1_000"),
    (" 5 ", "5."),
    ("nan", "nan"),
    ("inf", "1e999"),
    ("img3.png", "img3.png"),
    ("\uff29\uff2d\uff27 3.PNG", "img 3.png"),
    ("'=1+1", "=1+1"),
    ("./=1+1.png", "=1+1.png"),
    ("a;'=1;b", "a;=1;b"),
    ("two lines", "two\r\nlines"),
    ("画像/3.png", "画像\\3.png"),
    ("../../data/a/3.png", "a/3.png"),
    ("3.png", "a/3.png"),
    ("a/3.png", "./b/../a/3.png"),
    ("a long te ... (cut here: a cell holds no more)", "a long text"),
    ("2020-01-01", "2020-01-01"),
]
UNKNOWN = [
    ("", "3"),
    ("  ", "img3.png"),
    ("3.png", ""),
    ("2020/1/1", "2020-01-01"),
    ("43831", "2020-01-01"),
    ("02-Jan", "1-2"),
    ("02-Sep", "SEPT2"),
    ("0.5208333333", "12:30 PM"),
    ("WAHR", "TRUE"),
    ("0.5", "50%"),
    ("1. Mai", "1.5"),
    ("H舫ser 7.png", "Häuser 7.png"),
    ("caf? 7", "café 7"),
    ("caf\udce9 7", "café 7"),
]
OTHER = [
    ("3", "4"),
    ("1", "10"),
    ("10", "1"),
    ("0", "1.0"),
    ("123", "1.24"),
    ("-2.18E-02", "0.021844584494829178"),
    ("-2.18E-02", "-0.02194"),
    ("1e999", "5"),
    ("nan", "1"),
    ("img3.png", "img4.png"),
    ("a/3.png", "b/3.png"),
    ("../a/3.png", "../b/3.png"),
    ("a/3.png", "a/13.png"),
    (".", "a/3.png"),
    ("17", "img17.png"),
    ("other ... (cut here: a cell holds no more)", "a long text"),
    ("caf? 8", "café 7"),
    ("画像/3.png", "画像/4.png"),
]


@pytest.mark.parametrize(
    ("shown", "own", "expected"),
    [
        *((*pair, True) for pair in SAME),
        *((*pair, None) for pair in UNKNOWN),
        *((*pair, False) for pair in OTHER),
    ],
)
def test_cells(shown, own, expected):
    assert agrees(shown, own) is expected


@given(
    value=st.floats(-1e300, 1e300),
    form=st.sampled_from([".3e", ".9g", ".0e", ".15g", ".20f", "r"]),
    comma=st.booleans(),
)
def test_a_number_agrees_however_it_was_rounded(value, form, comma):
    shown = repr(value) if form == "r" else format(value, form)
    assert near(shown.replace(".", ",") if comma else shown, value)


@given(value=st.floats(-1e6, 1e6), off=st.floats(0.01, 1e6), down=st.booleans())
def test_another_number_does_not(value, off, down):
    other = value - off if down else value + off
    assert near(f"{other:.17e}", value) is (abs(other - value) <= 1e-5 * abs(value))


@pytest.mark.parametrize("text", ["", "harmful", "1.2.3", "1e", "-", "e5"])
def test_what_is_no_number_tells_nothing(text):
    assert near(text, 1.0) is None
