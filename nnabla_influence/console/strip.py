"""The image that NNCD shows of a result: rows side by side, the most harmful first.

NNCD shows an image 100 pixels high and as wide as it is, without smoothing; so it is drawn at that
height. Text on its left says what was found, since the log is hidden once there is an image.
"""

from __future__ import annotations

import contextlib
import functools
import textwrap
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
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
_CHANGED = 20
_FEATURES = 4
_LONGEST = 16
_BLACK, _GREY, _RED, _WHITE = (0, 0, 0), (90, 90, 90), (176, 0, 32), (255, 255, 255)
_Colour = tuple[int, int, int]
_Line = tuple[str, str, _Colour]
"""A title, its text and the text's colour."""
# Fonts with Japanese characters, which Pillow's own font lacks; a system has at most some of them.
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
    before: Sequence[Image.Image] = (),
) -> Image.Image:
    """Return an image of rows: of each its thumbnail, or the features of a table, and its labels.

    Args:
        heading: A few lines on the left.
        reviewed: The ranking.
        rows: Its rows to show, from left to right; 200 at most are shown.
        changed: New labels by datasource_index.
        closing: Text on the right of the rows, wrapped.
        before: Images as `tile` and `columns` make them, on the left of the rows.

    Returns:
        Mode RGB, 100 pixels high.
    """
    names = {one.value: one.name or one.value for one in reviewed.classes}
    with_images = bool(reviewed.image_columns)
    top = THUMBNAIL + _MARGIN if with_images else 0
    blocks = [written(heading), *before]
    for place, row in enumerate(rows[:MOST_ROWS]):
        lines = _lines(row, names, (changed or {}).get(row.datasource_index))
        if not with_images:
            features = zip(reviewed.feature_names[:_FEATURES], row.features)
            lines += [(name, _short(cell), _BLACK) for name, cell in features]
        if place == 0:
            blocks.append(_coloured([(title, _GREY) for title, _, _ in lines], top))
        texts = [(text, colour) for _, text, colour in lines]
        blocks.append(_under(_fitted(row.images), texts) if with_images else _coloured(texts, top))
    if closing:
        blocks.append(written(textwrap.wrap(closing, 80)))
    return side_by_side(blocks)


def changed_rows(reviewed: Reviewed, changed: Collection[int]) -> list[ReviewedRow]:
    """Return the first rows of these numbers, the most harmful first, for `strip`."""
    return list(islice((row for row in reviewed if row.datasource_index in changed), _CHANGED))


def message(title: str, text: str) -> Image.Image:
    """Return an image of a text, 100 pixels high; of a long one its beginning."""
    lines = textwrap.wrap(text, 110, max_lines=6, placeholder=" ... (see plugin_log.txt)")
    return side_by_side([written([title, *lines])])


def tile(
    picture: Image.Image, lines: Sequence[str], side: int = THUMBNAIL, *, is_wrong: bool = False
) -> Image.Image:
    """Return a picture over a few lines.

    Args:
        picture: Made smaller, or larger by a whole number, to fit into a square.
        lines: Three lines at most.
        side: The square's; the image is 44 pixels higher.
        is_wrong: Whether the last line is red.
    """
    colours = [_BLACK] * (len(lines) - is_wrong) + [_RED] * is_wrong
    return _under(_scaled(picture, side), list(zip(lines, colours)), side)


def columns(lines: Sequence[tuple[str, ...]]) -> list[Image.Image]:
    """Return an image of each column of a table, of seven lines at most; the first is grey."""
    colours = [_GREY, *[_BLACK] * len(lines)]
    return [
        _coloured([(_short(text), colour) for text in texts])
        for texts, colour in zip(zip(*lines), colours)
    ]


def written(lines: Sequence[str]) -> Image.Image:
    """Return an image of lines, of seven at most."""
    return _coloured([(line, _BLACK) for line in lines])


def side_by_side(blocks: Sequence[Image.Image]) -> Image.Image:
    """Return images from left to right, as high as the highest."""
    width = _MARGIN + sum(block.width + _GAP for block in blocks)
    height, left = max(block.height for block in blocks), _MARGIN
    image = Image.new("RGB", (width, height), _WHITE)
    for block in blocks:
        image.paste(block, (left, 0))
        left += block.width + _GAP
    return image


def _lines(row: ReviewedRow, names: Mapping[str, str], new: str | None) -> list[_Line]:
    """Return what is written about a row.

    A predicted class is red where it differs from the given one; a predicted number always does.
    """
    lines = [("rank", str(row.rank), _BLACK)]
    if (given := _named(row.given, names)) is not None:
        text = given if new is None else f"{given} to {_named(new, names)}"
        lines.append(("label", text, _BLACK))
    if (predicted := _named(row.predicted, names)) is not None:
        differs = bool(names) and row.given is not None and row.predicted != row.given
        lines.append(("predicted", predicted, _RED if differs else _BLACK))
    return lines


def _named(value: str | None, names: Mapping[str, str]) -> str | None:
    return None if value is None else _short(names.get(value, value))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + ".."


def _under(
    picture: Image.Image, lines: Sequence[tuple[str, _Colour]], side: int = THUMBNAIL
) -> Image.Image:
    """Return a picture over lines."""
    text = _coloured(lines, side + _MARGIN, side + HEIGHT - THUMBNAIL)
    image = Image.new("RGB", (max(text.width, side), text.height), _WHITE)
    image.paste(text, (0, 0))
    image.paste(picture, (0, _MARGIN), picture if picture.mode == "RGBA" else None)
    return image


def _fitted(paths: Sequence[Path]) -> Image.Image:
    """Return the first image, a small one enlarged by an integer factor."""
    for path in paths[:1]:
        with contextlib.suppress(DatasetError):
            return _scaled(thumbnail(path, THUMBNAIL), THUMBNAIL)
    return _coloured([("no", _GREY), ("image", _GREY)]).crop((0, 0, THUMBNAIL, THUMBNAIL))


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    picture = picture.convert("RGBA" if picture.mode == "RGBA" else "RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    factor = max(1, side // max(picture.size))
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def _coloured(
    lines: Sequence[tuple[str, _Colour]], top: int = 0, height: int = HEIGHT
) -> Image.Image:
    """Return an image of lines, each in its colour."""
    shown = []
    for text, colour in lines[: (height - top) // _LINE]:
        font = _font(text)
        shown.append((_showable(text, font), colour, font))
    width = max((int(font.getlength(text)) + 1 for text, _, font in shown), default=1)
    image = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(image)
    for number, (text, colour, font) in enumerate(shown):
        draw.text((0, top + number * _LINE), text, fill=colour, font=font)
    return image


def _font(text: str) -> Any:
    own = None if _is_plain(text) else _japanese_font()
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
    """Return a text without accents, and with ``?`` for what the font lacks besides."""
    line = " ".join(text.split())
    if _is_plain(line) or font is _japanese_font():
        return line
    parts = unicodedata.normalize("NFKD", line)
    return "".join(c if _is_plain(c) else "?" for c in parts if not unicodedata.combining(c))


def _is_plain(text: str) -> bool:
    """Whether Pillow's own font has all of a text: of Latin-1 it has little but ASCII."""
    return all(character.isascii() or character == "·" for character in text)
