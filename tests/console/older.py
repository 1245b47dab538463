"""An installation as nnabla-influence 0.1.0 made it, with its manifest of format 1."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from pathlib import PurePosixPath

from nnabla_influence.console.places import Place
from nnabla_influence.console.release import Release, payload
from nnabla_influence.files import file_hash
from tests.console.consoles import insert, row, table


def copy_by_hand(place: Place, what: Release) -> None:
    """Copy the plugins as users did without an installer."""
    for name, path in payload(what, place).items():
        (place.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place.root / name)


def install_0_1_0(place: Place, what: Release, removed: Collection[str] = ()) -> None:
    """Install; files that stand there go into backups, also those that are only removed."""
    content: dict = {"format": 1, "version": what.version, "complete": True}
    files = content["files"] = {}
    folders = content["folders"] = []
    replaced = content["replaced"] = {}
    place.state.mkdir(parents=True)
    new = payload(what, place)
    for name in (*new, *removed):
        path = place.root / name
        if path.exists():
            backup = place.state / "backup" / f"{name}.backup"
            backup.parent.mkdir(parents=True, exist_ok=True)
            replaced[name] = file_hash(path)
            os.replace(path, backup)
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if not (place.root / parent).exists():
                (place.root / parent).mkdir()
                folders.append(str(parent))
        if name in new:
            shutil.copyfile(new[name], path)
        files[name] = [file_hash(path)] if name in new else []
    content["rows"] = _register(place, what) if place.database else {}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (place.state / "manifest.json").write_text(text, encoding="utf-8")


def _register(place: Place, what: Release) -> dict[str, dict[str, object] | None]:
    """Write the rows; return those that were there before."""
    assert place.database is not None
    (place.state / "nncd.db.backup").touch()
    present = table(place.database)
    ids = [plugin.id for plugin in what.registered]
    for plugin in what.registered:
        path = os.fspath(place.root / plugin.script_name)
        insert(place.database, row(plugin.id, plugin.name, path))
    return {id_: present.get(id_) for id_ in ids}
