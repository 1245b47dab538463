"""The plugin "Cleanse dataset" in Windows NNC: in the results' folder, with the dialog's fields."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnabla_influence import score
from nnabla_influence.cleansing import cleanse
from nnabla_influence.console.cleanse_dataset import main
from tests.console.scripts import CLEANSE_TABLE, in_process, lines_of, names_in, run
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


def test_without_options_in_the_folder_of_the_results(result: Path):
    before = names_in(result)
    done = run(CLEANSE_TABLE, cwd=result)
    lines = lines_of(done.stderr)
    assert (done.returncode, lines[-1]) == (0, "Cleanse dataset completed successfully.")
    assert names_in(result) - before == {"cleansed.csv", "cleansed.removed.csv"}
    cleanse(result / "influence.csv", output=result / "wanted.csv", n=0.05)
    assert (result / "cleansed.csv").read_bytes() == (result / "wanted.csv").read_bytes()
    assert lines[0].startswith("cleansed.csv: 38 of 40 rows")


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
def test_the_fields_choose_what_is_removed(result: Path, caplog, options, chosen):
    (result / "decided.csv").write_text("datasource_index;decision;label\n4;remove;\n6;relabel;0\n")
    code, lines = in_process(main, caplog, *options, "-o", "made.csv")
    assert code == 0, lines
    cleanse("influence.csv", output="wanted.csv", **chosen)
    assert Path("made.csv").read_bytes() == Path("wanted.csv").read_bytes()
    assert Path("made.removed.csv").read_bytes() == Path("wanted.removed.csv").read_bytes()


def test_the_training_dataset_gives_its_own_cells(result: Path, trained: Trained, caplog):
    assert in_process(main, caplog, "-t", trained.training, "-n", "1")[0] == 0
    own = trained.training.read_text(encoding="utf-8").splitlines()
    made = (result / "cleansed.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(made) == 40
    assert [line for line in own if line not in made] == [own[1 + 2]]  # datasource_index 2


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["-i", "none.csv"], 1, "none.csv"),
        (["-n", "39"], 1, "in the field allow-empty-class"),
        (["-a", "maybe"], 1, "'maybe' must be no or yes"),
        (["-o", "influence.csv"], 1, "influence.csv"),
        (["-n", "some"], 2, "nor harmful"),
        (["--guess", "1"], 2, "--guess"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    result: Path, caplog, arguments, code: int, named: str
):
    before = names_in(result)
    got, (line,) = in_process(main, caplog, *arguments)
    assert got == code
    assert line.startswith("Cleanse dataset failed: ")
    assert named in line
    assert names_in(result) == before
