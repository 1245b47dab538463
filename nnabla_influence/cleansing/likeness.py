"""Whether a cell that went through a spreadsheet can be the one that it was before."""

from __future__ import annotations

import math
import posixpath
import re
import unicodedata

# What spreadsheets keep of a number, at the least, in scientific notation: six digits.
SPREADSHEET_DIGITS = 1e-5

_NUMBER = re.compile(r"[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Signs that stand for letters which an encoding lacks, or that were read in a wrong one.
_LOST = re.compile("[?\ufffd\ud800-\udfff]")
_CUT = "...(cuthere"


def agrees(shown: str, own: str) -> bool | None:
    """Compare a cell of a spreadsheet's table with the dataset's.

    Numbers may be rounded, have a decimal comma or have lost their point; texts may have lost or
    gained what protects spreadsheets from them, other slashes and blanks, the way to a file, and
    letters that an encoding lacks.

    Args:
        shown: The cell of the table.
        own: The cell of the dataset.

    Returns:
        None where nothing can be said, since the cell is empty, or one that a spreadsheet may have
        made another of, such as a date.
    """
    if not shown.strip() or not own.strip():
        return None
    value = _float(own)
    if value is not None:
        return _same_number(_plain(shown), own.strip(), value)
    return _same_text(_plain(shown), _plain(own))


def near(shown: str, value: float) -> bool | None:
    """Tell whether a cell can be a number, rounded as it is shown; None where it is no number."""
    text = _plain(shown).replace("\u2212", "-")
    if not _NUMBER.fullmatch(text):
        return None
    mantissa, _, exponent = text.lower().replace(",", ".").partition("e")
    decimals = len(mantissa.partition(".")[2])
    half = float(f"0.5000000001e{int(exponent or 0) - decimals}")
    difference = abs(float(f"{mantissa}e{exponent or 0}") - value)
    is_rounded = difference <= max(half, SPREADSHEET_DIGITS * abs(value))
    return math.isfinite(difference) and is_rounded


def _same_number(shown: str, own: str, value: float) -> bool | None:
    other = _float(shown)
    if other is not None and not (math.isfinite(other) and math.isfinite(value)):
        return other == value or (math.isnan(other) and math.isnan(value))
    # Where a point groups digits, 1.234 is read as 1234.
    lost_point = len(shown) > 3 and "." in own and own.replace(".", "").lstrip("0+") == shown
    return lost_point or near(shown, value)


def _same_text(shown: str, own: str) -> bool | None:
    if shown == own:
        return True
    if not _is_left_alone(own):
        return None
    one, other = sorted((_steps(shown), _steps(own)), key=len)
    if one and other[-len(one) :] == one:
        return True  # a file, seen from two folders
    begin, cut, _ = shown.partition(_CUT)
    if cut:
        return own.startswith(begin)
    if _LOST.search(shown) or not own.isascii():
        same = re.findall("[0-9]+", shown) == re.findall("[0-9]+", own)
        return None if same else False
    return False


def _is_left_alone(text: str) -> bool:
    """Tell whether a spreadsheet takes a text for one, and for no number, date or truth value."""
    words = re.findall(r"[^\W\d_]+", text)
    is_date = len(words) == 1 and (words[0][:3] in _MONTHS or words[0] in ("am", "pm", "e"))
    return any(len(word) > 1 for word in words) and not is_date and text not in ("true", "false")


def _plain(cell: str) -> str:
    text = "".join(unicodedata.normalize("NFKC", cell).split()).replace("'", "")
    return text.replace("\\", "/").lower()


def _steps(path: str) -> list[str]:
    """Return what a path leads through, without the way up that it begins with."""
    return [step for step in posixpath.normpath(path).split("/") if step not in ("", ".", "..")]


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
