"""NNCD as a plugin meets it: a job's folder, the call that its server makes, and the server."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from nnabla_influence.console import cleanse_dataset, sgd_influence
from nnabla_influence.console.registration import DESKTOP_PLUGINS, Plugin
from tests.console.scripts import in_process
from tests.small_projects import REPOSITORY, environment

MODEL, EVALUATED = "result_train_last.nnp", "result_evaluate.nnp"
TENANT = "11111111-2222-4333-8444-555555555555"
IMAGE, EXPLAIN, ADVISE, CLEANSE, GRADCAM, LIME, *_TABLES = DESKTOP_PLUGINS
TABLE, EXPLAIN_TABLE, LIME_TABLE = _TABLES
# What the application brings has none of these, and nothing can be installed there.
ABSENT = ("pandas", "matplotlib", "distributed", "dask", "jinja2", "xlsxwriter")


@dataclass(frozen=True)
class Call:
    """One call of a plugin.

    Attributes:
        command: The process's arguments, the interpreter included.
        placeholder: The empty file.
    """

    command: list[str]
    placeholder: Path

    @property
    def folder(self) -> Path:
        return self.placeholder.parent

    @property
    def picture(self) -> Path:
        return self.folder / f"{self.folder.name}.png"


def job_folder(home: Path) -> Path:
    """Make the folder of the results of job 7 of project 3."""
    folder = home / "nncd_bucket" / "nncd-projects-rdc" / "3" / "results" / "7"
    folder.mkdir(parents=True)
    return folder


def call(plugin: Plugin, job: Path, scripts: Path = REPOSITORY / "plugins", **typed: str) -> Call:
    """Do what the server does with a filled-in dialog, and make the empty file.

    Args:
        plugin: The row of the table.
        job: The folder of the job's results.
        scripts: The folder of the plugins.
        typed: What the user typed, by the parameter's name (with underscores); else the defaults.
    """
    bucket = str(job.parents[3])
    values = {p.name: p.default for p in plugin.parameters}
    values.update({name.replace("_", "-"): value for name, value in typed.items()})
    assert list(values) == [p.name for p in plugin.parameters]
    extension = None
    for parameter in plugin.parameters:
        value = values[parameter.name]
        if parameter.direction == "input" and parameter.format == "path":
            values[parameter.name] = value = str(job / value)
        if parameter.format == "select":
            values[parameter.name] = value = _clicked(job, value)
        if parameter.direction == "input" and value.startswith(bucket):
            assert Path(value).exists(), "HTTP 400: Not found required file"
            extension = Path(value).suffix
    assert extension is not None, "HTTP 500"
    name = values["output"]
    without = os.path.normpath(f"{job}/plugins/{plugin.id}/{name}/{name}")
    placeholder = Path(f"{without}{extension}")
    log = Path(os.path.normpath(f"{job}/plugins/{plugin.id}/{name}/plugin_log.txt"))
    for file in (placeholder, log):
        file.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("Accepted a plugin request")
    placeholder.write_bytes(b"")
    values["output"] = str(placeholder)
    command = [sys.executable, "-B", str(scripts / plugin.script)]
    for parameter in plugin.parameters:
        command += [f"--{parameter.name}", values[parameter.name]]
    return Call(command, placeholder)


def _clicked(job: Path, place: str) -> str:
    """Copy the picture of a cell of the evaluation's result, as the server does."""
    row, column = map(int, place.split(","))
    with (job / "output_result.csv").open(encoding="utf-8", newline="") as file:
        cell = list(csv.reader(file))[1 + row][column]
    assert Path(cell).is_absolute(), "HTTP 500: it is no picture"
    copy = job / "plugins" / f"plugin_{row}_{column}{Path(cell).suffix}"
    copy.parent.mkdir(exist_ok=True)
    with Image.open(cell) as picture:
        picture.thumbnail((100, 100))
        picture.save(copy)
    return str(copy)


def surroundings(hide: Path, **more: str) -> dict[str, str]:
    """Return the environment that the application gives; a folder on the path hides packages."""
    hide.mkdir()
    for name in ABSENT:
        (hide / f"{name}.py").write_text(f"raise ImportError('there is no {name}')\n")
    path = f"{hide}:{REPOSITORY}"
    return environment(PYTHONPATH=path, http_proxy="http://127.0.0.1:9", **more)


def run(called: Call, cwd: Path, env: dict[str, str]) -> str:
    """Run a plugin to its end and return its log."""
    log = called.folder / "plugin_log.txt"
    with log.open("wb") as file:
        subprocess.run(called.command, cwd=cwd, env=env, stdout=file, stderr=file, check=False)
    return log.read_text(encoding="utf-8")


def shown(folder: Path) -> list[Path]:
    """Return what the application may show as the result: any one of these."""
    return [entry for entry in folder.iterdir() if entry.name.startswith(folder.name)]


@dataclass
class Server:
    """The application's own server."""

    port: int
    taken: set[str] = field(default_factory=set)
    imported: list[Path] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def server(*taken: str) -> Iterator[Server]:
    """Serve as the application does; names in ``taken`` are datasets already."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/v1/users/1/tenants":
                self._answer({"tenants": [{"tenant_id": TENANT, "nickname": "local"}]})
                return
            assert url.path == "/v1/users/1/datasets/upload"
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            state.asked.append(query)
            path = Path(query["path"])
            if "tenant_id" not in query:
                self.send_error(500)
                return
            if path.stem in state.taken:
                message = f"Duplicate dataset name {path.stem}."
                answer: dict[str, Any] = {"status": "failed", "message": message}
            else:
                assert path.is_file()
                state.taken.add(path.stem)
                state.imported.append(path)
                answer = {"status": "OK", "message": "Start uploading the dataset."}
            self._answer(answer)

        def _answer(self, answer: dict[str, Any]) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(http.server_port, set(taken))
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def refused_by_the_page(path: Path) -> str | None:
    """Return why the application's import would refuse a CSV, or None: its rules, once more."""
    lines = path.read_bytes().decode("ascii").splitlines()
    if len(lines) < 2:
        return "header only"
    kinds: list[str] | None = None
    for line in lines[1:]:
        cells = line.split(",")
        found = []
        for cell in cells:
            try:
                float(cell)
                found.append("number")
            except ValueError:
                if not (path.parent / cell).is_file():
                    return f"{cell!r} is not a file"
                found.append(Path(cell).suffix)
        if kinds is not None and found != kinds:
            return f"{cells} are of other kinds than {kinds}"
        kinds = found
    return None


def rank(job: Path, caplog, **typed: str) -> tuple[Call, int, list[str]]:
    """Call SGD Influence (tabular) within this process; return exit code and log, too."""
    called = call(TABLE, job, **typed)
    code, lines = in_process(sgd_influence.main, caplog, *called.command[3:])
    return called, code, lines


def clean(job: Path, caplog, **typed: str) -> tuple[Call, int, list[str]]:
    """Call Cleanse dataset within this process; return exit code and log, too."""
    called = call(CLEANSE, job, **typed)
    code, lines = in_process(cleanse_dataset.main, caplog, *called.command[3:])
    return called, code, lines
