"""The page of an explanation: one HTML file, which asks for nothing.

Without a ranking of the training rows it has no scripts. With one it has the review page's, so that
both pages make the same decisions about the ranking's rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from nnabla_influence.cleansing.labels import number
from nnabla_influence.dataset import Dataset
from nnabla_influence.dataset.header import Column
from nnabla_influence.explanation.attribution_page import attribution_lines
from nnabla_influence.explanation.explanation import (
    LARGEST_RESIDUAL,
    Answer,
    Cause,
    Explanation,
    input_columns,
)
from nnabla_influence.files import PathLike, replacing_file
from nnabla_influence.progress import Progress
from nnabla_influence.review.columns import readable_names, short_name
from nnabla_influence.review.page import (
    MOST_FEATURES,
    TEMPLATE,
    content_hash,
    inlined,
    page_data,
    script_json,
)
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.review.thumbnails import Pictures, make_pictures, shows_a_picture

_OWN = Path(__file__).resolve().parent / "template"
_STYLES = ("css/10_theme.css", "css/33_decide.css")
_SCRIPTS = (
    *("js/05_dom.js", "js/10_data.js", "js/20_words.js", "js/30_decisions.js"),
    *("js/50_csv.js", "js/56_decisions_file.js", "js/77_files.js"),
)
_COLUMNS = ("datasource_index", "influence", "given")
_TARGETS = {"loss": "loss", "margin": "margin (the log odds against its given label)"}
_EXAMPLES = 8
_LONG = 8
"""The characters of a number that is rounded."""


@dataclass(frozen=True)
class _Rows:
    """Some rows of a dataset as a reader sees them.

    Attributes:
        images: Names of the columns of pictures.
        features: Names of the other ones, without the label.
        pictures: By row, the ``data:`` address of each picture; None where it cannot be shown.
        cells: By row, the features; long numbers rounded.
    """

    images: tuple[str, ...]
    features: tuple[str, ...]
    pictures: dict[int, list[str | None]]
    cells: dict[int, list[str]]


def write_page(
    explanation: Explanation, output: PathLike, ranking: PathLike | None, progress: Progress
) -> None:
    """Write the page of an explanation, whole or not at all.

    Args:
        explanation: What it shows.
        output: The HTML file. An existing one is replaced.
        ranking: The ranking that was written of it, whose rows can be decided on; or None.
        progress: Where progress is reported.

    Raises:
        OutputError: It cannot be written.
        DatasetError: A CSV has changed since it was opened.
    """
    answers, label = explanation.answers, explanation.label
    data = None if ranking is None else _data(explanation, ranking, progress)
    evaluated = _rows(explanation.validation, [a.row for a in answers], label, progress)
    shown = sorted({c.row for a in answers for c in (*a.opponents, *a.proponents)})
    trained = _rows(explanation.train, shown, label, progress)
    page = _Page(explanation, evaluated, trained, data)
    text = "\n".join(page.lines()) + "\n"
    with replacing_file(output) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))


def _data(explanation: Explanation, ranking: PathLike, progress: Progress) -> str:
    """Return what the scripts need of all rows: also the review page may have decided on them."""
    columns = explanation.train.columns
    label = next((c.cell for c in columns if _is(c, explanation.label)), None)
    reviewed = read_reviewed(ranking, label_column=label)
    data = page_data(reviewed, Pictures(), "", {}, progress)
    data["columns"] = {name: data["columns"][name] for name in _COLUMNS}
    return script_json({**data, "features": None, "comments": None})


def _is(column: Column, label: str | None) -> bool:
    return column.name == label and not column.is_comment


def _rows(dataset: Dataset, rows: Sequence[int], label: str | None, progress: Progress) -> _Rows:
    own = input_columns(dataset, label)
    cells = dict(zip(rows, dataset.iter_cells(rows)))
    some = [cells[row] for row in rows[:_EXAMPLES]]
    images = [c for c in own if any(shows_a_picture(_file(dataset, c, row)) for row in some)]
    features = [c for c in own if c not in images]
    files = [tuple(_file(dataset, c, cells[row]) for c in images) for row in rows]
    pictures = make_pictures(files, progress).rows or [[] for _ in rows]
    return _Rows(
        images=tuple(map(short_name, images)),
        features=readable_names(features)[:MOST_FEATURES],
        pictures=dict(zip(rows, pictures)),
        cells={
            row: [_short(cells[row][c.position]) for c in features[:MOST_FEATURES]] for row in rows
        },
    )


def _file(dataset: Dataset, column: Column, cells: Sequence[str]) -> Path:
    return dataset.file_of(cells[column.position])


class _Page:
    """Makes the lines of a page.

    Args:
        explanation: What it shows.
        evaluated: The evaluated rows.
        trained: The training rows.
        data: For the scripts; None for a page without them.
    """

    def __init__(
        self, explanation: Explanation, evaluated: _Rows, trained: _Rows, data: str | None
    ):
        self._explanation, self._data = explanation, data
        self._evaluated, self._trained = evaluated, trained
        self._has_classes = explanation.label is not None

    def lines(self) -> Iterator[str]:
        explanation = self._explanation
        title = escape(f"Why these answers: {explanation.validation.path.name}")
        target = _TARGETS[explanation.target]
        style = inlined([*(TEMPLATE / name for name in _STYLES), _OWN / "explain.css"], "style")
        policy = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:;"
        policy += f" style-src 'sha256-{content_hash(style)}'"
        script = ""
        if self._data is not None:
            paths = [*(TEMPLATE / name for name in _SCRIPTS), _OWN / "explain.js"]
            script = inlined(paths, "script")
            policy += f"; script-src 'sha256-{content_hash(script)}'"
        yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>For each evaluated row, the rows of {escape(explanation.train.path.name)} that raise its loss
most (opponents) and that lower it most (proponents). The influence of a training row is the change
of the evaluated row's {target} if the training row had been left out: below 0 for an opponent. The
gain of a suggested label is how far it falls if the training row had that label.</p>
<p>All of this is of one training and to first order (influence functions), not checked by
retraining. An opponent can be right and rare: look at the rows before you change any.</p>"""
        if any(answer.is_rough for answer in explanation.answers):
            yield (
                "<p><b>Rough</b>, where it stands beside a residual, means that the system behind"
                f" the influence was left with a relative residual above {LARGEST_RESIDUAL}: solved"
                " to the end, it could show several other rows.</p>"
            )
        if self._data is None:
            yield (
                "<p>To decide here which training rows to keep, remove or relabel, make the page"
                " with <code>--ranking explain.csv</code>.</p>"
            )
        yield '<nav aria-label="Evaluated rows"><ul>'
        for answer in explanation.answers:
            wrong = " (wrong)" if answer.is_wrong else ""
            yield f'<li><a href="#row-{answer.row}">Row {answer.row}{wrong}</a></li>'
        yield "</ul></nav>"
        for answer in explanation.answers:
            yield from self._section(answer)
        yield "</main>"
        if self._data is not None:
            yield from _decisions(self._data, script)
        yield "</body>\n</html>"

    def _section(self, answer: Answer) -> Iterator[str]:
        yield f'<section class="answer" aria-labelledby="row-{answer.row}">'
        yield f'<h2 id="row-{answer.row}">Row {answer.row}</h2>'
        yield '<div class="evaluated">'
        yield from self._pictures(answer)
        yield from _facts(self._answer_facts(answer))
        yield "</div>"
        rows = self._evaluated
        if rows.features:
            yield from _table("Its features", rows.features, [_escaped(rows.cells[answer.row])])
        if not answer.opponents and not answer.proponents:
            yield "<p>No training row moves it: its loss is 0, or the loss ignores the row.</p>"
        yield from self._causes("Opponents: without them its loss falls", answer.opponents)
        yield from self._causes("Proponents: without them its loss rises", answer.proponents)
        yield "</section>"

    def _pictures(self, answer: Answer) -> Iterator[str]:
        """Yield the evaluated row's pictures, and what made the scores of its classes."""
        names = self._evaluated.images
        if not names and not answer.attributions:
            return
        yield '<div class="pictures">'
        for name, uri in zip(names, self._evaluated.pictures[answer.row]):
            caption = f"<figcaption>{escape(name)}</figcaption>" if len(names) > 1 else ""
            picture = _picture(uri, f"evaluated picture of row {answer.row}")
            yield f"<figure>{picture}{caption}</figure>"
        yield from attribution_lines(self._explanation, answer)
        yield "</div>"

    def _answer_facts(self, answer: Answer) -> Iterator[tuple[str, str]]:
        if answer.given is not None:
            yield "given", self._class(answer.given)
        if answer.predicted is not None:
            wrong = ' <b class="mark">≠ wrong</b>' if answer.is_wrong else ""
            yield "predicted", self._class(answer.predicted) + wrong
        yield "loss", _number(answer.loss)
        n = len(answer.opponents)
        if n:
            left_out = "the opponent" if n == 1 else f"the {n} opponents"
            loss = f"<strong>{_number(answer.loss_without)}</strong>, to first order"
            beyond = answer.loss_without < 0 <= answer.loss
            too_far = ", which goes too far: the loss cannot fall below 0" if beyond else ""
            yield f"loss without {left_out} shown", f"{loss}{too_far}"
            if answer.is_rough:
                yield "residual", f'{_number(answer.residual)} <b class="mark">rough</b>'

    def _causes(self, caption: str, causes: Sequence[Cause]) -> Iterator[str]:
        """Yield training rows: cards where they have pictures, else lines of a table."""
        rows = self._trained
        if not causes:
            return
        if not rows.images:
            heads = [head for head, _ in self._cause_facts(causes[0])]
            heads += ["decision"] * (self._data is not None) + [*rows.features]
            lines = []
            for cause in causes:
                own = [text for _, text in self._cause_facts(cause)]
                lines.append([*own, *self._buttons(cause), *_escaped(rows.cells[cause.row])])
            yield from _table(caption, heads, lines)
            return
        yield f'<h3>{caption}</h3>\n<ol class="cards">'
        for cause in causes:
            yield '<li class="card">'
            for uri in rows.pictures[cause.row]:
                yield _picture(uri, f"training picture of row {cause.row}")
            features = zip(map(escape, rows.features), _escaped(rows.cells[cause.row]))
            facts = [(name, text) for name, text in self._cause_facts(cause) if text]
            yield from _facts([*facts, *features])
            yield from self._buttons(cause)
            yield "</li>"
        yield "</ol>"

    def _cause_facts(self, cause: Cause) -> Iterator[tuple[str, str]]:
        yield "training row", str(cause.row)
        yield "influence", _number(cause.influence)
        if self._has_classes:
            yield "given", self._class(cause.given)
            suggested, gain = _suggested(cause), cause.relabel_gain
            yield "suggested", "" if suggested is None else self._class(suggested)
            yield "gain", "" if suggested is None or gain is None else _number(gain)

    def _buttons(self, cause: Cause) -> Iterator[str]:
        """Yield the place that the script fills with the buttons of a row."""
        if self._data is not None:
            suggested = _suggested(cause)
            yield (
                f'<div class="decide-buttons" role="group" data-row="{cause.row}"'
                f' aria-label="Decide on training row {cause.row}"'
                f' data-suggested="{"" if suggested is None else suggested}"></div>'
            )

    def _class(self, value: float | None) -> str:
        return f"<bdi>{escape(self._explanation.class_text(value))}</bdi>"


