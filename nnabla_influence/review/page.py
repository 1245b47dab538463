"""The review page: one HTML file with everything in it, which a browser opens from disk."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from nnabla_influence.cleansing.decisions import Decision, ranking_id
from nnabla_influence.cleansing.labels import number
from nnabla_influence.errors import OutputError
from nnabla_influence.files import PathLike, check_output, replacing_file
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.ranking import Groups
from nnabla_influence.review.classes import number_text
from nnabla_influence.review.reviewed import Reviewed
from nnabla_influence.review.thumbnails import Pictures, make_pictures

DEFAULT_THUMBNAILS = 1000
FORMAT = 1
MOST_FEATURES = 32
"""The features of a row that the page shows at most."""

TEMPLATE = Path(__file__).resolve().parent / "template"
_LABELS = ("given", "predicted", "suggested")
_COLUMNS = (
    *("datasource_index", "influence", "influence_std", "influence_se", "harmful_in", "loss"),
    *("times_seen", *_LABELS, "relabel_gain"),
)
_REPORT_EVERY = 1000

# What could end a script element, or start a comment in it; `json` escapes what is not ASCII, and
# with it the line ends that only JavaScript knows.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def write_page(
    reviewed: Reviewed,
    output: PathLike,
    *,
    thumbnails: int = DEFAULT_THUMBNAILS,
    title: str | None = None,
    proposals: Mapping[int, Decision] | None = None,
    progress: Progress | None = None,
) -> Pictures:
    """Write the review page of a ranking, whole or not at all.

    The same ranking, files and options give the same bytes.

    Args:
        reviewed: The ranking.
        output: The HTML file. An existing one is replaced.
        thumbnails: How many rows, the most harmful first, have their pictures on the page.
        title: Heading of the page; by default the ranking's file name.
        proposals: By datasource_index what is proposed. The page exports a proposal only when
            the reviewer has accepted it.
        progress: Where progress is reported.

    Returns:
        The thumbnails on the page.

    Raises:
        OutputError: It cannot be written.
        DatasetError: The ranking has changed since it was read.
    """
    progress = progress or SilentProgress()
    pictures = make_pictures([row.images for row in reviewed[:thumbnails]], progress)
    title = reviewed.path.name if title is None else title
    data = script_json(page_data(reviewed, pictures, title, proposals or {}, progress))
    text = _rendered(title, data)
    with replacing_file(output) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))
    return pictures


def check_outputs(
    ranking: PathLike,
    *,
    page: PathLike | None = None,
    workbook: PathLike | None = None,
    proposals: PathLike | None = None,
) -> None:
    """Check, before the work begins, that the outputs can be written and overwrite no data.

    Which CSV the ranking is of is not known here. But no CSV has the name of a page or a workbook,
    which the outputs must have, also where they are links.

    Raises:
        OutputError: An output is read, has another kind of name, or cannot be written.
    """
    for output, suffixes in ((page, (".html", ".htm")), (workbook, (".xlsx",))):
        if output is None:
            continue
        check_output(output, [ranking, proposals])
        names = (os.fspath(output), os.path.realpath(output))
        if not all(name.lower().endswith(suffixes) for name in names):
            raise OutputError(
                f"{output}: must end with {suffixes[0]}, so that no dataset is overwritten; choose"
                " another output path"
            )


def _rendered(title: str, data: str) -> str:
    # No template engine: the Console's bundled Python, where a plugin writes this page, has none.
    template = Template((TEMPLATE / "page.html").read_text(encoding="utf-8"))
    style, script = inlined(_files("css"), "style"), inlined(_files("js"), "script")
    return template.substitute(
        title=html.escape(title),
        style=style,
        script=script,
        style_hash=content_hash(style),
        script_hash=content_hash(script),
        data=data,
    )


def _files(kind: str) -> list[Path]:
    return sorted((TEMPLATE / kind).glob(f"*.{kind}"))


def inlined(paths: Iterable[Path], element: str) -> str:
    """Return the text of a page's style sheets or scripts, safe in an element."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    # Only inside a string or a comment can these stand, where the backslash changes nothing.
    escape = r"\\x3c" if element == "script" else r"\\3c "
    return re.sub(f"<(?=/{element}|!--)", escape, text)


def content_hash(text: str) -> str:
    """Return a content security policy's name for an element's text."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def page_data(
    reviewed: Reviewed,
    pictures: Pictures,
    title: str,
    proposals: Mapping[int, Decision],
    progress: Progress,
) -> dict[str, Any]:
    """Return the data of the page, all columns in the order of harm."""
    numbers = {c.value: place for place, c in enumerate(reviewed.classes)}
    proposed: list[tuple[int, str, str | None]] = []
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    files: list[tuple[str, ...]] = []
    features: list[tuple[str, ...]] = []
    comments: list[tuple[str, ...]] = []
    with progress.stage("Rows", len(reviewed), "rows") as stage:
        for row in reviewed:
            for name, values in columns.items():
                value = getattr(row, name)
                is_class = name in _LABELS and numbers and value is not None
                values.append(numbers.get(value) if is_class else value)
            files.append(row.files)
            features.append(row.features[:MOST_FEATURES])
            comments.append(row.comments)
            made = proposals.get(row.datasource_index)
            if made is not None:
                label = made.label
                if label is not None and reviewed.classes:
                    label = number_text(number(label))  # a class's value, where the file has 3.0
                proposed.append((row.rank - 1, made.action, label))
            if row.rank % _REPORT_EVERY == 0:
                stage.update(_REPORT_EVERY)
        stage.update(len(reviewed) % _REPORT_EVERY)
    names = reviewed.feature_names
    return {
        "format": FORMAT,
        "title": title,
        "ranking": reviewed.path.name,
        "key": ranking_id(reviewed.path)[1:],
        "rows": len(reviewed),
        "orders": reviewed.orders,
        "method": reviewed.method,
        "why": reviewed.why,
        "verdict": None
        if reviewed.verdict is None
        else {"word": reviewed.verdict.word, "sentence": reviewed.verdict.sentence},
        "label": reviewed.label_column,
        "classes": [{"value": c.value, "name": c.name} for c in reviewed.classes],
        "groups": None if reviewed.groups is None else _groups_data(reviewed, reviewed.groups),
        "proposals": proposed,
        "columns": {name: _unless_empty(values) for name, values in columns.items()},
        "thumbnails": pictures.rows,
        "image_columns": reviewed.image_columns,
        "files": files if reviewed.image_columns else None,
        "features": {
            "names": names[:MOST_FEATURES],
            "values": features,
            "more_features": max(0, len(names) - MOST_FEATURES),
        }
        if names
        else None,
        "comments": {"names": reviewed.comment_names, "values": comments}
        if reviewed.comment_names
        else None,
    }


def _groups_data(reviewed: Reviewed, groups: Groups) -> dict[str, Any]:
    return {
        "name": groups.name,
        "lines": [vars(group) for group in groups.groups],
        "of": reviewed.groups_of_rows,
    }


def script_json(data: object) -> str:
    """Return JSON that is safe inside a script element: no cell can end it, or start a comment."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _unless_empty(values: list[Any]) -> list[Any] | None:
    """Return a column, or None where the ranking lacks it."""
    return None if values[0] is None else values
