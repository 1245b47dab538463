"""The wheel holds all that runs, and runs where the repository is not."""

from __future__ import annotations

import configparser
import csv
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from nnabla_influence import score
from nnabla_influence.resources import network_defs_folder, plugins_folder
from tests.small_projects import REPOSITORY, environment, trained_table

pytestmark = pytest.mark.slow

BUNDLED = ("plugins", "network_defs")


def files_under(folder: Path) -> set[str]:
    """Return the files of the repository, by their path in it."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(REPOSITORY)) for path in paths if "__pycache__" not in path.parts}


def build(source: Path, what: str, folder: Path) -> Path:
    """Build a distribution with the setuptools that is here; nothing is downloaded."""
    code = f"import sys; from setuptools import build_meta as b; b.build_{what}(sys.argv[1])"
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=source, check=True, capture_output=True
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    source.mkdir()
    for name in (
        "pyproject.toml",
        "setup.py",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    ):
        shutil.copy(REPOSITORY / name, source)
    for name in ("nnabla_influence", "tests", *BUNDLED):
        shutil.copytree(REPOSITORY / name, source / name)  # compiled files and all
    return build(source, "sdist", folder / "dist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory) -> Path:
    """Built from the sdist alone."""
    folder = tmp_path_factory.mktemp("from_sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    (source,) = folder.iterdir()
    return build(source, "wheel", folder / "dist")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory) -> Path:
    """As ``pip install --no-deps --target`` leaves it."""
    folder = tmp_path_factory.mktemp("installed here")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_file(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    wanted = files_under(REPOSITORY / "nnabla_influence")
    for name in BUNDLED:
        wanted |= {f"nnabla_influence/_{path}" for path in files_under(REPOSITORY / name)}
    wanted = {name for name in wanted if not re.fullmatch(r".*/_network_defs/.*\.py", name)}
    assert {name for name in held if ".dist-info/" not in name} == wanted
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def test_the_sdist_holds_the_tests_too(sdist: Path):
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert files_under(REPOSITORY / "tests") | {"CHANGELOG.md", "LICENSE", "README.md"} <= held
    assert not any(name.endswith(".pyc") for name in held)


def test_what_the_wheel_says_of_itself(installed: Path):
    (info,) = installed.glob("*.dist-info")
    wheel = (info / "WHEEL").read_text()
    assert "Root-Is-Purelib: true" in wheel  # unpacking it installs it
    entry_points = configparser.ConfigParser()
    entry_points.read(info / "entry_points.txt")
    assert dict(entry_points["console_scripts"]) == {
        "nnabla-influence": "nnabla_influence.commands.main:main"
    }
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    plain = {line.split()[1].split("~")[0] for line in needed if "extra ==" not in line}
    assert plain == {"h5py", "nnabla", "numpy", "pillow", "tqdm"}
    extras = {line.rpartition("extra == ")[2].strip('"') for line in needed if "extra ==" in line}
    assert {"cluster", "curves", "demo", "review"} <= extras
    assert "Requires-Python: <3.11,>=3.9" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    for extra in ("cuda110", "cuda116", "cuda120"):
        assert f'Requires-Dist: nnabla-ext-{extra}~=1.39.0; extra == "{extra}"' in needed


def test_it_runs_where_the_repository_is_not(installed: Path, tmp_path, tmp_path_factory):
    """Command and plugins, on what an unmodified nnabla_cli trained."""
    trained = trained_table(tmp_path_factory.getbasetemp())
    env = environment(PYTHONPATH=str(installed), PYTHONUTF8="1")

    def python(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env=env,
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        return done.stdout

    where = "import nnabla_influence.resources as r; print(r.__file__, r.network_defs_folder())"
    resources, definitions = python("-c", where).strip().split(str(installed))[1:]
    assert resources.strip() == "/nnabla_influence/resources.py"
    assert definitions.strip() == "/nnabla_influence/_network_defs"

    python("-m", "nnabla_influence", "score", "-m", trained.final, "-o", "command.csv")
    wanted = dict(enumerate(score(trained.final).scores.influence))
    with (tmp_path / "command.csv").open(newline="", encoding="utf-8-sig") as file:
        written = {
            int(row["datasource_index"]): float(row["influence"]) for row in csv.DictReader(file)
        }
    assert written == wanted
    plugins = installed / "nnabla_influence" / "_plugins"
    rankers, cleansers = (
        sorted(plugins.rglob(f"*{what}*.py")) for what in ("influence", "cleanse")
    )
    assert (len(rankers), len(cleansers)) == (2, 2)
    for script in rankers:
        output = tmp_path / f"{script.stem}.csv"
        python(script, "-m", trained.final, "-o", output.name)
        assert output.read_bytes() == (tmp_path / "command.csv").read_bytes()
    python(cleansers[0], "-h")
    # What is opened in a browser is made of files that are no Python.
    python("-m", "nnabla_influence", "review", "-i", "command.csv", "-o", "page.html")
    assert "</html>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_checkout_finds_its_own_folders():
    assert plugins_folder() == REPOSITORY / "plugins"
    assert network_defs_folder() == REPOSITORY / "network_defs"
