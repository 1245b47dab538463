"""The plugin "Advise" in both Consoles, and "Cleanse dataset" after it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from nnabla_influence import cleanse, read_ranking
from nnabla_influence.advice.report import FILES
from nnabla_influence.console import cleanse_dataset
from nnabla_influence.console.advise import main
from tests.advice.conftest import N, Table, write_mixed_up
from tests.console import nncd
from tests.console.scripts import ADVISE_TABLE, in_process, lines_of, names_in, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mixed_up(tmp_path_factory) -> Table:
    return write_mixed_up(tmp_path_factory.mktemp("数字 project"))


@pytest.fixture(scope="module")
def results(mixed_up: Table, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder of the results in Windows NNC, in which Advise has run, and its log."""
    folder = tmp_path_factory.mktemp("results") / "結果 1"
    folder.mkdir()
    done = run(ADVISE_TABLE, "-m", mixed_up.model, "-d", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return folder, lines_of(done.stderr)


def numbers(folder: Path) -> dict:
    return json.loads((folder / "advice.json").read_text("utf-8"))


def test_windows_nnc(results):
    """From the model file alone: it names both CSVs."""
    folder, lines = results
    report = folder / "advice-report"
    assert names_in(folder) == {"advice.csv", report.name}
    assert names_in(report) == set(FILES)
    assert len(read_ranking(folder / "advice.csv")) == N
    assert lines[1].startswith("This takes 23 to 38 trainings of about ")
    assert any(line.startswith(f"Of {N} rows, ") for line in lines)
    assert f"To review the rows, open {report / 'review.html'} in a browser" in lines
    assert lines[-1] == "Advise completed successfully."


def test_windows_nnc_cleanses_as_advised(results, tmp_path, monkeypatch, caplog):
    report = results[0] / "advice-report"
    monkeypatch.chdir(tmp_path)
    code, lines = in_process(cleanse_dataset.main, caplog, "-ad", report)
    assert code == 0, lines
    cleanse(
        report / "influence.csv", output=tmp_path / "wanted.csv", decisions=report / "decisions.csv"
    )
    assert Path("cleansed.csv").read_bytes() == Path("wanted.csv").read_bytes()
    # Decisions from the page about the same ranking come first.
    Path("mine.csv").write_text("datasource_index,decision,label\n7,remove,\n")
    code, _ = in_process(
        cleanse_dataset.main, caplog, "-ad", report, "-d", "mine.csv", "-o", "7.csv"
    )
    assert code == 0
    assert len(Path("7.csv").read_text("utf-8").splitlines()) == N
    counts = numbers(report)
    said = f"{len(counts['removed'])} removed, {len(counts['relabelled'])} relabelled"
    assert said in lines[0]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["-m", "none.nnp"], 1, "none.nnp"),
        (["-k", "1"], 1, "trainings"),
        (["-g", "best"], 1, "'best'"),
        (["-v", "none.csv"], 1, "none.csv"),
        (["-o", "mine.csv"], 1, "mine.csv"),
        (["-o", "kept.csv"], 1, "kept-report"),
        (["-r", "x"], 2, "-r/--retrainings"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    mixed_up: Table, tmp_path, monkeypatch, caplog, arguments, code: int, named: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("x,y\n1,2\n")
    (tmp_path / "kept-report").mkdir()
    (tmp_path / "kept-report" / "mine.txt").touch()
    before = names_in(tmp_path)
    got, lines = in_process(main, caplog, "-m", mixed_up.model, *arguments)
    assert got == code
    assert lines[-1].startswith("Advise failed: ")
    assert named in lines[-1]
    assert names_in(tmp_path) == before


# ------------------------------------------------------------------------------------- NNCD


@dataclass
class Finished:
    """A job in which Advise and then Cleanse dataset have run."""

    advised: nncd.Call
    cleansed: nncd.Call
    logs: tuple[str, str]
    server: nncd.Server

    @property
    def report(self) -> Path:
        return self.advised.folder / "report"


@pytest.fixture(scope="module")
def finished(mixed_up: Table, tmp_path_factory) -> Finished:
    """In a Python without pandas, as the application's is."""
    job = nncd.job_folder(tmp_path_factory.mktemp("homes") / "ホーム 1")
    with zipfile.ZipFile(job / nncd.MODEL, "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.write(mixed_up.model, "net.nntxt")
    elsewhere = tmp_path_factory.mktemp("application")
    with nncd.server() as server:
        env = nncd.surroundings(elsewhere / "hide", SERVER_PORT=str(server.port))
        advised = nncd.call(nncd.ADVISE, job, device="cpu")
        first = nncd.run(advised, elsewhere, env)
        cleansed = nncd.call(nncd.CLEANSE, job, advice="latest")
        second = nncd.run(cleansed, elsewhere, env)
    return Finished(advised, cleansed, (first, second), server)


def test_nncd(finished: Finished):
    for call, log in zip((finished.advised, finished.cleansed), finished.logs):
        assert log.splitlines()[-1].endswith(" completed successfully."), log
        assert nncd.shown(call.folder) == [call.picture]
        with Image.open(call.picture) as picture:
            assert (picture.format, picture.height) == ("PNG", 100)
    assert names_in(finished.report) == {*FILES, "import"}
    assert f"open {finished.report / 'review.html'} in a browser" in finished.logs[0]


def test_nncd_gets_the_same_advice(finished: Finished, results):
    other = numbers(results[0] / "advice-report")
    assert numbers(finished.report)["removed"] == other["removed"]
    assert numbers(finished.report)["confirmed"] == other["confirmed"]


def test_nncd_imports_the_ranking_and_the_cleansed_dataset(finished: Finished):
    names = [path.name for path in finished.server.imported]
    assert names == ["advice-3-7.csv", "cleansed-3-7.csv"]
    assert [nncd.refused_by_the_page(path) for path in finished.server.imported] == [None, None]
    left = N - len(numbers(finished.report)["removed"])
    assert len(finished.server.imported[1].read_text("ascii").splitlines()) == 1 + left


def test_an_advice_to_keep_all_rows(job: Path, caplog, monkeypatch):
    """A second one of this name replaces it, with the copy for the page Dataset in its folder."""
    for _ in range(2):
        with nncd.server() as server:
            monkeypatch.setenv("SERVER_PORT", str(server.port))
            advised = nncd.call(nncd.ADVISE, job, trainings="2", retrainings="2", device="cpu")
            code, lines = in_process(main, caplog, *advised.command[3:])
        assert code == 0, lines
        assert nncd.shown(advised.folder) == [advised.picture]
        assert "Nothing here is worth changing: keep all 40 rows." in lines
        assert names_in(advised.folder / "report") == {*FILES, "import"}
        assert not any("To apply" in line for line in lines)
    _, code, lines = nncd.clean(job, caplog, advice="latest")
    assert code == 0, lines
    assert any("all 40 rows; nothing was removed or relabelled" in line for line in lines)
    _, code, lines = nncd.clean(job, caplog)  # its ranking can be used
    assert code == 0, lines
    assert any(f"is advice: {advised.folder / 'report' / 'influence.csv'}" in x for x in lines)


def test_a_job_without_advice(job: Path, caplog):
    _, code, lines = nncd.clean(job, caplog, advice="latest")
    assert code == 1
    assert "run Advise first" in lines[-1]
