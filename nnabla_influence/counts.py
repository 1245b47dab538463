"""Whole numbers that a user gives."""

from __future__ import annotations

from nnabla_influence.errors import InfluenceError


def is_count(value: object, least: int = 1) -> bool:
    """Whether a value is a whole number from ``least``; True is not the number 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse a value that is not a whole number from ``least``.

    Raises:
        InfluenceError: It names the value and ``name``.
    """
    if not is_count(value, least):
        raise InfluenceError(f"{name} {value!r} is not a whole number from {least}")
