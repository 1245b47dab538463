"""The workbook: the ranking in a spreadsheet, with thumbnails, to fill decisions in."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.cleansing.decisions import Decision
from nnabla_influence.errors import DatasetError
from nnabla_influence.files import PathLike, replacing_file, working_folder
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.review.guide import (
    CLASSES,
    ClassCounts,
    guide_lines,
    write_classes,
    write_groups,
    write_guide,
)
from nnabla_influence.review.reviewed import Reviewed, ReviewedRow
from nnabla_influence.review.sheet import (
    DECISION,
    INFLUENCE,
    LABEL,
    columns_of,
    write_text,
)
from nnabla_influence.review.thumbnails import png_bytes, thumbnail

if TYPE_CHECKING:
    import xlsxwriter
    from PIL.Image import Image

MOST_ROWS = 1_048_576 - 1
"""What a sheet holds below its header."""

_THUMBNAIL = 64  # pixels, the longest side
_MARGIN = 2
_REPORT_EVERY = 200
# The same ranking gives the same bytes.
_CREATED = datetime.datetime(2000, 1, 1)
# Light enough to read a number on, and distinguishable for colour-blind users.
_HARMFUL, _HELPFUL = "#F4A582", "#92C5DE"


def write_workbook(
    reviewed: Reviewed,
    output: PathLike,
    *,
    thumbnails: int = 1000,
    proposals: Mapping[int, Decision] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a workbook to review the ranking and decide in, whole or not at all.

    `cleanse` reads the decisions from the workbook, or from its first sheet saved as CSV. Texts
    stay texts: none becomes a formula or a link.

    Args:
        reviewed: The ranking.
        output: The .xlsx file. An existing one is replaced.
        thumbnails: For how many of the most harmful rows pictures are shown.
        proposals: By datasource_index what is proposed, in columns of its own: the decisions stay
            empty for the reviewer to fill in.
        progress: Where progress is reported.

    Raises:
        OutputError: It cannot be written.
        DatasetError: The ranking has changed since it was opened.
    """
    progress = progress or SilentProgress()
    with (
        replacing_file(output) as temporary,
        # The rows are in files of their own until the workbook is closed.
        working_folder(output) as folder,
        _workbook(temporary, folder) as book,
    ):
        sheet = _RankingSheet(book, reviewed, thumbnails, proposals)
        guide = book.add_worksheet("Read me")
        counts = ClassCounts(reviewed.classes)
        name = f"Writing {Path(output).name}"
        total = min(len(reviewed), MOST_ROWS)
        with progress.stage(name, total, "rows") as stage:
            for line, row in enumerate(reviewed, 1):
                if line > MOST_ROWS:
                    break
                sheet.write(line, row)
                counts.add(row)
                if line % _REPORT_EVERY == 0:
                    stage.update(_REPORT_EVERY)
            stage.update(total % _REPORT_EVERY)
        sheet.finish(total)
        notes = [*sheet.notes()]
        if total < len(reviewed):
            notes.append(
                f"A sheet holds {MOST_ROWS:,} rows: the {len(reviewed) - total:,} least harmful"
                " ones are left out."
            )
        write_guide(book, guide, guide_lines(reviewed, notes, proposals is not None))
        if reviewed.classes:
            write_classes(book, counts)
        if reviewed.groups is not None:
            write_groups(book, reviewed.groups)
    for note in notes:
        progress.say(f"{output}: {note}")


