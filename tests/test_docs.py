"""What the manuals say exists, and works: links, commands, snippets; both languages agree."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nnabla_influence
from network_defs.samples import Training, mlp, write_definition
from nnabla_influence.commands.main import build_parser, main
from nnabla_influence.console import advise, cleanse_dataset, explain, sgd_influence
from nnabla_influence.console.registration import DESKTOP_PLUGINS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "network_defs" / "README.md",
    *sorted((ROOT / "reproductions").glob("*/README.md")),
]
ENGLISH, JAPANESE = ROOT / "docs" / "console.md", ROOT / "docs" / "console.ja.md"

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^( *)```\w*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
STEP = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<block>.*?)^(?P=indent)```$"
    r"|(?:^ {4}|`)(?P<line>(?:uv run )?nnabla-influence [a-z]+ [^`\n]*-[^`\n]+)",
    re.MULTILINE | re.DOTALL,
)
"""A block, or a command in an indented line or in a sentence."""
COMMAND = re.compile(r"\s*(?:.*&& )?(?:\$ )?(?:uv run )?nnabla-influence (.+)$")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
ABSENT = "\N{EN DASH}"
OPTION = re.compile(r"^\| `([a-z_-]+)` \|", re.MULTILINE)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """Names of the headings, as GitHub makes them."""
    found = (text for _, text in HEADING.findall(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


def _steps(page: Path) -> Iterator[tuple[str, str]]:
    """Yield what a reader can run, in the page's order: ("python", code), ("command", line)."""
    for found in STEP.finditer(page.read_text(encoding="utf-8")):
        language, block, line = found.group("language", "block", "line")
        if language == "python":
            yield "python", textwrap.dedent(block)
            continue
        for text in (block or line).replace("\\\n", " ").splitlines():
            command = COMMAND.match(text)
            if command:
                yield "command", command[1]


def _commands(page: Path) -> list[str]:
    return [text for kind, text in _steps(page) if kind == "command"]


def _links() -> list[tuple[Path, str]]:
    return [(page, target) for page in PAGES for target in LINK.findall(_prose(page))]


def test_there_are_links_and_commands_to_check() -> None:
    assert len(_links()) > 60
    assert sum(len(_commands(page)) for page in PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=_name)
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


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_is_one_that_the_program_takes(page: Path) -> None:
    for command in _commands(page):
        arguments = shlex.split(command, comments=True)
        try:
            build_parser().parse_args(arguments)
        except SystemExit as error:
            pytest.fail(f"{page.name}: nnabla-influence {command} ends with {error.code}")


PLACEHOLDERS = {"PATH": "neural_network_console"}
"""What a reader replaces by something of her own."""

SMALLER = {
    "curve": ["--seeds=0,1", "-n=2", "--rankings=final,random", "--jobs=1"],
    "validate": ["--rows=3", "--subsets=3"],
}
"""Options added for speed."""

NOT_RUN = {
    "demo": "trains for minutes; tests/commands/test_demo.py runs it",
    "--scheduler tcp:": "needs `dask scheduler` and `dask worker`; tests/execution runs a cluster",
    "--explain gradcam": "needs convolutions; tests/explanation runs it",
    "self._variables": "lines of a class and of its loop",
}
"""Beginnings of commands and snippets, or parts of commands, that do not run here, and why."""

ALTERNATIVES = ('with Recorder("run", solver=solver, n_rows=',)
"""Beginnings of snippets that replace an earlier one: each runs in a folder of its own."""

