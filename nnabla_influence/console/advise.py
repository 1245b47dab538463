"""The plugin "Advise": which rows of the training dataset to remove or relabel, or none."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.console.dialog import Dialog, choice, run_plugin, say

if TYPE_CHECKING:
    from nnabla_influence.advice import Advice
    from nnabla_influence.console.desktop import Result

NAME = "Advise"
FOLDER = "report"
"""Where the advice lies beside what the Console shows; in Windows NNC behind the output's name."""

_FEW = 3
"""Trainings and retrainings: fewer than the command's, since somebody waits for the Console."""


def build_parser(label: str) -> Dialog:
    """Return the plugin's parser."""
    parser = Dialog(
        label,
        "Says which rows of the training dataset to remove or to relabel, or that none is worth\n"
        "it. It trains again, dozens of times: the log says at the start how long that takes.\n",
    )
    add = parser.add_field
    parser.add_model()
    parser.add_datasets("advise on")
    add("-o --output", "ranking to write; the advice lies beside it", "csv", "advice.csv")
    add("-k --trainings", "number of trainings that rank the rows, from 2", "int", _FEW, int)
    text = "number of trainings that confirm a change, from 2"
    add("-r --retrainings", text, "int", _FEW, int)
    text = "what of the validation rows the ranking is to improve"
    add("-g --target", text, "option:q-loss,loss,error,margin", "q-loss")
    parser.add_device()
    parser.add_desktop_options()
    return parser


def main(label: str, arguments: Sequence[str] | None = None) -> None:
    """Run the plugin as `run_plugin` does."""
    run_plugin(NAME, build_parser(label), _work, arguments)


def _work(parsed: argparse.Namespace, result: Result | None) -> None:
    if result is not None:
        _work_for_desktop(parsed, result)
        return
    output = Path(parsed.output)
    # The Console's user does not see its working folder.
    folder = output.with_name(f"{output.stem}-{FOLDER}").absolute()
    advice = _advise(parsed, folder, output)
    advice.ranking.write(output)
    _report(advice, folder)


def _work_for_desktop(parsed: argparse.Namespace, result: Result) -> None:
    from nnabla_influence.advice.report import MARK, RANKING
    from nnabla_influence.console.dataset_page import DatasetEntry
    from nnabla_influence.console.strip import changed_rows, strip
    from nnabla_influence.review.reviewed import read_reviewed

    entry = DatasetEntry(result, choice(parsed.import_dataset, "yes", "no") == "yes")
    folder = result.sidecar(FOLDER)
    entry.remove_copies(folder)  # an advice's folder that holds anything else is not replaced
    advice = _advise(parsed, folder)
    entry.write_copy(folder / RANKING, folder)
    _report(advice, folder)
    reviewed = read_reviewed(folder / RANKING, label_column=advice.label_column)
    relabelled = {row: str(label) for row, label in advice.relabelled.items()}
    rows = changed_rows(reviewed, {*advice.removed.tolist(), *relabelled})
    heading = [*_heading(advice), *entry.add(folder), f"Page: {folder.name}/{MARK}"]
    # The log, which names the folder, is hidden once there is an image.
    closing = f"The advice, for a browser: {folder / MARK}"
    result.show(strip(heading, reviewed, rows, relabelled, closing))


def _advise(parsed: argparse.Namespace, folder: Path, output: Path | None = None) -> Advice:
    from nnabla_influence.advice import advise
    from nnabla_influence.definition import load_definition
    from nnabla_influence.files import check_output
    from nnabla_influence.options import AdviceOptions
    from nnabla_influence.progress import ConsoleProgress
    from nnabla_influence.ranking import is_ranking
    from nnabla_influence.scoring.inputs import training_csv, validation_csv

    options = AdviceOptions(
        trainings=parsed.trainings,
        retrainings=parsed.retrainings,
        target=parsed.target.strip().lower(),
    )
    definition = load_definition(parsed.model)
    train = training_csv(definition, parsed.input_train)
    validation = validation_csv(definition, parsed.input_val)
    if output is not None:
        check_output(output, [parsed.model, train, validation], is_ranking, "a ranking")
    return advise(
        parsed.model,
        train=train,
        validation=validation,
        output=folder,
        options=options,
        device=parsed.device,
        progress=ConsoleProgress(),
    )


def _report(advice: Advice, folder: Path) -> None:
    from nnabla_influence.advice.report import MARK, PAGE

    for line in advice.lines():
        say(line)
    say(f"To read this again, open {folder / MARK} in a browser")
    if not advice.is_none:
        say(f"To review the rows, open {folder / PAGE} in a browser")
        say(f"To apply the advice as it is, run Cleanse dataset with the advice {folder}")


def _heading(advice: Advice) -> list[str]:
    """Return the advice in a few short lines, for the image that NNCD shows."""
    if advice.is_none or advice.gain is None:
        return ["Nothing is worth changing:", f"keep all {len(advice.ranking)} rows."]
    return [
        f"Of {len(advice.ranking)} rows:",
        f"{len(advice.removed)} to remove, {len(advice.relabelled)} to relabel.",
        f"{'Accuracy' if advice.is_accuracy else 'Loss'}: {advice.amount(advice.gain.mean)}",
    ]
