"""An installation as nnabla-influence 0.1.0 made it, with its manifest of format 1."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path, PurePosixPath

from nnabla_influence.console.payload import Release, payload
from nnabla_influence.console.places import Place
from nnabla_influence.files import file_hash
from tests.console.consoles import SAMPLE_TENANT, dump, insert, table


def install_0_1_0(place: Place, what: Release) -> None:
    """Lay it out; what stands at its names goes into backups."""
    files: dict[str, list[str]] = {}
    folders: dict[str, None] = {}
    replaced: dict[str, str] = {}
    for name, source in payload(what, place).items():
        path = place.root / name
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if not (place.root / parent).exists():
                folders[str(parent)] = None
        if path.exists():
            replaced[name] = file_hash(path)
            _keep(place, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        files[name] = [file_hash(source)]
    rows = {}
    if place.database is not None:
        ids = [plugin.id for plugin in what.registered]
        present = table(place.database)
        rows = {id_: present.get(id_) for id_ in ids}
        _copy_database(place.database, place.state / "nncd.db.backup")
        _register(place.database, place.root, what)
    _write(place, what.version, files, folders, replaced, rows)


def take_away_0_1_0(place: Place, name: str) -> None:
    """Do what it did with a module of a copy by hand that its version did not have."""
    manifest = place.state / "manifest.json"
    content = json.loads(manifest.read_text())
    content["replaced"][name] = file_hash(place.root / name)
    content["files"][name] = []
    _keep(place, name)
    (place.root / name).unlink()
    manifest.write_text(json.dumps(content))


def _keep(place: Place, name: str) -> None:
    backup = place.state / "backup" / f"{name}.backup"
    backup.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(place.root / name, backup)


def _copy_database(database: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(dump(database)))


def _register(database: Path, root: Path, what: Release) -> None:
    import sqlite3

    with sqlite3.connect(database) as connection:
        for plugin in what.registered:
            connection.execute("DELETE FROM plugins WHERE plugin_id = ?", [plugin.id])
    connection.close()
    time = "2026-05-01 02:03:04.000005"
    for plugin in what.registered:
        path = os.fspath(root / plugin.script_name)
        row = (plugin.id, time, time, SAMPLE_TENANT, plugin.name, path, "[]", "", None, 0)
        insert(database, row)


def _write(place: Place, version: str, files, folders, replaced, rows) -> None:
    place.state.mkdir(parents=True, exist_ok=True)
    content = {
        "format": 1,
        "version": version,
        "complete": True,
        "files": files,
        "folders": list(folders),
        "replaced": replaced,
        "rows": rows,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (place.state / "manifest.json").write_text(text, encoding="utf-8")
