"""Consoles to install into, as small as they can be, and what is in them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from nnabla_influence.console.installation import Installation
from nnabla_influence.console.places import Place
from nnabla_influence.console.registration import Parameter, Plugin
from nnabla_influence.console.release import Release

TIME = "2024-05-01 02:03:04.000005"
SAMPLE_TENANT = "ccbf15a0-bcb6-4ba6-b10e-27fc877c4348"
IMAGE_ID = "11111111-aaaa-4aaa-8aaa-111111111111"
TABLE_ID = "22222222-bbbb-4bbb-8bbb-222222222222"
XAI = "_Post_Process/_XAI"
COPY = f"{XAI}/_Image/nnabla_influence"
IMAGE = "_Post_Process/_XAI/_Image/ours.py"
TABLE = "_Post_Process/_XAI/_Table/ours_tabular.py"
# NNCD 0.2.1's columns, in its order.
TABLES = """
CREATE TABLE tenants (
  tenant_id VARCHAR(36) NOT NULL PRIMARY KEY, update_datetime DATETIME NOT NULL,
  create_datetime DATETIME NOT NULL, name VARCHAR(255) NOT NULL, purpose INTEGER NOT NULL);
CREATE TABLE plugins (
  plugin_id VARCHAR(36) NOT NULL PRIMARY KEY, update_datetime DATETIME NOT NULL,
  create_datetime DATETIME NOT NULL, owner_tenant_id VARCHAR(36) NOT NULL,
  plugin_name VARCHAR(255) NOT NULL, plugin_file VARCHAR(255) NOT NULL,
  parameters TEXT NOT NULL, description TEXT NOT NULL, computing_service VARCHAR(255),
  deleted INTEGER NOT NULL,
  FOREIGN KEY (owner_tenant_id) REFERENCES tenants (tenant_id));
CREATE INDEX plugins_owner_tenant_id ON plugins (owner_tenant_id);
"""


def row(plugin_id: str, name: str, file: str, *, owner: str = SAMPLE_TENANT, deleted: int = 0):
    return (plugin_id, TIME, TIME, owner, name, file, "[]", "of somebody", None, deleted)


def insert(database: Path, *rows: tuple) -> None:
    with sqlite3.connect(database) as connection:
        for values in rows:
            marks = ",".join("?" * len(values))
            connection.execute(f"INSERT OR REPLACE INTO plugins VALUES ({marks})", values)
    connection.close()


def windows_nnc(folder: Path) -> Path:
    """Lay out a Windows NNC with plugins of Sony's; return ``libs/plugins``."""
    plugins = folder / "neural_network_console" / "libs" / "plugins"
    for name, text in {
        "_Post_Process/_XAI/_Image/SGD_influence.py": "print('theirs')\n",
        "_Post_Process/_XAI/_Image/utils/__init__.py": "",
        "_Post_Process/_XAI/_Table/shap_tabular.py": "print('theirs')\n",
        "_Pre_Process/_Create_Dataset/split.py": "print('theirs')\n",
    }.items():
        path = plugins / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return plugins


def nncd_home(folder: Path) -> Path:
    """Lay out the home folder of somebody who uses NNCD; return its database."""
    database = folder / "nncd_bucket" / "db" / "nncd.db"
    database.parent.mkdir(parents=True)
    (folder / "nncd_bucket" / "nncd-projects-rdc").mkdir()
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(TABLES)
    values = (SAMPLE_TENANT, TIME, TIME)
    with connection:
        connection.execute("INSERT INTO tenants VALUES (?, ?, ?, 'sample', 2)", values)
    connection.close()
    insert(database, row("7de3c778-849b-48bf-8fb5-3956fd22f98f", "Grad-CAM", "plugins/gradcam.py"))
    return database


def release(folder: Path, version: str = "1.0", **texts: str) -> Release:
    """Write a tiny package and two scripts."""
    root = folder / version
    script = f"from nnabla_influence.inner.part import VERSION  # {version}\nprint('%s', VERSION)\n"
    files = {
        "nnabla_influence/__init__.py": f'__version__ = "{version}"  # nnabla_influence\n',
        "nnabla_influence/inner/__init__.py": "",
        "nnabla_influence/inner/part.py": f"VERSION = {version!r}\n",
        "nnabla_influence/__pycache__/__init__.cpython-310.pyc": "compiled",
        "nnabla_influence/_plugins/copy.py": "bundled with the package",
        f"plugins/{IMAGE}": script % "Image",
        f"plugins/{TABLE}": script % "Table",
        **{name.replace("__", "/") + ".py": text for name, text in texts.items()},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    model = Parameter("model", "input", "the model", "path", "result.nnp", readonly=True)
    output = Parameter("output", "output", "the result", "path", "影響")
    registered = (
        Plugin(IMAGE_ID, "SGD Influence", IMAGE, "ranks", (model, output)),
        Plugin(TABLE_ID, "SGD Influence (tabular)", TABLE, "ranks rows", (model, output)),
    )
    return Release(root / "plugins", root / "nnabla_influence", version, registered)


def tree(folder: Path) -> dict[str, object]:
    """Return every file with its bytes, and every folder; databases by `dump`."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            found[name] = "folder"
        elif path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif not path.name.startswith("nncd.db"):
            found[name] = path.read_bytes()
    return found


def dump(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def table(database: Path) -> dict[str, dict[str, object]]:
    """Return the rows of the menu by plugin_id, in the menu's order."""
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    try:
        rows = connection.execute("SELECT * FROM plugins ORDER BY create_datetime")
        return {found["plugin_id"]: dict(found) for found in rows}
    finally:
        connection.close()


def state(database: Path) -> tuple[dict[str, object], list[str]]:
    """Return all that is in the home folder of a database, and all of the database."""
    return tree(database.parents[2]), dump(database)


def install(place: Place, what: Release) -> list[str]:
    work = Installation(place, what)
    return work.lines() + ([] if work.is_done else work.apply())


def uninstall(place: Place, what: Release | None = None) -> list[str]:
    work = Installation(place, what, remove=True)
    return work.lines() + ([] if work.is_done else work.apply())


def says(script: Path) -> str:
    """Run a script as the Console does, with nothing but what lies beside it."""
    done = subprocess.run(
        [sys.executable, "-E", "-s", "-B", str(script)],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or done.stderr
