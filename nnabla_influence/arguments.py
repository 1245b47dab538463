"""Types of arguments, for the command line and for the Console's plugins."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def _is_count(text: str, least: int = 1) -> bool:
    return text.isascii() and text.isdigit() and int(text) >= least


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def count(text: str) -> int:
    """Read a whole number from 1."""
    if not _is_count(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def window(text: str) -> str | int:
    """Read ``last``, ``all`` or a number of epochs."""
    if text in ("last", "all"):
        return text
    if not _is_count(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not last, all or a number of epochs from 1")
    return int(text)


def class_or_worst(text: str) -> str | int:
    """Read ``worst`` or the number of a class."""
    if text == "worst":
        return text
    if not _is_count(text, 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not worst or the number of a class from 0")
    return int(text)


def minutes(text: str) -> float:
    """Read a time in minutes, from 0."""
    if not 0 <= _number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes from 0")
    return float(text)


def path_or_auto(text: str) -> str | None:
    """Read a path; ``auto``, for the file that is named elsewhere, is None."""
    return None if text.strip().lower() == "auto" else text


def row_numbers(text: str) -> list[int] | None:
    """Read row numbers such as ``3,17``, or ``all``, which is None."""
    if text.strip().lower() == "all":
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(_is_count(part, 0) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 3,17")
    return [int(part) for part in parts]


def count_or_none(text: str) -> int:
    """Read a whole number from 0."""
    return 0 if text == "0" else count(text)


def count_or_fraction(text: str) -> int | float:
    """Read a number of rows from 1, such as ``5``, or a fraction of them, such as ``0.1``."""
    if _is_count(text):
        return int(text)
    if not 0 < _number(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of rows from 1 nor a fraction between 0 and 1"
        )
    return float(text)


def counts_or_fractions(text: str) -> list[int | float]:
    """Read numbers of rows and fractions of them, such as ``50,100,0.1``."""
    return [count_or_fraction(part.strip()) for part in text.split(",")]


def texts(text: str) -> list[str]:
    """Read names such as ``final,random``."""
    return [part.strip() for part in text.split(",")]


def numbers_from(least: int) -> Callable[[str], list[int]]:
    """Return what reads whole numbers from ``least`` on, such as ``0,3`` or ``0-9``."""

    def read(text: str) -> list[int]:
        found: list[int] = []
        for part in text.split(","):
            first, dash, last = (piece.strip() for piece in part.partition("-"))
            ends = (first, last) if dash else (first, first)
            if not all(_is_count(end, least) for end in ends):
                raise argparse.ArgumentTypeError(
                    f"{text!r} is not a list of whole numbers from {least}, such as"
                    f" {least},{least + 1} or {least}-9"
                )
            found.extend(range(int(ends[0]), int(ends[1]) + 1))
        if not found:
            raise argparse.ArgumentTypeError(
                f"{text!r} runs backwards; write the smaller number first"
            )
        return found

    return read
