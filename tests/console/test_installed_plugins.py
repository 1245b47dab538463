"""What is installed runs in a Python that has the Console's libraries and no others."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_influence import score
from nnabla_influence.console.installation import Installation
from nnabla_influence.console.places import recognise
from nnabla_influence.console.registration import DESKTOP_PLUGINS
from tests.console.consoles import nncd_home, table, windows_nnc
from tests.console.scripts import scores_in
from tests.small_projects import environment, trained_table

pytestmark = pytest.mark.slow

ADVISE_TABLE = "_Post_Process/_XAI/_Table/nnabla_advise_tabular.py"
TABLE = "_Post_Process/_XAI/_Table/nnabla_sgd_influence_tabular.py"


def needed_by(*names: str) -> set[importlib.metadata.Distribution]:
    """Return the packages of these names, and what they require."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower()
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in found:
            found[name] = package
            plain = [text for text in package.requires or () if "extra ==" not in text]
            waiting += [
                "".join(c if c.isalnum() or c in "-_." else " " for c in t).split()[0]
                for t in plain
            ]
    return set(found.values())


@pytest.fixture(scope="module")
def bundled_python(tmp_path_factory) -> Path:
    """A Python of its own, as the Consoles bring one."""
    home = tmp_path_factory.mktemp("python_bundles")
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    (home / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\n"
    )
    python = home / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(base)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = home / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    for package in needed_by("h5py", "nnabla", "numpy", "pillow", "tqdm"):
        for file in package.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(package.locate_file(top))
    return python


def run(python: Path, *arguments: object, **more) -> subprocess.CompletedProcess:
    env = {name: value for name, value in environment().items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *map(str, arguments)],
        **{"env": env, "capture_output": True, "check": False, "text": True, **more},
    )


def test_the_installed_scripts_run(bundled_python: Path, japanese_path: Path, tmp_path_factory):
    trained = trained_table(tmp_path_factory.getbasetemp())
    plugins = windows_nnc(japanese_path)
    Installation(recognise(plugins)).apply()
    absent = "import importlib.util as u; print([u.find_spec(n) for n in ('pandas', 'jinja2')])"
    assert run(bundled_python, "-c", absent).stdout == "[None, None]\n"
    results = japanese_path / "結果 1"
    results.mkdir()
    done = run(bundled_python, plugins / TABLE, "-m", trained.final, "-o", "a.csv", cwd=results)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(results)) == ["a.csv", "a.html"]  # the review page, too
    assert scores_in(results / "a.csv") == dict(enumerate(score(trained.final).scores.influence))
    done = run(
        bundled_python,
        plugins / ADVISE_TABLE,
        *("-m", trained.final, "-k", "2", "-r", "2"),
        cwd=results,
    )
    assert done.returncode == 0, done.stderr
    assert {"advice.csv", "advice-report"} < set(os.listdir(results))


def test_every_row_names_a_script_that_shows_its_help(bundled_python: Path, japanese_path: Path):
    database = nncd_home(japanese_path)
    Installation(recognise(japanese_path)).apply()
    rows = table(database)
    assert {plugin.id for plugin in DESKTOP_PLUGINS} < set(rows)
    for plugin in DESKTOP_PLUGINS:
        done = run(bundled_python, "-B", rows[plugin.id]["plugin_file"], "-h", cwd="/")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: ")
