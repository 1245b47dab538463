"""Types of arguments, for the command line and for the Console's plugins."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Read a whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def window(text: str) -> str | int:
    """Read ``last``, ``all`` or a number of epochs."""
    if text in ("last", "all"):
        return text
    try:
        return count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not last, all or a number of epochs from 1"
        ) from None


def row_numbers(text: str) -> list[int]:
    """Read row numbers such as ``3,17``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of row numbers such as 3,17")
    return [int(part) for part in parts]


def count_or_none(text: str) -> int:
    """Read a whole number from 0."""
    return 0 if text == "0" else count(text)


def count_or_fraction(text: str) -> int | float:
    """Read a number of rows from 1, such as ``5``, or a fraction of them, such as ``0.1``."""
    if text.isascii() and text.isdigit():
        return count(text)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of rows from 1 nor a fraction between 0 and 1"
        )
    return value
