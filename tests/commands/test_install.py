"""``nnabla-influence install``: what it shows, what it asks, and how it ends."""

from __future__ import annotations

import argparse
import builtins
import io
import sys
from pathlib import Path

import pytest

from nnabla_influence.commands import install as install_command
from nnabla_influence.console import installation
from nnabla_influence.errors import InfluenceError
from tests.console.consoles import nncd_home, release, tree, windows_nnc


@pytest.fixture
def plugins(japanese_path: Path) -> Path:
    return windows_nnc(japanese_path)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tmp_path):
    """Installs something small in place of this version."""
    tiny = release(tmp_path / "source")
    monkeypatch.setattr(installation, "Release", lambda: tiny)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def install(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    install_command.add_options(parser)
    install_command.run(parser.parse_args([*map(str, arguments)]))


@pytest.mark.parametrize("layout", ["windows", "desktop"])
def test_shown_done_and_undone(tmp_path, layout: str, capsys):
    folder = tmp_path / "console"
    (windows_nnc if layout == "windows" else nncd_home)(folder)
    before = tree(folder)
    install("--console", folder, "--dry-run")
    shown = capsys.readouterr().out
    assert tree(folder) == before
    install("--console", folder, "--yes")
    done = capsys.readouterr().out
    assert done.startswith(shown)
    assert "\nInstalled nnabla-influence 1.0. " in done
    after = tree(folder)
    for more in ((), ("--yes",), ("--dry-run",)):
        install("--console", folder, *more)
        assert capsys.readouterr().out.startswith("nnabla-influence 1.0 is already installed: ")
    assert tree(folder) == after
    install("--console", folder, "--uninstall", "--dry-run")
    assert capsys.readouterr().out.startswith("Removes nnabla-influence 1.0: ")
    assert tree(folder) == after
    install("--console", folder, "--uninstall", "--yes")
    assert (
        capsys.readouterr().out.splitlines()[-1].startswith("Nothing of nnabla-influence is left")
    )
    assert tree(folder) == before
    install("--console", folder, "--uninstall")
    assert capsys.readouterr().out.startswith("nnabla-influence is not installed: ")


@pytest.mark.parametrize(
    ("answer", "agrees"), [("y", True), (" YES ", True), ("", False), ("n", False)]
)
def test_it_asks_in_a_terminal(plugins: Path, monkeypatch, capsys, answer: str, agrees: bool):
    before = tree(plugins)
    questions = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(builtins, "input", lambda text: questions.append(text) or answer)
    if agrees:
        install("--console", plugins)
    else:
        with pytest.raises(InfluenceError, match="cancelled"):
            install("--console", plugins)
    assert questions == ["Make these changes? [y/N] "]
    assert (tree(plugins) != before) == agrees
    assert "  new       _Post_Process/_XAI/_Image/ours.py\n" in capsys.readouterr().out


def test_the_end_of_the_input_is_a_no(plugins: Path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    with pytest.raises(InfluenceError, match="cancelled"):
        install("--console", plugins)


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_without_a_terminal_it_says_what_to_add(plugins: Path, monkeypatch, capsys, stdin):
    before = tree(plugins)
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(InfluenceError, match="--yes"):
        install("--console", plugins)
    assert tree(plugins) == before
    assert "  new       " in capsys.readouterr().out


def test_the_path_is_needed(capsys):
    with pytest.raises(SystemExit):
        install()
    assert "--console" in capsys.readouterr().err
