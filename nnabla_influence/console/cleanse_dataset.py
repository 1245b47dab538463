"""The plugin "Cleanse dataset": a training dataset without harmful rows."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnabla_influence.arguments import count_or_fraction
from nnabla_influence.console.advise import FOLDER as ADVICE_FOLDER
from nnabla_influence.console.dialog import Dialog, choice, run_plugin, say
from nnabla_influence.console.explain import FOLDER as EXPLANATION_FOLDER
from nnabla_influence.console.explain import RANKING as EXPLANATION
from nnabla_influence.console.registration import DESKTOP_PLUGINS
from nnabla_influence.console.sgd_influence import FOLDER as RANKING_FOLDER
from nnabla_influence.console.sgd_influence import RANKING
from nnabla_influence.errors import InfluenceError

if TYPE_CHECKING:
    from nnabla_influence.cleansing import Cleansed
    from nnabla_influence.console.desktop import Result

NAME = "Cleanse dataset"
FOLDER = "dataset"
"""Where the dataset lies beside the image that NNCD shows."""

HARMFUL = "harmful"
_CLASSES = 2
# The values of NNCD's dialog that stand for an empty field, which it does not allow.
_EMPTY = {"decisions": "none", "advice": "none", "label_column": "auto"}
_LATEST = "latest"


def build_parser(label: str) -> Dialog:
    """Return the plugin's parser."""
    parser = Dialog(
        label,
        "Writes a copy of the training dataset with harmful rows removed or relabelled, and a\n"
        "list of the changes: by a ranking of SGD Influence, by your own decisions, or as\n"
        "Advise says.\n",
    )
    add = parser.add_field
    add("-i --ranking", "ranking that SGD Influence wrote", "csv", RANKING)
    add(
        "-n --remove",
        "rows to remove, the most harmful first: a number such as 100, a fraction such as 0.05, or"
        " harmful for every harmful row",
        "text",
        "0.05",
        _amount,
    )
    text = "your decisions for single rows, which replace the number of rows to remove"
    add("-d --decisions", text, "csv")
    text = "folder that Advise wrote, for its ranking, and its decisions if you give none"
    add("-ad --advice", text, "dir")
    text = "training dataset to copy, against which the ranking is checked"
    add("-t --input-train", text, "csv")
    add("-o --output", "dataset to write", "csv", "cleansed.csv")
    add("-l --label-column", "column of the labels, if not y", "variable")
    text = "allow that every row of a class is removed"
    add("-a --allow-empty-class", text, "option:no,yes", "no")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_desktop_options()
    return parser


def main(label: str, arguments: Sequence[str] | None = None) -> None:
    """Run the plugin as `run_plugin` does."""
    run_plugin(NAME, build_parser(label), _work, arguments)


def _amount(text: str) -> int | float | str:
    word = text.strip().lower()
    if word == HARMFUL:
        return word
    try:
        return count_or_fraction(word)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor {HARMFUL}") from None


def _work(parsed: argparse.Namespace, result: Result | None) -> None:
    if result is not None:
        _work_for_desktop(parsed, result)
        return
    for line in _lines(_cleanse(parsed, parsed.output)):
        say(line)


def _work_for_desktop(parsed: argparse.Namespace, result: Result) -> None:
    from nnabla_influence.console.dataset_page import DatasetEntry

    for name, word in _EMPTY.items():
        if (getattr(parsed, name) or word).strip().lower() == word:
            setattr(parsed, name, None)
    for name in ("ranking", "decisions", "advice"):
        if getattr(parsed, name):  # Windows copies a path with quotes around it.
            setattr(parsed, name, getattr(parsed, name).strip().strip('"'))
    if parsed.advice is None and parsed.ranking.lower() == _LATEST:
        parsed.ranking = _newest(result, parsed.decisions)
    elif parsed.advice is not None and parsed.advice.lower() == _LATEST:
        parsed.advice = _newest(result, of_advice=True).parent
    parsed.input_train = _training_csv(parsed.model)
    entry = DatasetEntry(result, choice(parsed.import_dataset, "yes", "no") == "yes")
    file_name = f"{result.name}.csv"
    with result.files(FOLDER) as staged:
        cleansed = _cleanse(parsed, staged / file_name)
        entry.write_copy(staged / file_name, staged)
    folder = result.sidecar(FOLDER)
    for line in _lines(cleansed):
        say(line.replace(str(cleansed.output.parent), str(folder)))
    _show(parsed, result, cleansed, entry.add(folder))


