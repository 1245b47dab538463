"""The picture that NNCD shows of a result: rows side by side, the most harmful first.

NNCD shows a picture 100 pixels high and as wide as it is, without smoothing, and so this is how
high it is drawn. On its left stands in words what was found: the log is not to be seen any more
once there is a picture.
"""

from __future__ import annotations

import contextlib
import functools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from nnabla_influence.errors import DatasetError
from nnabla_influence.review.reviewed import Reviewed, ReviewedRow
from nnabla_influence.review.thumbnails import thumbnail

HEIGHT = 100
MOST_ROWS = 200
THUMBNAIL = 56
"""The side of a thumbnail's square."""

_MARGIN = 2
_LINE = 14
_FONT_SIZE = 12
_GAP = 12
_FEATURES = 4
_LONGEST = 16
_BLACK, _GREY, _RED, _WHITE = (0, 0, 0), (90, 90, 90), (176, 0, 32), (255, 255, 255)
# Fonts that have Japanese characters, where the system has one of them; Pillow's own has none.
_JAPANESE = (
    "YuGothM.ttc",
    "meiryo.ttc",
    "msgothic.ttc",
    "ヒラギノ角ゴシック W3.ttc",
    "Hiragino Sans GB.ttc",
    "NotoSansCJK-Regular.ttc",
    "ipag.ttf",
    "TakaoGothic.ttf",
)


def strip(
    heading: Sequence[str],
    reviewed: Reviewed,
    rows: Sequence[ReviewedRow],
    changed: Mapping[int, str] | None = None,
    closing: str = "",
) -> Image.Image:
    """Return a picture of rows: of each its thumbnail, or the features of a table, and its labels.

    Args:
        heading: What stands on the left, a few lines.
        reviewed: The ranking that they are of.
        rows: The rows, from left to right; 200 at most are shown.
        changed: New labels by datasource_index.
        closing: What stands on the right of the rows, in as many lines as it takes.

    Returns:
        Mode RGB, 100 pixels high.
    """
    names = {one.value: one.name or one.value for one in reviewed.classes}
    tiles = [
        _Tile(row, names, (changed or {}).get(row.datasource_index)) for row in rows[:MOST_ROWS]
    ]
    blocks = [_text(heading)]
    if tiles:
        titles = tiles[0].titles
        with_images = bool(reviewed.image_columns)
        if not with_images:
            titles = [*titles, *reviewed.feature_names[:_FEATURES]]
        blocks.append(_text(titles, _GREY, top=_text_top(with_images)))
        blocks += [_drawn(tile, with_images) for tile in tiles]
    if closing:
        blocks.append(_text(textwrap.wrap(closing, 80)))
    return _side_by_side(blocks)


def message(title: str, text: str) -> Image.Image:
    """Return a picture of a text, 100 pixels high; of a long one its beginning."""
    lines = textwrap.wrap(text, 110, max_lines=6, placeholder=" ... (see plugin_log.txt)")
    return _side_by_side([_text([title, *lines])])


class _Tile:
    """What is written about a row.

    A predicted class is red where it is not the given one; a predicted number never is just that.
    """

    def __init__(self, row: ReviewedRow, names: Mapping[str, str], new: str | None):
        self.row = row
        given = _named(row.given, names)
        self.lines: list[tuple[str, str, tuple[int, int, int]]] = [("rank", str(row.rank), _BLACK)]
        if given is not None:
            text = given if new is None else f"{given} to {_named(new, names)}"
            self.lines.append(("label", text, _BLACK))
        if row.predicted is not None:
            differs = bool(names) and row.given is not None and row.predicted != row.given
            named = _named(row.predicted, names) or ""
            self.lines.append(("predicted", named, _RED if differs else _BLACK))

    @property
    def titles(self) -> list[str]:
        return [title for title, _, _ in self.lines]


def _named(value: str | None, names: Mapping[str, str]) -> str | None:
    return None if value is None else _short(names.get(value, value))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + ".."


def _text_top(with_images: bool) -> int:
    return THUMBNAIL + _MARGIN if with_images else 0


def _drawn(tile: _Tile, with_images: bool) -> Image.Image:
    lines = [(text, colour) for _, text, colour in tile.lines]
    if not with_images:
        lines += [(_short(cell), _BLACK) for cell in tile.row.features[:_FEATURES]]
    texts = [text for text, _ in lines]
    written = _text(texts, [colour for _, colour in lines], top=_text_top(with_images))
    if not with_images:
        return written
    picture = _fitted(tile.row.images)
    drawn = Image.new("RGB", (max(written.width, THUMBNAIL), HEIGHT), _WHITE)
    drawn.paste(written, (0, 0))
    drawn.paste(picture, (0, _MARGIN), picture if picture.mode == "RGBA" else None)
    return drawn


def _fitted(paths: Sequence[Path]) -> Image.Image:
    """Return the first picture, a small one enlarged by a whole number."""
    for path in paths[:1]:
        with contextlib.suppress(DatasetError):
            picture = thumbnail(path, THUMBNAIL)
            factor = max(1, THUMBNAIL // max(picture.size))
            size = (picture.width * factor, picture.height * factor)
            mode = "RGBA" if picture.mode == "RGBA" else "RGB"
            return picture.convert(mode).resize(size, Image.Resampling.NEAREST)
    return _text(["no", "picture"], _GREY).crop((0, 0, THUMBNAIL, THUMBNAIL))


def _text(
    lines: Sequence[str],
    colours: tuple[int, int, int] | Sequence[tuple[int, int, int]] = _BLACK,
    top: int = 0,
) -> Image.Image:
    """Return lines as a picture, 100 pixels high and as wide as they are."""
    fitting = list(lines)[: (HEIGHT - top) // _LINE]
    fonts = [_font(line) for line in fitting]
    shown = [_showable(line, font) for line, font in zip(fitting, fonts)]
    widths = [int(font.getlength(line)) + 1 for line, font in zip(shown, fonts)]
    image = Image.new("RGB", (max(widths, default=1), HEIGHT), _WHITE)
    draw = ImageDraw.Draw(image)
    for number, (line, font) in enumerate(zip(shown, fonts)):
        colour = colours if isinstance(colours[0], int) else colours[number]
        draw.text((0, top + number * _LINE), line, fill=colour, font=font)  # type: ignore[arg-type]
    return image


def _side_by_side(blocks: Sequence[Image.Image]) -> Image.Image:
    width = _MARGIN + sum(block.width + _GAP for block in blocks)
    image = Image.new("RGB", (width, HEIGHT), _WHITE)
    left = _MARGIN
    for block in blocks:
        image.paste(block, (left, 0))
        left += block.width + _GAP
    return image


def _font(text: str) -> Any:
    own = None if _is_latin(text) else _japanese_font()
    return own or _own_font()


@functools.lru_cache(maxsize=1)
def _own_font() -> Any:
    try:
        return ImageFont.load_default(_FONT_SIZE)
    except (TypeError, OSError, ImportError):  # an older Pillow, or one without FreeType
        return ImageFont.load_default()


@functools.lru_cache(maxsize=1)
def _japanese_font() -> Any:
    for name in _JAPANESE:
        with contextlib.suppress(OSError, ImportError):
            return ImageFont.truetype(name, _FONT_SIZE)
    return None


def _showable(text: str, font: Any) -> str:
    """Return a text with ``?`` for what a font has no character for."""
    line = " ".join(text.split())
    if _is_latin(line) or font is _japanese_font():
        return line
    return "".join(c if _is_latin(c) else "?" for c in line)


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
