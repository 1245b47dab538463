"""Thumbnails of a ranking's rows as they stand in a page: each file decoded once, side by side."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from PIL import Image

from nnabla_influence.errors import DatasetError
from nnabla_influence.progress import Progress
from nnabla_influence.review.thumbnails import png_bytes, thumbnail

SIZE = 128
"""The longest side of a page's thumbnail in pixels."""

_MOST_THREADS = 8

Row = list[Optional[str]]


@dataclass
class Pictures:
    """The pictures of some rows.

    A file that cannot be shown keeps nobody from reviewing the rows: label, loss and score are
    there all the same. So it is counted, and the page has a placeholder.

    Attributes:
        rows: For each row the ``data:`` address of each of its pictures; None for a missing one.
        missing: How many could not be shown.
        first_problem: What was wrong with the first of them, in one line.
    """

    rows: list[Row] = field(default_factory=list)
    missing: int = 0
    first_problem: str | None = None

    @property
    def count(self) -> int:
        """How many pictures are there."""
        return sum(len(row) for row in self.rows) - self.missing


def make_pictures(rows: Sequence[tuple[Path, ...]], progress: Progress) -> Pictures:
    """Make the pictures of rows.

    Args:
        rows: The files of each row.
        progress: Where to tell how far it is.
    """
    made = Pictures()
    if not any(rows):
        return made
    stages = progress.stage("Thumbnails", len(rows), "rows")
    with stages as stage, closing(_in_order(rows)) as results:
        for result in results:
            made.rows.append([uri for uri, _ in result])
            for uri, problem in result:
                if uri is None:
                    made.missing += 1
                    made.first_problem = made.first_problem or problem
            stage.update()
    return made


def _in_order(
    rows: Sequence[tuple[Path, ...]],
) -> Generator[list[tuple[str | None, str | None]], None, None]:
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS))
    try:
        yield from pool.map(lambda files: [_shown(path) for path in files], rows)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _shown(path: Path) -> tuple[str | None, str | None]:
    try:
        return data_uri(thumbnail(path, SIZE)), None
    except DatasetError as error:
        return None, str(error)


def data_uri(image: Image.Image) -> str:
    """Return an image as the address of itself.

    Small pictures are kept exactly. What fills a thumbnail is most likely a photo made smaller,
    which as PNG would be several times as large.
    """
    fills = max(image.size) == SIZE and image.mode != "RGBA"
    data, kind = (_jpeg_bytes(image), "jpeg") if fills else (png_bytes(image), "png")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _jpeg_bytes(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
