"""Cut off at every step: killed, interrupted, or refused by the disk.

Python tells an audit hook whatever changes files before it is done, so each of those moments can be
met in a child process that ends there.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.installation import Installing, Place, Uninstalling, recognise
from nnabla_influence.installation.payload import Source
from tests.installation.consoles import (
    IMAGE_ID,
    TABLE_ID,
    dump,
    insert,
    nncd_home,
    row,
    source,
    table,
    tree,
    windows_nnc,
)

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile"}
_KILLED = 9
_ENDED = 0
_CONSOLES = pytest.mark.parametrize("layout", ["windows", "desktop"])


def laid_out(folder: Path, layout: str, by_hand: Source) -> Place:
    """Make a Console with something that has to be backed up."""
    if layout == "windows":
        plugins = windows_nnc(folder)
        for path in (by_hand.plugins / "_Post_Process").rglob("*.py"):
            shutil.copy2(path, plugins / path.relative_to(by_hand.plugins))
        return recognise(plugins)
    database = nncd_home(folder)
    script = folder / "by_hand.py"
    script.touch()
    insert(database, row(IMAGE_ID, "by hand", str(script)))
    return recognise(folder)


def state(folder: Path, place: Place) -> object:
    return tree(folder), place.database and dump(place.database)


def in_child(work: Callable[[], object], fail_at: int, failure: Callable[[], None]) -> int:
    """Do something in a child process; at its n-th change of files call ``failure``.

    Returns:
        The child's exit code: `_ENDED` if it has fewer changes and did it all.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = 0

    def meet() -> None:
        nonlocal seen
        seen += 1
        if seen == fail_at:
            failure()

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
        os._exit(_ENDED if seen < fail_at else 1)
    except BaseException:
        traceback.print_exc()
        os._exit(2)


def die() -> None:
    os._exit(_KILLED)


@pytest.fixture
def sources(tmp_path) -> tuple[Source, Source]:
    folder = tmp_path / "source"
    return source(folder, "0.9"), source(folder, "1.0", nnabla_influence__later="")


def menu_is_right(place: Place) -> None:
    """Never a row of ours whose file is missing."""
    if place.database is not None:
        for id_, told in table(place.database).items():
            if id_ in (IMAGE_ID, TABLE_ID):
                script = Path(str(told["plugin_file"]))
                assert script.is_file()
                if script.parent == place.root:
                    assert (place.root / "nnabla_influence" / "inner" / "part.py").is_file()


@_CONSOLES
def test_killed_at_any_moment(tmp_path, sources: tuple[Source, Source], layout: str):
    """The installation, its upgrade and its removal; each is finished, or taken away, by the next."""
    old, new = sources
    pristine = tmp_path / "pristine"
    before = state(pristine, laid_out(pristine, layout, old))
    moments = {}
    for name in ("install", "upgrade", "uninstall"):
        for moment in range(1, 1000):
            folder = tmp_path / "console"
            shutil.copytree(pristine, folder)
            place = recognise(folder)
            if name != "install":
                Installing(place, old).do()

            def work(place: Place = place, name: str = name) -> None:
                (Uninstalling(place) if name == "uninstall" else Installing(place, new)).do()

            code = in_child(work, moment, die)
            menu_is_right(place)
            if code != _KILLED:
                assert code == _ENDED
                moments[name] = moment
                shutil.rmtree(folder)
                break
            if moment % 2:
                again = Installing(place, new)
                if not again.is_done:
                    again.do()
                assert Installing(place, new).is_done
                assert "changed" not in " ".join(tree(folder))
            Uninstalling(place).do()
            shutil.copystat(pristine, folder)
            assert state(folder, place) == moved(before, pristine, folder), (name, moment)
            shutil.rmtree(folder)
    assert all(count > 10 for count in moments.values()), moments


def moved(told: object, old: Path, new: Path) -> object:
    """Return a state as it is of a copy of the folder."""
    return told


@_CONSOLES
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_cut_off_at_any_moment(tmp_path, sources, layout: str, failure: type, monkeypatch):
    """Ctrl-C, or a full disk: everything is as it was before, without another try."""
    old, new = sources
    folder = tmp_path / "console"
    place = laid_out(folder, layout, old)

    def fail() -> None:
        raise failure(errno.ENOSPC, "No space left on device", "x")

    for upgrade in (False, True):
        if upgrade:
            Installing(place, old).do()
        before = state(folder, place)

        def attempt(before: object = before) -> None:
            expected = OutputError if failure is OSError else KeyboardInterrupt
            with pytest.raises(expected):
                Installing(place, new).do()
            assert state(folder, place) == before

        # The last steps are behind the point of no return: the new version stands.
        for moment in range(1, 1000):
            if in_child(attempt, moment, fail) != 1:
                break
        assert moment > 20
        work = Installing(place, new)
        assert work.is_done or work.do()
        Uninstalling(place).do()
