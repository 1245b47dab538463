"""What made the score of a class, as a part of the page: a covered picture, or a table."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np

from nnabla_influence.explanation.attribution import overlay, picture_of
from nnabla_influence.explanation.explanation import Answer, Explanation
from nnabla_influence.review.thumbnails import PAGE_SIZE, data_uri

_METHODS = {"gradcam": "Grad-CAM", "lime": "LIME"}
_LEGEND = {
    "gradcam": "Orange: what speaks for the class.",
    "lime": "Orange: what speaks for the class; blue: against it.",
}
_MOST_FEATURES = 10


def attribution_lines(explanation: Explanation, answer: Answer) -> Iterator[str]:
    """Yield the HTML of an answer's attributions."""
    dataset = explanation.validation
    for one in answer.attributions:
        roles = ("given", answer.given), ("predicted", answer.predicted)
        role = " and ".join(name for name, class_ in roles if class_ == one.class_)
        of_class = f"class {escape(explanation.class_text(one.class_))}"
        of_class += f", {role}" if role else ""
        how = escape(f"{_METHODS[one.method]}, {one.detail}")
        warning = f"<br><strong>{escape(one.warning)}</strong>" if one.warning else ""
        caption = f"What made the score of {of_class}:<br>{how}{warning}"
        yield "<figure>"
        if one.column is None or one.values is None:
            meaning = "Weight: the change by one standard deviation more."
            yield f"<figcaption>{caption}<br>{meaning}</figcaption>"
            yield "<table><tr><th scope=col>feature</th><th scope=col>weight</th></tr>"
            for name, weight in one.features[:_MOST_FEATURES]:
                yield f"<tr><td>{escape(name)}</td><td>{weight:.3g}</td></tr>"
            yield "</table>"
        else:
            [values] = dataset.values(one.column, np.array([answer.row]))
            image = overlay(picture_of(values), one.values)
            image.thumbnail((PAGE_SIZE, PAGE_SIZE))
            about = f"row {answer.row}: what made the score of {of_class}; {how}"
            about += f"; {escape(one.warning)}" if one.warning else ""
            yield f'<img src="{data_uri(image)}" alt="{about}">'
            yield f"<figcaption>{caption}<br>{_LEGEND[one.method]}</figcaption>"
        yield "</figure>"
