"""The page of an explanation: one HTML file without scripts, which asks for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.header import Column
from nnabla_influence.explanation.attribution_page import attribution_lines
from nnabla_influence.explanation.explanation import Answer, Cause, Explanation
from nnabla_influence.files import PathLike, replacing_file
from nnabla_influence.progress import Progress
from nnabla_influence.review.classes import number_text
from nnabla_influence.review.columns import readable_names, short_name
from nnabla_influence.review.page import MOST_FEATURES, content_hash
from nnabla_influence.review.thumbnails import make_pictures, shows_a_picture

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 sans-serif; max-width: 72em; margin: 1em auto; padding: 0 1em; }
section { border-top: 2px solid; margin-top: 2em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0 0 1em; }
caption { text-align: left; font-weight: bold; padding: .5em 0; }
td, th { border: 1px solid #888; padding: .2em .6em; text-align: right; white-space: nowrap; }
img { image-rendering: pixelated; min-width: 48px; display: block; }
nav a { display: inline-block; margin-right: .8em; }
figure { display: inline-block; margin: 0 1em 1em 0; vertical-align: top; max-width: 20em; }
"""
_TARGETS = {"loss": "loss", "margin": "margin (the log odds against its given label)"}
_EXAMPLES = 8
_MISSING = "cannot be shown"


@dataclass(frozen=True)
class _Rows:
    """Some rows of a dataset as a reader sees them.

    Attributes:
        heads: Of the columns of pictures and features.
        cells: In HTML by row, as many as heads.
        classes: Names of the classes, from 0, where the label's header has them.
    """

    heads: list[str]
    cells: dict[int, list[str]]
    classes: list[str]

    def class_text(self, value: float | None) -> str:
        """Return a class, or a number, in HTML."""
        if value is None:
            return ""
        text = number_text(float(value))
        named = text.isdigit() and int(text) < len(self.classes) and self.classes[int(text)]
        return escape(f"{text} {named}" if named else text)


def write_page(explanation: Explanation, output: PathLike, progress: Progress) -> None:
    """Write the page of an explanation, whole or not at all.

    Raises:
        OutputError: It cannot be written.
        DatasetError: A CSV has changed since it was opened.
    """
    answers, label = explanation.answers, explanation.label
    evaluated = _rows(explanation.validation, [a.row for a in answers], label, progress)
    shown = sorted({c.row for a in answers for c in (*a.opponents, *a.proponents)})
    trained = _rows(explanation.train, shown, label, progress)
    text = "\n".join(_page(explanation, evaluated, trained)) + "\n"
    with replacing_file(output) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))


def _rows(dataset: Dataset, rows: Sequence[int], label: str | None, progress: Progress) -> _Rows:
    own = [c for c in dataset.columns if not c.is_comment and c.name in dataset.inputs]
    labels = [c for c in own if c.name == label]
    cells = dict(zip(rows, dataset.iter_cells(rows)))
    some = [cells[row] for row in rows[:_EXAMPLES]]
    images = [c for c in own if any(shows_a_picture(_file(dataset, c, row)) for row in some)]
    features = [c for c in own if c not in labels and c not in images]
    names = readable_names(features)[:MOST_FEATURES]
    files = [tuple(_file(dataset, c, cells[row]) for c in images) for row in rows]
    pictures = make_pictures(files, progress).rows or [[] for _ in rows]
    return _Rows(
        heads=[*map(short_name, images), *names],
        cells={
            row: [
                *(_picture(uri, f"row {row}") for uri in uris),
                *(escape(cells[row][c.position]) for c in features[:MOST_FEATURES]),
            ]
            for row, uris in zip(rows, pictures)
        },
        classes=[name.strip() for c in labels for name in (c.label or "").split(";")[1:]],
    )


def _file(dataset: Dataset, column: Column, cells: Sequence[str]) -> Path:
    return dataset.file_of(cells[column.position])


def _picture(uri: str | None, of: str) -> str:
    return _MISSING if uri is None else f'<img src="{uri}" alt="{of}">'


def _page(explanation: Explanation, evaluated: _Rows, trained: _Rows) -> Iterator[str]:
    answers, path = explanation.answers, explanation.validation.path
    title = escape(f"Why these answers: {path.name}")
    target = _TARGETS[explanation.target]
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{content_hash(_STYLE)}'"
    yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>For each evaluated row, the rows of {escape(explanation.train.path.name)} that raise its loss
most (opponents) and that lower it most (proponents). The influence of a training row is the change
of the evaluated row's {target} if the training row had been left out: below 0 for an opponent. The
relabel gain is how far it falls if the training row had the suggested label.</p>
<p>All of this is of one training and to first order (influence functions), not checked by
retraining. Look at the rows before you change any.</p>
<nav aria-label="Evaluated rows">"""
    for answer in answers:
        yield f'<a href="#row-{answer.row}">Row {answer.row}</a>'
    yield "</nav>"
    for answer in answers:
        yield from _section(explanation, answer, evaluated, trained)
    yield "</main>\n</body>\n</html>"


def _section(
    explanation: Explanation, answer: Answer, evaluated: _Rows, trained: _Rows
) -> Iterator[str]:
    yield f'<section aria-labelledby="row-{answer.row}">'
    yield f'<h2 id="row-{answer.row}">Row {answer.row}</h2>'
    has_classes = answer.given is not None
    heads = ["given"] * has_classes + ["predicted", "loss", *evaluated.heads]
    given = [evaluated.class_text(answer.given)] * has_classes
    own = [*given, evaluated.class_text(answer.predicted), _number(answer.loss)]
    yield from _table("The evaluated row", heads, [[*own, *evaluated.cells[answer.row]]])
    yield from attribution_lines(explanation.validation, answer, evaluated.class_text)
    n = len(answer.opponents)
    if n:
        left_out = "1 opponent" if n == 1 else f"{n} opponents"
        yield (
            f"<p>Without the {left_out} shown, its loss would be"
            f" <strong>{_number(answer.loss_without)}</strong> in place of {_number(answer.loss)},"
            f" to first order{_too_far(answer)}.</p>"
        )
    elif not answer.proponents:
        yield "<p>No training row moves it: its loss is 0, or the loss ignores the row.</p>"
    heads = ["row", "influence"]
    heads += ["given", "suggested", "relabel gain"] * has_classes + trained.heads
    for caption, causes in (
        ("Opponents: without them its loss falls", answer.opponents),
        ("Proponents: without them its loss rises", answer.proponents),
    ):
        if causes:
            yield from _table(caption, heads, [_cause(c, trained, has_classes) for c in causes])
    yield "</section>"


def _cause(cause: Cause, trained: _Rows, has_classes: bool) -> list[str]:
    cells = [str(cause.row), _number(cause.influence)]
    if has_classes:
        gain = "" if cause.relabel_gain is None else _number(cause.relabel_gain)
        cells += [*map(trained.class_text, (cause.given, cause.suggested)), gain]
    return cells + trained.cells[cause.row]


def _too_far(answer: Answer) -> str:
    beyond = answer.loss_without < 0 <= answer.loss
    return ", which goes too far here: the loss cannot fall below 0" if beyond else ""


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table, which the keyboard can scroll; the cells are HTML, the other texts are not."""
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
    yield f"<table>\n<caption>{escape(caption)}</caption>"
    yield f"<tr>{''.join(f'<th scope=col>{escape(head)}</th>' for head in heads)}</tr>"
    for cells in rows:
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>\n</div>"


def _number(value: float) -> str:
    return f"{value:.3g}"
