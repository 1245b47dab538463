"""Threads for NumPy's work, which lets go of Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def for_each(function: Callable[[T], None], items: Sequence[T]) -> None:
    """Call a function for each item."""
    for item in items:
        function(item)
