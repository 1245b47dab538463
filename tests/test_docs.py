"""What the manuals say exists: files, headings, options; both languages say the same."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from nnabla_influence.commands.main import build_parser
from nnabla_influence.console import cleanse_dataset, sgd_influence
from nnabla_influence.console.registration import DESKTOP_PLUGINS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
ENGLISH, JAPANESE = ROOT / "docs" / "console.md", ROOT / "docs" / "console.ja.md"

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^( *)```\w*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
ABSENT = "\N{EN DASH}"
OPTION = re.compile(r"^\| `([a-z_-]+)` \|", re.MULTILINE)


def _prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Names of the headings, as GitHub makes them."""
    found = (text for _, text in HEADING.findall(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


def _commands(page: Path) -> list[str]:
    lines = []
    for _, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:.*&& )?(?:\$ )?(?:uv run )?nnabla-influence (.+)$", line)
            if found:
                lines.append(found.group(1))
    return lines


def _links() -> list[tuple[Path, str]]:
    return [(page, target) for page in PAGES for target in LINK.findall(_prose(page))]


def test_there_are_links_and_commands_to_check() -> None:
    assert len(_links()) > 60
    assert sum(len(_commands(page)) for page in PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(_prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and anchor not in _anchors(linked)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one_that_the_program_takes(page: Path) -> None:
    for command in _commands(page):
        arguments = shlex.split(command, comments=True)
        try:
            build_parser().parse_args(arguments)
        except SystemExit as error:
            pytest.fail(f"{page.name}: nnabla-influence {command} ends with {error.code}")


def test_every_image_of_the_docs_is_shown_somewhere() -> None:
    shown = {
        (page.parent / target).resolve() for page, target in _links() if target.endswith(".png")
    }
    assert set((ROOT / "docs" / "images").glob("*.png")) - shown == set()


def test_every_image_has_words_for_who_cannot_see_it() -> None:
    assert [
        target for page in PAGES for words, target in IMAGE.findall(_prose(page)) if not words
    ] == []


@pytest.mark.parametrize(
    "extract",
    [
        lambda text: [len(marks) for marks, _ in HEADING.findall(BLOCK.sub("", text))],
        lambda text: [target for _, target in IMAGE.findall(text)],
        lambda text: [target for target in LINK.findall(text) if not target.startswith("console")],
        lambda text: OPTION.findall(text),
        lambda text: BLOCK.findall(text),
        lambda text: [line.count("|") for line in text.splitlines() if line.startswith("|")],
        lambda text: set(re.findall(r"`[^`\n]*`", BLOCK.sub("", text))),
    ],
    ids=["headings", "images", "links", "options", "commands", "tables", "quoted words"],
)
def test_the_japanese_manual_has_what_the_english_one_has(extract) -> None:
    english, japanese = (page.read_text(encoding="utf-8") for page in (ENGLISH, JAPANESE))
    assert extract(english)
    assert extract(japanese) == extract(english)


@pytest.mark.parametrize(
    ("heading", "dialog", "registered"),
    [
        ("### SGD Influence", sgd_influence.build_parser("a"), DESKTOP_PLUGINS[0]),
        ("### Cleanse dataset", cleanse_dataset.build_parser("a"), DESKTOP_PLUGINS[2]),
    ],
    ids=["SGD Influence", "Cleanse dataset"],
)
def test_the_console_manual_lists_each_plugin_s_options_and_what_they_start_with(
    heading, dialog, registered
) -> None:
    text = ENGLISH.read_text(encoding="utf-8").split(heading)[1].split("\n#")[0]
    rows = re.findall(r"^\| `([a-z_-]+)` \| (.+?) \| (.+?) \|", text, re.MULTILINE)
    desktop = {name: cell.strip("`") for name, cell, _ in rows if cell != ABSENT}
    windows = {name: cell.strip("`") for name, _, cell in rows if cell != ABSENT}
    assert desktop == {p.name: p.default for p in registered.parameters}
    shown = [a for a in dialog._actions if a.help and "SUPPRESS" not in a.help and a.dest != "help"]
    assert windows == {
        next(o for o in a.option_strings if o.startswith("--"))[2:]: (
            "empty" if a.default is None else str(a.default)
        )
        for a in shown
    }


def _texts() -> str:
    """Every text of what the program says, with a mark for what is filled in."""
    found = []
    for path in (ROOT / "nnabla_influence").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", None) for part in node.values)
                found.append("".join(p if isinstance(p, str) else "{}" for p in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_console_manual_s_messages_are_the_program_s() -> None:
    text = ENGLISH.read_text(encoding="utf-8").split("## When something goes wrong")[1]
    messages = re.findall(r"^\| `([^`]{20,})` \|", text, re.MULTILINE)
    assert len(messages) > 10
    texts = _texts()
    for message in messages:
        words = [word for word in message.split() if "..." not in word]
        threes = [" ".join(words[k : k + 3]) for k in range(len(words) - 2)]
        # What is filled in, such as a number, stands in some of them.
        assert sum(three in texts for three in threes) >= 0.5 * len(threes), message
