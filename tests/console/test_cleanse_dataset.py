"""The plugin "Cleanse dataset" in Windows NNC: in the results' folder, with the dialog's fields."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from nnabla_influence import score
from nnabla_influence.cleansing import cleanse
from nnabla_influence.console.cleanse_dataset import build_parser, main
from tests.console.scripts import CLEANSE_TABLE, in_process, lines_of, run
from tests.small_projects import Trained


@pytest.fixture(scope="module")
def ranked(trained: Trained, tmp_path_factory) -> Path:
    folder = Path(shutil.copytree(trained.result, tmp_path_factory.mktemp("ranked") / "結果 2"))
    score(trained.final, output=folder / "influence.csv")
    return folder


@pytest.fixture
def result(ranked: Path, tmp_path: Path, monkeypatch) -> Path:
    """The results' folder, with a ranking, as the working folder."""
    folder = Path(shutil.copytree(ranked, tmp_path / "結果 2"))
    monkeypatch.chdir(folder)
    return folder


def new_in(folder: Path, before: set[str]) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - before


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_without_options_in_the_folder_of_the_results(result: Path, tmp_path: Path):
    before = names(result)
    done = run(CLEANSE_TABLE, cwd=result)
    lines = lines_of(done.stderr)
    assert (done.returncode, lines[-1]) == (0, "Cleanse dataset completed successfully.")
    assert new_in(result, before) == {"cleansed.csv", "cleansed.removed.csv"}
    cleanse(result / "influence.csv", output=result / "wanted.csv", n=0.05)
    assert (result / "cleansed.csv").read_bytes() == (result / "wanted.csv").read_bytes()
    assert lines[0].startswith(
        "cleansed.csv: 38 of 40 rows; 2 removed, 0 relabelled (listed in cle"
    )


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (["-n", "3"], {"n": 3}),
        (["--remove", "0.25"], {"n": 0.25}),
        (["-n", " HARMFUL "], {"below": 0}),
        (["-n", "39", "-a", "yes"], {"n": 39, "allow_empty_class": True}),
        (["-l", "y:class", "-n", "1"], {"n": 1}),
        (["-d", "decided.csv", "-n", "7"], {"decisions": "decided.csv"}),
    ],
)
def test_the_fields_choose_what_leaves(result: Path, trained: Trained, caplog, options, chosen):
    (result / "decided.csv").write_text("datasource_index;decision;label\n4;remove;\n6;relabel;0\n")
    own = trained.training.read_text(encoding="utf-8").splitlines()
    assert own[7].endswith(",1")
    code, lines = in_process(main, caplog, *options, "-o", "made.csv")
    assert code == 0, lines
    cleanse("influence.csv", output="wanted.csv", **chosen)
    assert Path("made.csv").read_bytes() == Path("wanted.csv").read_bytes()
    assert Path("made.removed.csv").read_bytes() == Path("wanted.removed.csv").read_bytes()


def test_the_training_dataset_gives_its_own_cells(result: Path, trained: Trained, caplog):
    code, _ = in_process(main, caplog, "-t", trained.training, "-n", "1")
    assert code == 0
    own = trained.training.read_text(encoding="utf-8").splitlines()
    made = (result / "cleansed.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(made) == 40
    assert [line for line in own if line not in made] == [own[1 + 2]]  # datasource_index 2


def test_fields_left_empty_are_not_given(result: Path, caplog):
    options = [action.option_strings for action in build_parser("x")._actions[1:]]
    assert in_process(main, caplog)[0] == 0
    first = (result / "cleansed.csv").read_bytes()
    for blank, which in (("", 0), (" ", -1)):
        words = [word for option in options for word in (option[which], blank)]
        assert in_process(main, caplog, *words)[0] == 0
        assert (result / "cleansed.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-i", "none.csv"], 1, "none.csv: does not exist"),
        (["-d", "none.csv"], 1, "none.csv: cannot be read"),
        (["-n", "41"], 1, "41 rows cannot be removed: .* 40;"),
        (["-n", "0.001"], 1, "0.001 of the 40 rows"),
        (
            ["-n", "39"],
            1,
            "class 0 .* in the field allow-empty-class",
        ),
        (["-n", "40", "-a", "yes"], 1, "all 40 rows would be removed"),
        (["-l", "z"], 1, "'z'"),
        (["-a", "maybe"], 1, "'maybe' is none of no, yes"),
        (["-o", "influence.csv"], 1, "influence.csv: is the same file as"),
        (["-o", "none/x.csv"], 1, r"none/x\.csv: cannot be written"),
        (
            ["-n", "some"],
            2,
            "'some' is neither a number of rows from 1 nor a fraction between 0 and 1, nor harmful",
        ),
        (["-n", "0"], 2, "'0' is not a whole number from 1"),
        (["--guess", "1"], 2, "unrecognized arguments: --guess 1"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    result: Path, caplog, arguments, code: int, message: str
):
    before = names(result)
    got, lines = in_process(main, caplog, *arguments)
    assert got == code
    assert len(lines) == 1
    assert lines[0].startswith("Cleanse dataset failed: ")

    assert re.search(message, lines[0]), lines[0]
    assert names(result) == before


def test_the_training_csv_is_never_overwritten(result: Path, trained: Trained, caplog):
    own = trained.training.read_bytes()
    code, lines = in_process(main, caplog, "-o", trained.training)
    assert code == 1
    assert "is not replaced" in lines[-1]
    assert trained.training.read_bytes() == own


def test_rows_that_are_not_harmful_are_told(result: Path, caplog):
    """In the dialog's words, not the command's."""
    code, lines = in_process(main, caplog, "-n", "30", "-a", "yes")
    assert code == 0
    assert any("not harmful" in x and "--remove harmful removes harmful rows" in x for x in lines)
    assert not any("--below" in line for line in lines)