PRELUDE = """
import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
from nnabla.utils.data_iterator import data_iterator_csv_dataset

nn.clear_parameters()
x, y = nn.Variable((8, 3)), nn.Variable((8, 1))
with nn.parameter_scope("Affine"):
    h = F.relu(PF.affine(x, 4))
with nn.parameter_scope("Affine_2"):
    h = PF.affine(h, 2)
loss = F.mean(F.softmax_cross_entropy(h, y))
solver = S.Sgd(0.05)
solver.set_parameters(nn.get_parameters())
iterator = data_iterator_csv_dataset("train.csv", 8, shuffle=True, normalize=False)
max_iter = 10
x_train = np.zeros((240, 3))
mean_of_the_data = np.zeros((1, 3))
batches = np.arange(240).reshape(30, 8)
loss.forward()
loss.backward()
"""
"""What a page's reader has: the script of net.nntxt, before its training."""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: definition, CSVs, trained parameters, a ranking, a Console."""
    folder = tmp_path_factory.mktemp("manual")
    rng = np.random.default_rng(0)
    for part, n in (("train", 240), ("validation", 24), ("valid", 24), ("test", 24)):
        x = rng.normal(size=(n, 3))
        lines = (f"{a:.4f},{b:.4f},{c:.4f},{int(a + b > 0)}" for a, b, c in x)
        header = "x__0:a,x__1:b,x__2:c,y:label"
        (folder / f"{part}.csv").write_text("\n".join([header, *lines]) + "\n")
    write_definition(
        folder / "net.nntxt",
        mlp((3,), 2, hidden=(4,)),
        Training(
            n_rows=240,
            training_csv="train.csv",
            validation_csv="validation.csv",
            batch_size=8,
            epochs=2,
        ),
    )
    plugins = folder / "neural_network_console" / "libs" / "plugins"
    for kind in ("_Image", "_Table"):
        (plugins / "_Post_Process" / "_XAI" / kind).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(shlex.split("train -m net.nntxt -o trained"))
        shutil.copy("trained/final.h5", "start.h5")
        for name in ("results", "results_current_20"):
            shutil.copy("trained/nnabla_cli/results_current_2.nnp", f"{name}.nnp")
        main(shlex.split("score -m net.nntxt --run trained -o influence.csv"))
    return folder


def _decide(folder: Path, words: list[str]) -> None:
    """Decide for the first row of the ranking, as a reviewer does before `cleanse --decisions`."""
    ranking = words[words.index("-i") + 1] if "--decisions" in words else "influence.csv"
    header, first, *others = (folder / ranking).read_text().splitlines()
    decided = [f"{header},decision,label", f"{first},remove,", *(f"{row},," for row in others)]
    for name in ("decisions.csv", "decided.csv"):
        (folder / name).write_text("\n".join(decided) + "\n")


@pytest.mark.slow
@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("page", [p for p in PAGES if p != JAPANESE and any(_steps(p))], ids=_name)
def test_commands_and_snippets_run(page: Path, project: Path, tmp_path, monkeypatch) -> None:
    folder = shutil.copytree(project, tmp_path / "reader")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    names: dict[str, object] = {}
    exec(PRELUDE, names)
    for kind, text in _steps(page):
        if any(text.startswith(part) or f" {part}" in text for part in NOT_RUN):
            continue
        if kind == "python":
            if text.startswith(ALTERNATIVES):
                monkeypatch.chdir(shutil.copytree(project, tmp_path / str(len(text))))
            exec(compile(text, str(page), "exec"), names)
            monkeypatch.chdir(folder)
        else:
            words = [PLACEHOLDERS.get(word, word) for word in shlex.split(text, comments=True)]
            _decide(folder, words)
            main(words + SMALLER.get(words[0], []))


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
        ("### Advise", advise.build_parser("a"), DESKTOP_PLUGINS[2]),
        ("### Cleanse dataset", cleanse_dataset.build_parser("a"), DESKTOP_PLUGINS[3]),
        ("### Explain\n", explain.build_parser("a"), DESKTOP_PLUGINS[1]),
    ],
    ids=["SGD Influence", "Advise", "Cleanse dataset", "Explain"],
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
    assert len(messages) > 7
    texts = _texts()
    for message in messages:
        words = [word for word in message.split() if "..." not in word]
        threes = [" ".join(words[k : k + 3]) for k in range(len(words) - 2)]
        # What is filled in, such as a number, stands in some of them.
        assert sum(three in texts for three in threes) >= 0.5 * len(threes), message


@pytest.mark.slow
def test_the_reference_has_every_public_name(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "docs" / "api.py"), str(tmp_path)],
        check=True,
        capture_output=True,
    )
    page = (tmp_path / "nnabla_influence.html").read_text(encoding="utf-8")
    assert [name for name in nnabla_influence.__all__ if f'id="{name}"' not in page] == []
