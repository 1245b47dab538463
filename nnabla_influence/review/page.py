"""The review page: one HTML file with everything in it, which opens from disk."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from nnabla_influence.files import replacing_file
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.review.page_data import page_data, script_json
from nnabla_influence.review.pictures import make_pictures
from nnabla_influence.review.reviewed import Reviewed

DEFAULT_THUMBNAILS = 1000

_TEMPLATE = Path(__file__).resolve().parent / "template"


@dataclass(frozen=True)
class WrittenPage:
    """What stands in a page.

    Attributes:
        path: The file.
        n_bytes: Its length.
        thumbnails: How many rows have their pictures in it.
        pictures: How many pictures these are.
        missing: How many more could not be shown.
        first_problem: What was wrong with the first of them, in one line; None if nothing was.
    """

    path: Path
    n_bytes: int
    thumbnails: int
    pictures: int
    missing: int
    first_problem: str | None


def write_page(
    reviewed: Reviewed,
    output: str | os.PathLike[str],
    *,
    thumbnails: int = DEFAULT_THUMBNAILS,
    title: str | None = None,
    progress: Progress | None = None,
) -> WrittenPage:
    """Write the review page of a ranking, whole or not at all.

    The same ranking, files and options give the same bytes.

    Args:
        reviewed: The ranking.
        output: The HTML file. An existing one is replaced.
        thumbnails: How many rows, the most harmful first, get their pictures into the page.
        title: Heading of the page; by default the ranking's file name.
        progress: Where to tell how far it is.

    Raises:
        OutputError: It cannot be written.
        DatasetError: The ranking has changed since it was read.
    """
    progress = progress or SilentProgress()
    pictures = make_pictures([row.images for row in reviewed[:thumbnails]], progress)
    title = reviewed.path.name if title is None else title
    data = script_json(page_data(reviewed, pictures, title, progress))
    text = _rendered(title, data)
    with replacing_file(output) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
        n_bytes = temporary.stat().st_size
    return WrittenPage(
        path=Path(output),
        n_bytes=n_bytes,
        thumbnails=len(pictures.rows),
        pictures=pictures.count,
        missing=pictures.missing,
        first_problem=pictures.first_problem,
    )


def _rendered(title: str, data: str) -> str:
    # No template engine: the Console's bundled Python, where a plugin writes this page, has none.
    template = Template((_TEMPLATE / "page.html").read_text(encoding="utf-8"))
    style, script = _inlined("css", "style"), _inlined("js", "script")
    return template.substitute(
        title=html.escape(title),
        style=style,
        script=script,
        style_hash=_content_hash(style),
        script_hash=_content_hash(script),
        data=data,
    )


def _inlined(kind: str, element: str) -> str:
    """Return the template's files of a kind, in the order of their names, safe in an element."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in _files(kind))
    # Only inside a string or a comment can these stand, where the backslash changes nothing.
    return re.sub(f"<(?=/{element}|!--)", r"\\x3c" if kind == "js" else r"\\3c ", text)


def _files(kind: str) -> Iterator[Path]:
    for folder in (_TEMPLATE, _TEMPLATE / kind):
        if folder.is_dir():
            yield from sorted(folder.glob(f"*.{kind}"))


def _content_hash(text: str) -> str:
    """Return a content security policy's name for an element's text."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
