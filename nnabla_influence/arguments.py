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