@contextmanager
def _workbook(path: Path, folder: Path) -> Iterator[xlsxwriter.Workbook]:
    import xlsxwriter
    from xlsxwriter.exceptions import FileCreateError

    book = xlsxwriter.Workbook(
        path,
        {
            "constant_memory": True,
            "tmpdir": folder,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    book.set_properties({"title": "Ranking", "created": _CREATED})
    try:
        yield book
        book.close()
    except FileCreateError as error:
        raise (
            error.args[0] if isinstance(error.args[0], OSError) else OSError(str(error))
        ) from error


class _RankingSheet:
    """The sheet of the rows."""

    def __init__(
        self,
        book: xlsxwriter.Workbook,
        reviewed: Reviewed,
        thumbnails: int,
        proposals: Mapping[int, Decision] | None,
    ):
        self._sheet = book.add_worksheet("Ranking")
        self._reviewed, self._thumbnails = reviewed, thumbnails
        self._n_images = len(reviewed.image_columns) if thumbnails else 0
        self._columns, self._n_left_out = columns_of(reviewed, proposals)
        formats = {
            column.number_format: book.add_format(
                {"num_format": column.number_format or "General", "valign": "vcenter"}
            )
            for column in self._columns
        }
        self._text = book.add_format({"num_format": "@", "valign": "vcenter", "indent": 1})
        self._entry = book.add_format(
            {"bg_color": "#FFF8DC", "border": 1, "border_color": "#C8B88A", "valign": "vcenter"}
        )
        # Each column with its position and the format of its numbers.
        self._places = [
            (position, column, formats[column.number_format])
            for position, column in enumerate(self._columns, self._n_images)
        ]
        self._not_shown: list[str] = []
        self._write_header(book)

    def _write_header(self, book: xlsxwriter.Workbook) -> None:
        bold = book.add_format({"bold": True, "bottom": 1, "valign": "top", "text_wrap": True})
        for position, name in enumerate(self._reviewed.image_columns[: self._n_images]):
            self._sheet.set_column(position, position, _width_of(_THUMBNAIL + 2 * _MARGIN))
            write_text(self._sheet, 0, position, f"picture {name}", bold)
        for position, column, _ in self._places:
            self._sheet.set_column(position, position, column.width)
            write_text(self._sheet, 0, position, column.title, bold)
        self._sheet.freeze_panes(1, self._n_images + 2)
        self._sheet.set_landscape()
        self._sheet.fit_to_pages(1, 0)
        self._sheet.repeat_rows(0)
        if self._n_images:
            # Heights do not move with sorted rows, so all rows are as high as a picture.
            self._sheet.set_row_pixels(0, 34)
            self._sheet.set_default_row(0.75 * (_THUMBNAIL + 2 * _MARGIN))

    def write(self, line: int, row: ReviewedRow) -> None:
        """Write one row of the ranking into a line of the sheet."""
        sheet = self._sheet
        pictures = self._pictures(row) if line <= self._thumbnails else []
        for position, image in enumerate(pictures):
            if image is None:
                write_text(sheet, line, position, "cannot be shown", self._text)
            else:
                self._insert(line, position, image, row)
        for position, column, number in self._places:
            value = column.value(row)
            if isinstance(value, str) and value:
                write_text(sheet, line, position, value, self._text)
            elif isinstance(value, (int, float)):
                sheet.write_number(line, position, value, number)
            elif column.title in (DECISION, LABEL):
                sheet.write_blank(line, position, None, self._entry)

    def _pictures(self, row: ReviewedRow) -> list[Image | None]:
        pictures: list[Image | None] = []
        for path in row.images[: self._n_images]:
            try:
                pictures.append(thumbnail(path, _THUMBNAIL))
            except DatasetError as error:
                self._not_shown.append(str(error))
                pictures.append(None)
        return pictures

    def _insert(self, line: int, position: int, image: Image, row: ReviewedRow) -> None:
        scale = _THUMBNAIL / max(image.size)  # A small picture is enlarged.
        self._sheet.insert_image(
            line,
            position,
            "picture.png",
            {
                "image_data": io.BytesIO(png_bytes(image)),
                "x_scale": scale,
                "y_scale": scale,
                "x_offset": _MARGIN,
                "y_offset": _MARGIN,
                # Bound to its cell, and wholly within it: so it is sorted and filtered with its
                # row. A picture *in* the cell (embed_image) is #VALUE! in LibreOffice 7.4.
                "object_position": 1,
                "description": f"rank {row.rank}, datasource_index {row.datasource_index}",
            },
        )

    def finish(self, n_rows: int) -> None:
        """Add filters, lists to pick from and bars."""
        last = self._n_images + len(self._columns) - 1
        self._sheet.autofilter(0, 0, n_rows, last)
        position = {column.title: at for at, column, _ in self._places}

        def cells(title: str) -> tuple[int, int, int, int]:
            return 1, position[title], n_rows, position[title]

        self._sheet.data_validation(
            *cells(DECISION),
            {
                "validate": "list",
                "source": ["keep", "remove", "relabel"],
                "input_title": "Decision",
                "input_message": "keep, remove or relabel; empty: keep",
                "error_title": "Not a decision",
                "error_message": "Write keep, remove or relabel, or leave the cell empty.",
            },
        )
        n_given = sum(c.rows > 0 for c in self._reviewed.classes)
        if n_given:
            self._sheet.data_validation(
                *cells(LABEL),
                {
                    "validate": "list",
                    "source": f"={CLASSES}!$A$2:$A${1 + n_given}",
                    "input_title": "New label",
                    "input_message": "The right class's number; for relabel only",
                    "error_title": "Not a class",
                    "error_message": f"Give one of the classes that the sheet {CLASSES} lists.",
                },
            )
        self._sheet.conditional_format(
            *cells(INFLUENCE),
            {
                "type": "data_bar",
                "data_bar_2010": True,
                "bar_solid": True,
                "bar_axis_position": "middle",  # the numbers stand right of it
                "bar_color": _HELPFUL,
                "bar_negative_color": _HARMFUL,
            },
        )

    def notes(self) -> Iterator[str]:
        """Yield what is missing on the sheet."""
        if self._not_shown:
            yield (
                f"{len(self._not_shown)} pictures cannot be shown, the first of them:"
                f" {self._not_shown[0]}"
            )
        if self._n_left_out:
            yield f"{self._n_left_out:,} more features of each row are left out."


def _width_of(pixels: int) -> float:
    """Return a column's width in characters of the standard font."""
    return (pixels - 5) / 7
