"""Every plugin's help text, from which the Console builds its dialog."""

from __future__ import annotations

import argparse
import ast
import re
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from nnabla_influence.console import advise, attribution, cleanse_dataset, explain, sgd_influence
from tests.console.scripts import (
    ADVISE,
    ADVISE_TABLE,
    CLEANSE,
    CLEANSE_TABLE,
    EXPLAIN,
    EXPLAIN_TABLE,
    GRADCAM,
    IMAGE,
    LIME,
    LIME_TABLE,
    SCRIPTS,
    TABLE,
    run,
)
from tests.small_projects import REPOSITORY

LABELS = {
    IMAGE: "SGD Influence",
    TABLE: "SGD Influence (tabular)",
    ADVISE: "Advise",
    ADVISE_TABLE: "Advise (tabular)",
    CLEANSE: "Cleanse dataset",
    CLEANSE_TABLE: "Cleanse dataset (tabular)",
    EXPLAIN: "Explain",
    EXPLAIN_TABLE: "Explain (tabular)",
    GRADCAM: "Explain by Grad-CAM",
    LIME: "Explain by LIME",
    LIME_TABLE: "Explain by LIME (tabular)",
}
PARSERS = {
    **dict.fromkeys((IMAGE, TABLE), sgd_influence.build_parser),
    **dict.fromkeys((ADVISE, ADVISE_TABLE), advise.build_parser),
    **dict.fromkeys((CLEANSE, CLEANSE_TABLE), cleanse_dataset.build_parser),
    EXPLAIN: explain.build_parser,
    EXPLAIN_TABLE: partial(explain.build_parser, of_table=True),
    GRADCAM: partial(attribution.build_parser, method="gradcam"),
    LIME: partial(attribution.build_parser, method="lime"),
    LIME_TABLE: partial(attribution.build_parser, method="lime", of_table=True),
}
PICTURES = (GRADCAM, LIME, LIME_TABLE)
TYPES = "csv|int|float|text|bool|variable|variables|dir|model|image|file|nntxt|option:[^()]+"

every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


@dataclass(frozen=True)
class Option:
    """One option of the dialog, as the Console can tell it from the help text."""

    short: str
    long: str
    text: str
    type: str
    default: str | None


def dialog(help_text: str) -> dict[str, Option]:
    """Read a plugin's options from its help text alone, by their long names, in order."""
    options = re.split(r"\n(?=  -)", help_text.split("\noptions:\n")[1].rstrip("\n"))
    found = {}
    for option in options:
        match = re.fullmatch(
            rf"\s*(-\w+) \w+, (--[\w-]+) \w+\s+([^\n()]+) \(({TYPES})\)(?: default=(\S+))?", option
        )
        if "--help" not in option:
            assert match is not None, option
            found[match.group(2)] = Option(*match.groups())
    return found


@cache
def help_of(script: Path) -> tuple[str, set[str]]:
    """Return a script's help text and the modules that it imported for it."""
    shown = run(script, "-h", python=("-X", "importtime"), check=True)
    lines = shown.stderr.decode("utf-8").splitlines()
    return shown.stdout.decode("utf-8"), {line.split("|")[-1].strip() for line in lines}


def test_every_script_has_its_place_in_the_menu():
    assert set(SCRIPTS) == set(LABELS)
    for script in SCRIPTS:
        folders = script.relative_to(REPOSITORY / "plugins").parts[:-1]
        assert all(folder.startswith("_") for folder in folders)


@every_script
def test_the_help_text_is_a_dialog(script: Path):
    usage, description = help_of(script)[0].split("\n\n")[:2]
    assert usage.startswith("usage: ")
    assert description.splitlines()[0] == LABELS[script]
    options = dialog(help_of(script)[0])
    assert options["--output"].short == "-o"
    assert options["--output"].type == "image" if script in PICTURES else "csv"
    # What NNCD alone passes is no field of this dialog.
    assert not {"--console", "--import-dataset", "--rows"} & set(options)


@pytest.mark.parametrize("script", [IMAGE, TABLE])
def test_names_and_order_of_the_scores_options_are_sonys(script: Path):
    text = help_of(script)[0]
    assert "https://arxiv.org/abs/2103.11807" in text
    options = dialog(text)
    first = list(options.values())[:6]
    assert {option.short: option.long for option in first} == {
        "-m": "--model",
        "-bs": "--batch_size",
        "-t": "--input-train",
        "-v": "--input-val",
        "-o": "--output",
        "-nt": "--n_trials",
    }
    assert [option.short for option in first] == ["-m", "-bs", "-t", "-v", "-o", "-nt"]
    assert options["--model"].type == "model"
    assert options["--input-train"].type == "csv"
    assert options["--run"].type == "dir"
    assert options["--device"].type == "option:auto,cpu,cuda"


@every_script
def test_defaults_in_the_help_text_are_the_defaults(script: Path):
    actions = {
        action.option_strings[-1]: action
        for action in PARSERS[script](LABELS[script])._actions
        if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS
    }
    options = dialog(help_of(script)[0])
    assert list(options) == list(actions)
    for option in options.values():
        action = actions[option.long]
        assert action.nargs is None  # every option takes one value
        assert action.choices is None
        assert not action.required
        assert option.default == (None if action.default is None else str(action.default))
        assert (option.type == "int") == (action.type is int)
        if option.type.startswith("option:"):
            assert option.default in option.type.partition(":")[2].split(",")


@every_script
def test_help_is_quick_and_needs_no_recent_python(script: Path):
    """What it imports is pure Python of ours; all of that is Python 3.8's, as the Console's is."""
    imported = help_of(script)[1]
    assert not imported & {"nnabla", "numpy", "tqdm", "h5py", "PIL"}
    ours = sorted(name for name in imported if name.split(".")[0] == "nnabla_influence")
    assert "nnabla_influence.console.dialog" in ours
    paths = [(REPOSITORY / name.replace(".", "/")) for name in ours]
    files = [path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for path in paths]
    for path in [script, *files]:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
