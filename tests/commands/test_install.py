"""``nnabla-influence install``: what it shows, what it asks, and how it ends."""

from __future__ import annotations

import builtins
import io
import sys
from pathlib import Path

import pytest

from nnabla_influence.commands import install as install_command
from nnabla_influence.commands.main import build_parser
from nnabla_influence.console import installation
from nnabla_influence.errors import InfluenceError
from tests.console.consoles import nncd_home, release, tree, windows_nnc


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tmp_path):
    """Installs something small in place of this version."""
    tiny = release(tmp_path / "source")
    monkeypatch.setattr(installation, "Release", lambda: tiny)


@pytest.fixture
def console(japanese_path: Path) -> Path:
    windows_nnc(japanese_path)
    return japanese_path


def install(folder: Path, *arguments: str) -> None:
    words = ["install", "--console", str(folder), *arguments]
    install_command.run(build_parser().parse_args(words))


@pytest.mark.parametrize("layout", [windows_nnc, nncd_home])
def test_shown_done_and_undone(tmp_path, layout, capsys):
    folder = tmp_path / "console"
    layout(folder)
    before = tree(folder)
    install(folder, "--dry-run")
    shown = capsys.readouterr().out
    assert tree(folder) == before
    install(folder, "--yes")
    assert capsys.readouterr().out.startswith(f"{shown}Installed nnabla-influence 1.0. ")
    after = tree(folder)
    for more in ((), ("--yes",), ("--dry-run",)):
        install(folder, *more)
        assert "1.0 is already installed: " in capsys.readouterr().out
    install(folder, "--uninstall", "--dry-run")
    assert capsys.readouterr().out.startswith("Removes nnabla-influence 1.0: ")
    assert tree(folder) == after
    install(folder, "--uninstall", "--yes")
    assert "Nothing of nnabla-influence is left" in capsys.readouterr().out
    assert tree(folder) == before
    install(folder, "--uninstall")
    assert "is not installed: " in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["y", " YES ", "", "n", None])
def test_it_asks_in_a_terminal(console: Path, monkeypatch, capsys, answer: str | None):
    """None: the input ends."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def reply(text: str) -> str:
        assert text == "Make these changes? [y/N] "
        if answer is None:
            raise EOFError
        return answer

    before = tree(console)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(builtins, "input", reply)
    if answer in ("y", " YES "):
        install(console)
        assert tree(console) != before
    else:
        with pytest.raises(InfluenceError, match="cancelled"):
            install(console)
        assert tree(console) == before
    assert "  new       _Post_Process/_XAI/_Image/ours.py\n" in capsys.readouterr().out


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_without_a_terminal_it_says_what_to_add(console: Path, monkeypatch, stdin):
    before = tree(console)
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(InfluenceError, match="--yes"):
        install(console)
    assert tree(console) == before
