"""The rows of a large sheet, several times as fast as xlsxwriter writes them cell by cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Optional, Union

from xlsxwriter.utility import xl_col_to_name
from xlsxwriter.xmlwriter import XMLwriter

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

Cell = tuple[int, Union[str, float, None], "Format"]
"""Its column, what stands there (None: nothing, but it looks like that), and how it looks."""

_NOT_PLAIN = re.compile(r"[&<>\x00-\x1f\ufffe\uffff]|_x[0-9a-fA-F]{4}_|^\s|\s$")


class SheetRows:
    """Writes whole rows into a sheet of a workbook with constant memory, behind its header.

    xlsxwriter takes some 13 microseconds for a cell, most of them to find out what is the same in
    every row here. The bytes are those of its own methods, from which they differ in one thing: a
    text that begins with ``<r>`` and ends with ``</r>`` is a text like any other.

    Args:
        sheet: The sheet. Its rows come in their order, and all below the header by this way.
    """

    def __init__(self, sheet: Worksheet):
        self._sheet = sheet
        self._begun = False
        self._start: Callable[[int, Format], tuple[str, str]] = lru_cache(None)(_start)

    def write(self, line: int, cells: Iterable[Cell]) -> None:
        """Write a row.

        Args:
            line: Its number, from 0.
            cells: In the order of the columns.
        """
        sheet = self._sheet
        if not self._begun:
            sheet._write_single_row(line)  # what waits to be written: the header
            self._begun = True
        row = f'{line + 1}" '
        parts: list[str] = []
        position = 0
        for position, value, form in cells:
            begin, look = self._start(position, form)
            if value is None:
                parts.append(f"{begin}{row}{look}/>")
            elif isinstance(value, str):
                parts.append(f'{begin}{row}{look} t="inlineStr"><is>{_text(value)}</is></c>')
            elif isfinite(value):
                parts.append(f"{begin}{row}{look}><v>{value:.16G}</v></c>")
            else:  # which is no number in a sheet
                parts.append(f'{begin}{row}{look} t="inlineStr"><is>{_text(str(value))}</is></c>')
        sheet._check_dimensions(line, position)
        sheet._write_row(line, None)
        parts.append("</row>")
        sheet.row_data_fh.write("".join(parts))


def _start(position: int, form: Format) -> tuple[str, str]:
    return f'<c r="{xl_col_to_name(position)}', f's="{form._get_xf_index()}"'


def _text(text: str) -> str:
    if _NOT_PLAIN.search(text) is None:
        return f"<t>{text}</t>"
    keep = ' xml:space="preserve"' if text.strip() != text else ""
    return f"<t{keep}>{_escaped(text)}</t>"


def _escaped(text: str) -> str:
    writer = XMLwriter()
    escaped: Optional[str] = writer._escape_data(writer._escape_control_characters(text))
    return escaped or ""
