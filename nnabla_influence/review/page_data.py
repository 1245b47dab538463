"""The data of the page: one JSON text, which its script reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nnabla_influence.progress import Progress
from nnabla_influence.review.pictures import Pictures
from nnabla_influence.review.reviewed import Reviewed

FORMAT = 1
MOST_FEATURES = 32
"""How many features of a row the page shows; nobody reads hundreds."""

_LABELS = ("given", "predicted")
_COLUMNS = ("datasource_index", "influence", "influence_std", "loss", "times_seen", *_LABELS)
_TELL_EVERY = 1000

# What could end a script element, or start a comment in it; `json` escapes what is not ASCII, and
# with it the line ends that only JavaScript knows.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def page_data(
    reviewed: Reviewed, pictures: Pictures, title: str, progress: Progress
) -> dict[str, Any]:
    """Return what the page knows, all columns in the order of harm."""
    numbers = {c.value: number for number, c in enumerate(reviewed.classes)}
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    files: list[tuple[str, ...]] = []
    features: list[tuple[str, ...]] = []
    comments: list[tuple[str, ...]] = []
    with progress.stage("Rows", len(reviewed), "rows") as stage:
        for row in reviewed:
            for name, values in columns.items():
                value = getattr(row, name)
                is_class = name in _LABELS and numbers and value is not None
                values.append(numbers[value] if is_class else value)
            files.append(row.files)
            features.append(row.features[:MOST_FEATURES])
            comments.append(row.comments)
            if row.rank % _TELL_EVERY == 0:
                stage.update(_TELL_EVERY)
        stage.update(len(reviewed) % _TELL_EVERY)
    names = reviewed.feature_names
    return {
        "format": FORMAT,
        "title": title,
        "ranking": reviewed.path.name,
        "key": ranking_key(reviewed.path),
        "rows": len(reviewed),
        "orders": reviewed.orders,
        "method": reviewed.method,
        "why": reviewed.why,
        "verdict": None
        if reviewed.verdict is None
        else {"word": reviewed.verdict.word, "sentence": reviewed.verdict.sentence},
        "label": reviewed.label_column,
        "classes": [{"value": c.value, "name": c.name} for c in reviewed.classes],
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


def ranking_key(path: Path) -> str:
    """Return what tells a ranking from others: decisions about one are kept under it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()[:16]


def script_json(data: object) -> str:
    """Return JSON that is safe inside a script element: no cell can end it, or start a comment."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def _unless_empty(values: list[Any]) -> list[Any] | None:
    """Return a column, or None where the ranking has no such."""
    return None if values[0] is None else values
