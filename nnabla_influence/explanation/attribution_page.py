"""What made the score of a class, as a part of the pages: a covered picture, or a table."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from nnabla_influence.dataset import Dataset
from nnabla_influence.explanation.attribution import Attribution
from nnabla_influence.explanation.explanation import Answer, Explanation
from nnabla_influence.options import ATTRIBUTION_NAMES
from nnabla_influence.review.page import ShownAttribution
from nnabla_influence.review.thumbnails import PAGE_SIZE, data_uri

_LEGEND = {
    "gradcam": "Orange: what speaks for the class.",
    "lime": "Orange: what speaks for the class; blue: against it.",
}
_MOST_FEATURES = 10


def shown(
    dataset: Dataset, row: int, one: Attribution, given: float | None, predicted: float | None
) -> ShownAttribution:
    """Return an attribution of a row as pages show it."""
    picture, legend = None, "Weight: the change by one standard deviation more."
    image = one.picture(dataset, row)
    if image is not None:
        exact = max(image.size) <= PAGE_SIZE
        image.thumbnail((PAGE_SIZE, PAGE_SIZE))
        picture, legend = data_uri(image, exact=exact), _LEGEND[one.method]
    return ShownAttribution(
        of=one.role(given, predicted),
        class_=str(one.class_),
        about=f"{ATTRIBUTION_NAMES[one.method]}, {one.detail}",
        warning=one.warning,
        legend=legend,
        picture=picture,
        features=one.features[:_MOST_FEATURES],
    )


def attribution_lines(explanation: Explanation, answer: Answer) -> Iterator[str]:
    """Yield the HTML of an answer's attributions."""
    for attribution in answer.attributions:
        one = shown(explanation.validation, answer.row, attribution, answer.given, answer.predicted)
        of_class = f"class {escape(explanation.class_text(attribution.class_))}"
        of_class += f", {one.of}" if one.of else ""
        warning = f"<br><strong>{escape(one.warning)}</strong>" if one.warning else ""
        caption = f"What made the score of {of_class}:<br>{escape(one.about)}{warning}"
        yield "<figure>"
        if one.picture is None:
            yield f"<figcaption>{caption}<br>{one.legend}</figcaption>"
            yield "<table><tr><th scope=col>feature</th><th scope=col>weight</th></tr>"
            for name, weight in one.features:
                yield f"<tr><td>{escape(name)}</td><td>{weight:.3g}</td></tr>"
            yield "</table>"
        else:
            about = f"row {answer.row}: what made the score of {of_class}; {escape(one.about)}"
            about += f"; {escape(one.warning)}" if one.warning else ""
            yield f'<img src="{one.picture}" alt="{about}">'
            yield f"<figcaption>{caption}<br>{one.legend}</figcaption>"
        yield "</figure>"