def _cleanse(parsed: argparse.Namespace, output: str | Path) -> Cleansed:
    from nnabla_influence.cleansing import cleanse
    from nnabla_influence.cleansing.decisions import ADVICE

    chosen: dict[str, Any] = {"n": parsed.remove}
    if parsed.advice is not None:
        ranking, decisions = (Path(parsed.advice) / name for name in ADVICE)
        parsed.ranking, parsed.decisions = ranking, parsed.decisions or decisions
    if parsed.decisions is not None:
        chosen = {"decisions": parsed.decisions}
    elif parsed.remove == HARMFUL:
        chosen = {"below": 0.0}
    return cleanse(
        parsed.ranking,
        output=output,
        train=parsed.input_train,
        label_column=parsed.label_column,
        allow_empty_class=choice(parsed.allow_empty_class, "no", "yes") == "yes",
        **chosen,
    )


def _lines(cleansed: Cleansed) -> Iterator[str]:
    """Yield what was done, with this dialog's words for the command's options."""
    for line in cleansed.summary():
        yield line.replace("--below 0", f"--remove {HARMFUL}")


def _newest(result: Result, decisions: str | None = None, *, of_advice: bool = False) -> Path:
    """Return the job's newest ranking, of any plugin or of Advise.

    That of *Explain*, by one evaluated row, counts only for the decisions that are about it.
    """
    from nnabla_influence.cleansing.decisions import decided_rankings, ranking_id

    found = _rankings(result, ("advise",) if of_advice else ("advise", "sgd_influence"))
    if decisions is not None:
        ids = decided_rankings(decisions)
        every = [*found, *_rankings(result, ("explain",))]
        found = [path for path in every if ranking_id(path) in ids] or found
    if not found:
        raise InfluenceError(
            "this job has no advice yet; run Advise first, or give its folder"
            if of_advice
            else "this job has no ranking yet; run SGD Influence first, or give its path"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    say(f"The newest ranking of this job is {newest.parent.parent.name}: {newest}")
    return newest


def _rankings(result: Result, scripts: Sequence[str]) -> list[Path]:
    """Return the job's rankings by these plugins."""
    folders = (RANKING_FOLDER, ADVICE_FOLDER, EXPLANATION_FOLDER, "files")
    return [
        path
        for plugin in DESKTOP_PLUGINS
        if any(name in plugin.script for name in scripts)
        for name in (RANKING, EXPLANATION)
        for path in (result.folder.parent.parent / plugin.id).glob(f"*/*/{name}")
        if path.parent.name in folders
    ]


def _training_csv(model: str | None) -> Path | None:
    """Return the training CSV that the job's model file names, if it exists."""
    from nnabla_influence.definition import load_definition

    if model is None:
        return None
    training = load_definition(model).training
    if training is None or not training.path.is_file():
        say("The job's training dataset no longer exists; the ranking's cells are used")
        return None
    return training.path


def _show(parsed: argparse.Namespace, result: Result, cleansed: Cleansed, added: list[str]) -> None:
    """Show counts, and the rows that were changed, the most harmful first."""
    from nnabla_influence.console.strip import changed_rows, strip
    from nnabla_influence.review.reviewed import read_reviewed

    reviewed = read_reviewed(parsed.ranking, label_column=parsed.label_column)
    changed = {*cleansed.removed, *cleansed.relabelled}
    rows = changed_rows(reviewed, changed)
    most = sorted((c for c in cleansed.classes if c.removed), key=lambda c: -c.removed)
    losses = [f"Class {c.name} loses {c.removed} of {c.rows}." for c in most]
    if len(losses) > _CLASSES:
        losses[_CLASSES - 1 :] = [f"{len(losses) - _CLASSES + 1} more classes lose rows."]
    heading = [
        f"{len(cleansed.kept)} of {len(cleansed.kept) + len(cleansed.removed)} rows stay.",
        f"{len(cleansed.removed)} removed, {len(cleansed.relabelled)} relabelled.",
        *losses,
        *added,
        f"CSV: {result.sidecar(FOLDER).name}/{result.name}.csv",
    ]
    result.show(strip(heading, reviewed, rows, cleansed.relabelled))
