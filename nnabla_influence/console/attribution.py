"""The plugins that show which parts of an evaluated row speak for a class: Grad-CAM and LIME."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.arguments import path_or_auto, row_numbers
from nnabla_influence.console.dialog import Dialog, run_plugin, say
from nnabla_influence.console.evaluated_row import add_row_fields, evaluated_row
from nnabla_influence.options import ATTRIBUTION_NAMES, AttributionOptions

if TYPE_CHECKING:
    from nnabla_influence.console.desktop import Result
    from nnabla_influence.console.explained import Explained
    from nnabla_influence.files import PathLike

_PAPERS = {
    "gradcam": """\
"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
  Ramprasaath R. Selvaraju, Michael Cogswell, Abhishek Das, Ramakrishna Vedantam, Devi Parikh,
  Dhruv Batra (2017)
""",
    "lime": """\
"Why Should I Trust You?": Explaining the Predictions of Any Classifier
  Marco Tulio Ribeiro, Sameer Singh, Carlos Guestrin (2016)
""",
}
_LARGE = 256
"""The side of a picture in Windows NNC."""
_AT_ONCE = 64


def build_parser(label: str, method: str, *, of_table: bool = False) -> Dialog:
    """Return the plugin's parser."""
    what = "features" if of_table else "parts of a picture"
    side = "for" if method == "gradcam" else "for, and against,"
    parser = Dialog(
        label,
        f"Shows which {what} speak {side} the given and the predicted class of one\n"
        "evaluated row.\n\n" + _PAPERS[method],
    )
    add = parser.add_field
    parser.add_model()
    add_row_fields(parser, of_table=of_table)
    text = "classes, such as 3,7, if not the given and the predicted one"
    add("-c --classes", text, "text", parse=_classes)
    if method == "gradcam":
        text = "name of the layer, auto for what the last convolution leads to"
        add("-l --layer", text, "text", "auto", path_or_auto)
    else:
        add("-n --samples", "number of changed rows that the network is given", "int", 1000, int)
        add("-s --seed", "seed of the changes", "int", 0, int)
    add("-o --output", "picture to write", "image", f"explain_{method}.png")
    parser.add_device()
    parser.add_desktop_options()
    return parser


def main(
    label: str, arguments: Sequence[str] | None = None, *, method: str, of_table: bool = False
) -> None:
    """Run the plugin as `run_plugin` does."""

    def work(parsed: argparse.Namespace, result: Result | None) -> None:
        _work(parsed, result, method)

    dialog = build_parser(label, method, of_table=of_table)
    run_plugin(ATTRIBUTION_NAMES[method], dialog, work, arguments)


def _classes(text: str) -> list[int] | None:
    return None if text.strip().lower() == "auto" else row_numbers(text)


def _work(parsed: argparse.Namespace, result: Result | None, method: str) -> None:
    from nnabla_influence.console.strip import side_by_side, written
    from nnabla_influence.files import check_output, replacing_file
    from nnabla_influence.review.thumbnails import png_bytes

    path, row = evaluated_row(parsed, result)
    if result is None:
        read = [parsed.model, path, getattr(parsed, "image", None)]
        check_output(parsed.output, read, _is_png, "a PNG picture")
    explained = _attribute(parsed, path, row, method)
    lines = explained.lines()
    for line in lines:
        say(line)
    if result is not None:
        # The log is hidden once there is an image.
        said = [part for line in lines for part in textwrap.wrap(line, 60)]
        result.show(side_by_side([*explained.tiles(), written(said)]))
        return
    with replacing_file(parsed.output) as temporary:
        temporary.write_bytes(png_bytes(side_by_side(explained.tiles(_LARGE))))
    say(f"The picture is {Path(parsed.output).absolute()}")


def _is_png(path: PathLike) -> bool:
    return Path(path).read_bytes().startswith(b"\x89PNG")


def _attribute(parsed: argparse.Namespace, path: Path, row: int, method: str) -> Explained:
    from nnabla_influence.console.explained import Explained
    from nnabla_influence.definition import (
        Mode,
        build_objective,
        find_label,
        load_definition,
        validation_definition,
    )
    from nnabla_influence.device import choose_device
    from nnabla_influence.engine import build_engine
    from nnabla_influence.explanation.attribution import attribute, n_classes
    from nnabla_influence.explanation.explanation import class_names
    from nnabla_influence.influence.relabelling import evaluated_classes
    from nnabla_influence.progress import ConsoleProgress
    from nnabla_influence.scoring.inputs import chosen_rows, open_validation

    options = AttributionOptions(
        method,
        layer=getattr(parsed, "layer", None),
        samples=getattr(parsed, "samples", AttributionOptions.samples),
        seed=getattr(parsed, "seed", AttributionOptions.seed),
    )
    progress = ConsoleProgress()
    device = choose_device(parsed.device)
    definition = load_definition(parsed.model)
    dataset = open_validation(definition, path, progress)
    rows = chosen_rows([row], dataset)
    objective = build_objective(
        validation_definition(definition),
        _AT_ONCE,
        device.context,
        definition.parameters,
        Mode.TEST,
    )
    n_classes(objective)  # refuses a network that predicts no class
    engine = build_engine(objective, device.context)
    predicted = engine.outputs(dataset.batch(rows)).predictions
    label = find_label(objective.definition)
    assert predicted is not None
    assert label is not None
    given = evaluated_classes(dataset, label, rows)
    classes = parsed.classes or [int(given[0]), int(predicted[0])]
    (found,) = attribute(engine, device.context, dataset, rows, [classes], options, progress)
    names = class_names(label.column, dataset)
    return Explained(dataset, label.column, names, row, int(given[0]), float(predicted[0]), found)
