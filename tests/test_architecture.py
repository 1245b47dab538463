"""Imports go one way: down the floors of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nnabla_influence

PACKAGE = Path(nnabla_influence.__file__).parent
ROOMS = [
    *("errors", "text", "files", "file_safety", "hdf5"),
    *("options", "progress", "device", "quick_imports", "resources", "lifeline"),
    "execution",
    *("dataset", "definition", "solvers"),
    *("engine", "runs"),
    *("nnabla_cli_callback", "nnabla_cli", "influence"),
    "ranking",
    *("scoring", "cleansing", "retraining", "review"),
    *("arguments", "process", "report"),
    *("console", "commands"),
    "__main__",
]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "nnabla_influence":
            rooms.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "nnabla_influence."
        ):
            rooms.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            rooms.update(n[1] for n in names if n[0] == "nnabla_influence" and len(n) > 1)
    return {room for room in rooms if not room.startswith("__version")}


def test_every_room_has_its_place():
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} == set(ROOMS)


def test_a_room_imports_only_from_those_below_it():
    upward = [
        f"{path.relative_to(PACKAGE)} imports {room}"
        for path in PACKAGE.rglob("*.py")
        if room_of(path) != "__init__"
        for room in imported(path)
        if room != room_of(path) and ROOMS.index(room) > ROOMS.index(room_of(path))
    ]
    assert upward == []


def test_whatever_is_shown_goes_through_the_few_functions_that_make_it_printable():
    shows = {"process.py", "progress.py", "commands/main.py", "console/dialog.py"}
    shows.add("runs/nnabla_cli_recorder.py")  # in a process of nnabla_cli
    others = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node.func)}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).as_posix() not in shows
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and re.fullmatch(
            r"print|logger\.(log|info|warning|error|critical|exception)|tqdm\.write|.*print_exc",
            ast.unparse(node.func),
        )
    ]
    assert others == []
