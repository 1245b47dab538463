"""Imports go one way: up the table of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nnabla_influence

PACKAGE = Path(nnabla_influence.__file__).parent
TABLE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
# The modules of the table's first column, from the first line to the last.
MODULES = [
    name.removesuffix(".py").rstrip("/")
    for line in TABLE.split("## Packages")[1].split("\n\n")[2].splitlines()[2:]
    for name in re.findall(r"`([^`]+)`", line.split("|")[1])
]
MODULES.append("__main__")


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The modules that a file imports, inside functions too."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "nnabla_influence":
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "nnabla_influence."
        ):
            modules.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            modules.update(n[1] for n in names if n[0] == "nnabla_influence" and len(n) > 1)
    return {module for module in modules if not module.startswith("__version")}


def test_every_module_has_its_place():
    assert {module_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} == set(MODULES)


def test_a_module_imports_only_from_those_above_it():
    downward = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in PACKAGE.rglob("*.py")
        if module_of(path) != "__init__"
        for module in imported(path)
        if module != module_of(path) and MODULES.index(module) > MODULES.index(module_of(path))
    ]
    assert downward == []


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
