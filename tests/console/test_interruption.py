"""Killed at every change of files or of the database: the same command completes it.

Python reports such changes to an audit hook before they are made, so a child process can end there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from nnabla_influence.console.installation import Installation
from nnabla_influence.console.places import Place, recognise
from tests.console.consoles import (
    COPY,
    IMAGE,
    IMAGE_ID,
    TABLE_ID,
    XAI,
    install,
    nncd_home,
    release,
    state,
    table,
    tree,
    windows_nnc,
)

pytestmark = pytest.mark.slow

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile"}
_KILLED = 9


def killed(work: Callable[[], object], at: int) -> bool:
    """Do something in a child process that ends at its n-th change; return whether it had one."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, _KILLED)
        return code == _KILLED
    seen = 0

    def meet() -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            os._exit(_KILLED)

    def watch(event: str, arguments: tuple) -> None:
        written = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
        if event in _CHANGES or written:
            meet()

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *more):  # type: ignore[override]
            if not statement.startswith(("SELECT", "PRAGMA")):
                meet()
            return super().execute(statement, *more)

    connect = sqlite3.connect
    try:
        sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)
        sys.addaudithook(watch)
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(2)


def menu_is_right(place: Place) -> None:
    """No row of ours names a missing script."""
    for id_, found in table(place.database).items() if place.database else ():
        assert id_ not in (IMAGE_ID, TABLE_ID) or Path(str(found["plugin_file"])).is_file()


def contents(place: Place) -> object:
    """Return the plugins' files and rows, without the manifest."""
    files = tree(place.root)
    kept = {name: text for name, text in files.items() if not name.startswith(place.state.name)}
    rows = place.database and [row["plugin_file"] for row in table(place.database).values()]
    return kept, rows


@pytest.mark.parametrize("layout", ["windows", "desktop"])
@pytest.mark.parametrize("kind", ["install", "upgrade", "uninstall"])
def test_killed_at_any_change(tmp_path, layout: str, kind: str):
    """The same command completes it; and an uninstallation leaves what was there before."""
    old = release(tmp_path / "source", "1.0", nnabla_influence__gone="")
    new = release(tmp_path / "source", "2.0", nnabla_influence__later="")
    pristine, folder = tmp_path / "pristine", tmp_path / "console"
    console = (windows_nnc if layout == "windows" else nncd_home)(pristine)
    if layout == "windows":
        shutil.rmtree(console / XAI / "_Table")  # it is made, and removed again

    def fresh() -> Place:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pristine, folder)
        place = recognise(folder)
        if kind != "install":
            install(place, old)
        return place

    def work() -> Installation:
        return Installation(recognise(folder), new, remove=kind == "uninstall")

    def everything() -> object:
        return state(place.database) if place.database else tree(folder)

    shutil.copytree(pristine, folder)
    place = recognise(folder)
    before = everything()
    place = fresh()
    work().apply()
    wanted = contents(place)
    at = 1
    while True:
        place = fresh()
        if not killed(lambda: work().apply(), at):
            break
        menu_is_right(place)
        if kind != "upgrade":  # whose package is away between two renames
            assert (place.root / COPY).is_dir() or not (place.root / IMAGE).exists()
        if at % 2 or kind == "uninstall":
            again = work()
            assert again.is_done or again.apply()
            assert work().is_done
            assert contents(place) == wanted, at
        removal = Installation(place, new, remove=True)
        assert removal.is_done or removal.apply()
        assert everything() == before, at
        at += 1
    assert at > 15
