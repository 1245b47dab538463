"""The scripts of the plugins, and how the Console runs them."""

from __future__ import annotations

import csv
import logging
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.small_projects import REPOSITORY, environment

SCRIPTS = sorted((REPOSITORY / "plugins").glob("_*/_*/*.py")) + sorted(
    (REPOSITORY / "plugins").glob("_*/_*/*/*.py")
)
XAI = REPOSITORY / "plugins" / "_Post_Process" / "_XAI"
IMAGE = XAI / "_Image" / "nnabla_sgd_influence.py"
TABLE = XAI / "_Table" / "nnabla_sgd_influence_tabular.py"
ADVISE = XAI / "_Image" / "nnabla_advise.py"
ADVISE_TABLE = XAI / "_Table" / "nnabla_advise_tabular.py"
CLEANSE = XAI / "_Image" / "nnabla_cleanse_dataset.py"
CLEANSE_TABLE = XAI / "_Table" / "nnabla_cleanse_dataset_tabular.py"
EXPLAIN = XAI / "_Image" / "nnabla_explain.py"
EXPLAIN_TABLE = XAI / "_Table" / "nnabla_explain_tabular.py"
GRADCAM = XAI / "_Image" / "nnabla_explain_gradcam.py"
LIME = XAI / "_Image" / "nnabla_explain_lime.py"
LIME_TABLE = XAI / "_Table" / "nnabla_explain_lime_tabular.py"


def run(script: Path, *arguments: object, python: tuple[str, ...] = (), **more):
    """Run a script as the Console does."""
    return subprocess.run(
        [sys.executable, *python, str(script), *map(str, arguments)],
        **{
            "env": environment(PYTHONPATH=str(REPOSITORY), PYTHONUTF8="1"),
            "capture_output": True,
            "check": False,
            **more,
        },
    )


def lines_of(text: bytes) -> list[str]:
    """Return what the Console shows: the lines of level 99."""
    marked = [line for line in text.decode("utf-8").splitlines() if "[Level 99]: " in line]
    return [line.split("[Level 99]: ", 1)[1] for line in marked]


def in_process(main: Callable, caplog, *arguments: object) -> tuple[int, list[str]]:
    """Run a plugin in this process; return exit code and the Console's lines."""
    caplog.clear()
    code = 0
    with caplog.at_level(logging.INFO, logger="nnabla"):
        try:
            main("A label", [str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
    return code, [record.getMessage() for record in caplog.records if record.levelno == 99]


def make_model(net: Path, model: Path | None = None) -> Path:
    """Pack a definition and its parameters as the Console does."""
    model = model or net.parent / "results.nnp"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.write(net, "net.nntxt")
        archive.write(net.parent / "net.h5", "parameter.h5")
    return model


def scores_in(path: Path) -> dict[int, float]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {
            int(row["datasource_index"]): float(row["influence"]) for row in csv.DictReader(file)
        }


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}
