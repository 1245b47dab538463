"""The plugins that show which parts of an evaluated row speak for a class: Grad-CAM and LIME."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.arguments import row_numbers
from nnabla_influence.console.dialog import Dialog, run_plugin, say
from nnabla_influence.console.evaluated_row import add_row_fields, evaluated_row

if TYPE_CHECKING:
    from PIL import Image

    from nnabla_influence.console.desktop import Result
    from nnabla_influence.dataset import Dataset
    from nnabla_influence.explanation.attribution import Attribution

GRADCAM, LIME = "gradcam", "lime"
NAMES = {GRADCAM: "Grad-CAM", LIME: "LIME"}

_PAPERS = {
    GRADCAM: """\
"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
  Ramprasaath R. Selvaraju, Michael Cogswell, Abhishek Das, Ramakrishna Vedantam, Devi Parikh,
  Dhruv Batra (2017)
""",
    LIME: """\
"Why Should I Trust You?": Explaining the Predictions of Any Classifier
  Marco Tulio Ribeiro, Sameer Singh, Carlos Guestrin (2016)
""",
}
_LARGE = 256
"""The side of a picture in Windows NNC."""
_FEATURES = 5


def build_parser(label: str, method: str, *, of_table: bool = False) -> Dialog:
    """Return the plugin's parser."""
    what = "features" if of_table else "parts of a picture"
    parser = Dialog(
        label,
        f"Shows which {what} speak for, and against, the given and the predicted class of one\n"
        "evaluated row.\n\n" + _PAPERS[method],
    )
    add = parser.add_field
    parser.add_model()
    add_row_fields(parser, of_table=of_table)
    text = "classes, such as 3,7, if not the given and the predicted one"
    add("-c --classes", text, "text", parse=_classes)
    if method == GRADCAM:
        text = "name of the layer, auto for what the last convolution leads to"
        add("-l --layer", text, "text", "auto")
    else:
        add("-n --samples", "number of changed rows that the network is given", "int", 1000, int)
        add("-s --seed", "seed of the changes", "int", 0, int)
    add("-o --output", "picture to write", "image", f"explain_{method}.png")
    parser.add_device()
    parser.add_desktop_options()
    return parser