def _suggested(cause: Cause) -> int | None:
    """Return the suggested class, if it would not do harm."""
    harms = cause.relabel_gain is not None and cause.relabel_gain <= 0
    return None if harms else cause.suggested


def _decisions(data: str, script: str) -> Iterator[str]:
    yield f"""<section class="decisions" id="decisions" aria-label="Decisions" hidden>
<b id="counts"></b>
<button type="button" id="export" class="primary">Export decisions.csv</button>
<details><summary>Next step</summary>
<p>Move decisions.csv beside the ranking, and run there:
<code id="next-command"></code></p></details>
<span id="kept-where" class="hint"></span>
</section>
<p id="announcer" class="unseen" role="status" aria-live="polite"></p>
<div id="toast" class="toast" aria-hidden="true"></div>
<noscript><p>The buttons of this page need JavaScript.</p></noscript>
<script type="application/json" id="review-data">{data}</script>
<script type="module">{script}</script>"""


def _picture(uri: str | None, of: str) -> str:
    return f"<p>{of}: cannot be shown</p>" if uri is None else f'<img src="{uri}" alt="{of}">'


def _facts(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield names, each with a value in HTML."""
    yield '<dl class="facts">'
    for name, value in facts:
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"
    yield "</dl>"


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table, which the keyboard can scroll; the cells are HTML, the other texts are not."""
    yield f"<h3>{escape(caption)}</h3>"
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">\n<table>'
    yield f"<tr>{''.join(f'<th scope=col>{escape(head)}</th>' for head in heads)}</tr>"
    for cells in rows:
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table>\n</div>"


def _escaped(cells: Iterable[str]) -> list[str]:
    return [escape(cell) for cell in cells]


def _short(cell: str) -> str:
    value = number(cell) if len(cell) > _LONG else math.nan
    return cell if math.isnan(value) else f"{value:.4g}"


def _number(value: float) -> str:
    return f"{value:.3g}"
