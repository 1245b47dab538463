"""Cut off at every step: killed, interrupted, or refused by the disk.

Python tells an audit hook whatever changes files before it is done, so each of those moments can be
met in a child process that ends there.
"""

from __future__ import annotations

import contextlib
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
TRIED = 4
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
    """Return all that is there; of the manifest, which may be written again, without its time."""
    told = tree(folder)
    manifest = (place.state / "manifest.json").relative_to(folder).as_posix()
    if manifest in told:
        told[manifest] = (place.state / "manifest.json").read_bytes()
    return told, place.database and dump(place.database)


def in_child(
    work: Callable[[], object],
    fail_at: int,
    failure: Callable[[], None],
    count_to: int | None = None,
) -> int:
    """Do something in a child process; at its n-th change of files call ``failure``.

    Returns:
        The child's exit code: `_ENDED` if it has fewer changes and did it all.
    """
    sys.stdout.flush()
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
        if count_to is not None:
            os.write(count_to, str(seen).encode())
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


def moments_of(work: Callable[[], object], number: int) -> list[int]:
    """Return moments at which to end a piece of work: the first, the last, and some between.

    Its changes are counted in a child, which then ends, so they are made. All moments were tried
    when this was written; the number that a test tries is for its time.
    """
    low, high = 1, 1000
    reader, writer = os.pipe()
    in_child(work, high, die, writer)
    os.close(writer)
    with os.fdopen(reader) as told:
        last = int(told.read())
    assert last > 10
    step = max(1, (last - low) / (number - 1))
    return sorted({round(low + step * i) for i in range(number) if low + step * i <= last} | {last})


def fresh(folder: Path, pristine: Path, *installed: Source) -> Place:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    place = recognise(folder)
    for what in installed:
        Installing(place, what).do()
    return place


@_CONSOLES
@pytest.mark.parametrize("name", ["install", "upgrade", "uninstall"])
def test_killed_at_any_moment(tmp_path, sources: tuple[Source, Source], layout: str, name: str):
    """The next installation finishes it, and the next removal leaves what was there before."""
    old, new = sources
    pristine, folder = tmp_path / "pristine", tmp_path / "console"
    laid_out(pristine, layout, old)
    installed = [] if name == "install" else [old]
    before = state(folder, fresh(folder, pristine))

    def work() -> None:
        place = recognise(folder)
        (Uninstalling(place) if name == "uninstall" else Installing(place, new)).do()

    fresh(folder, pristine, *installed)
    for moment in moments_of(work, TRIED):
        place = fresh(folder, pristine, *installed)
        assert in_child(work, moment, die) == _KILLED
        menu_is_right(place)
        if moment % 2:
            again = Installing(place, new)
            assert again.is_done or again.do()
            assert Installing(place, new).is_done
        removal = Uninstalling(place)
        assert removal.is_done or removal.do()
        assert state(folder, place) == before, moment


@pytest.mark.parametrize("repairs", [True, False])
def test_killed_between_two_backups(
    tmp_path, sources: tuple[Source, Source], monkeypatch, repairs: bool
):
    """What has no backup yet is the user's all the same, as there is one of another file."""
    old, new = sources
    place = laid_out(tmp_path / "console", "windows", old)
    before = state(tmp_path / "console", place)
    copies = []

    def copy(*paths: Path) -> None:
        copies.append(paths)
        if len(copies) > 1:
            die()
        shutil.copyfile(*paths)
        shutil.copystat(*paths)

    work = Installing(place, new)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy2", copy)
        assert in_child(work.do, 0, die) == _KILLED
    assert len(list((place.state / "backup").rglob("*.backup"))) == 1
    if repairs:
        Installing(place, new).do()
    Uninstalling(place, new).do()
    assert state(tmp_path / "console", place) == before


@_CONSOLES
@pytest.mark.parametrize("is_upgrade", [False, True])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_cut_off_at_any_moment(
    tmp_path, sources: tuple[Source, Source], layout: str, failure: type, is_upgrade: bool
):
    """Ctrl-C, or a full disk: all is as it was, or, in the last moments, all is new."""
    old, new = sources
    pristine, folder = tmp_path / "pristine", tmp_path / "console"
    laid_out(pristine, layout, old)
    installed = [old] if is_upgrade else []

    def fail() -> None:
        raise failure(errno.ENOSPC, "No space left on device", "x")

    def work() -> None:
        Installing(recognise(folder), new).do()

    place = fresh(folder, pristine, *installed)
    before = state(folder, place)
    moments = moments_of(work, TRIED)
    files = contents(place)
    backs = 0
    for moment in moments:
        place = fresh(folder, pristine, *installed)
        before = state(folder, place)

        def attempt(before: object = before) -> None:
            expected = OutputError if failure is OSError else KeyboardInterrupt
            with contextlib.suppress(expected):
                work()
            after = recognise(folder)
            if state(folder, after) == before:
                os._exit(3)
            assert contents(after) == files

        code = in_child(attempt, moment, fail)
        assert code in (1, 3), moment
        backs += code == 3
    # What is left for the last moments is tidying up, which a full disk does not stop.
    assert backs >= len(moments) / 2


def contents(place: Place) -> object:
    """Return what a Console sees: the files without those of the state, and its menu."""
    told = tree(place.root)
    kept = {name: value[0] for name, value in told.items() if not name.startswith(place.state.name)}
    rows = place.database and [value["plugin_file"] for value in table(place.database).values()]
    return kept, rows
