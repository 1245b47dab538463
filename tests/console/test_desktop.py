"""The plugins as NNCD calls them: the server's rules, its empty file, its environment."""

from __future__ import annotations

import csv
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnabla_influence import score
from nnabla_influence.cleansing import cleanse
from nnabla_influence.console import cleanse_dataset, parent, sgd_influence
from nnabla_influence.console.desktop import Result
from nnabla_influence.console.strip import message
from nnabla_influence.files import take_lock
from tests.console import nncd
from tests.console.scripts import in_process
from tests.small_projects import Trained, edit, trained_table, write_images

NAME = "result_train_last.nnp"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    return trained_table(tmp_path_factory.getbasetemp())


@dataclass
class Finished:
    """A job in which both plugins have run, one after the other."""

    job: Path
    ranking: nncd.Call
    cleansed: nncd.Call
    logs: tuple[str, str]
    server: nncd.Server
    home: Path
    before: set[Path]


@pytest.fixture(scope="module")
def finished(trained: Trained, tmp_path_factory) -> Finished:
    home = tmp_path_factory.mktemp("homes") / "ホーム 1"
    job = nncd.job_folder(home)
    shutil.copy(trained.final, job / NAME)
    elsewhere = tmp_path_factory.mktemp("application")
    before = set(trained.result.parent.rglob("*"))
    with nncd.server("influence-3-7") as server:
        env = nncd.surroundings(elsewhere / "hide", SERVER_PORT=str(server.port))
        ranking = nncd.call(nncd.TABLE, job)
        first = nncd.run(ranking, elsewhere, env)
        cleansed = nncd.call(nncd.CLEANSE, job)
        second = nncd.run(cleansed, elsewhere, env)
    assert {entry.name for entry in elsewhere.iterdir()} == {"hide"}
    assert set(trained.result.parent.rglob("*")) == before
    return Finished(job, ranking, cleansed, (first, second), server, home, before)


def test_one_picture_is_the_result(finished: Finished):
    for call, log in zip((finished.ranking, finished.cleansed), finished.logs):
        assert log.splitlines()[-1].endswith(" completed successfully."), log
        assert log.splitlines()[0].endswith(" starts ...")  # before nnabla's own first line
        assert nncd.shown(call.folder) == [call.picture]
        with Image.open(call.picture) as picture:
            assert picture.format == "PNG"
            assert picture.height == 100
        assert [p.name for p in call.folder.iterdir() if p.is_file() and p != call.picture] == [
            "plugin_log.txt"
        ]


def test_the_ranking_lies_one_folder_deeper(finished: Finished, trained: Trained):
    """From the model file alone: it names both CSVs."""
    ranking = finished.ranking.folder / "ranking" / "influence.csv"
    with ranking.open(newline="", encoding="utf-8-sig") as file:
        found = {int(r["datasource_index"]): float(r["influence"]) for r in csv.DictReader(file)}
    assert found == dict(enumerate(score(trained.final).scores.influence))
    assert str(ranking) in finished.logs[0]
    assert f"open {ranking.with_name('review.html')} in a browser" in finished.logs[0]
    page = ranking.with_name("review.html").read_text(encoding="utf-8")
    assert f'"rows":{len(found)}' in page.replace(" ", "")


def test_the_newest_ranking_is_cleansed(finished: Finished, trained: Trained, tmp_path):
    folder = finished.cleansed.folder / "dataset"
    ranking = finished.ranking.folder / "ranking" / "influence.csv"
    wanted = cleanse(ranking, output=tmp_path / "x.csv", n=0.05, train=trained.training)
    assert len(wanted.removed) == 2
    assert (folder / "cleansed.csv").read_bytes() == (tmp_path / "x.csv").read_bytes()
    assert (folder / "cleansed.removed.csv").is_file()
    assert f"The newest ranking of this job is influence: {ranking}" in finished.logs[1]
    assert "38 of 40 rows; 2 removed" in finished.logs[1]
    assert ".tmp" not in finished.logs[1]


def test_both_are_datasets_of_the_application(finished: Finished):
    server = finished.server
    assert [path.name for path in server.imported] == ["influence-3-7-2.csv", "cleansed-3-7.csv"]
    assert "Added to the page Dataset as influence-3-7-2" in finished.logs[0]
    assert {asked["tenant_id"] for asked in server.asked} == {nncd.TENANT}
    for path in server.imported:
        assert nncd.refused_by_the_page(path) is None
    # The comment column of names in Japanese is what the application would refuse.
    assert "Left out on the page Dataset: # name (a cell is not ASCII)" in finished.logs[0]
    ranking, cleansed = (path.read_text("ascii").splitlines() for path in server.imported)
    assert ranking[0].startswith("x__0,x__1,x__2,y:class,influence,")
    assert cleansed[0] == "x__0,x__1,x__2,y:class"
    assert (len(ranking), len(cleansed)) == (41, 39)


# ------------------------------------------------------------- within this process, for speed


@pytest.fixture
def job(trained: Trained, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(parent, "end_with_parent", lambda _: None)
    monkeypatch.delenv("SERVER_PORT", raising=False)
    folder = nncd.job_folder(tmp_path / "home")
    shutil.copy(trained.final, folder / NAME)
    return folder


def rank(job: Path, caplog, **typed: str) -> tuple[nncd.Call, int, list[str]]:
    call = nncd.call(nncd.TABLE, job, **typed)
    code, lines = in_process(sgd_influence.main, caplog, *call.command[3:])
    return call, code, lines


def clean(job: Path, caplog, **typed: str) -> tuple[nncd.Call, int, list[str]]:
    call = nncd.call(nncd.CLEANSE, job, **typed)
    code, lines = in_process(cleanse_dataset.main, caplog, *call.command[3:])
    return call, code, lines


def test_without_a_server_the_ranking_is_as_good(job: Path, monkeypatch, caplog):
    monkeypatch.setenv("SERVER_PORT", "9")  # nobody listens there
    call, code, lines = rank(job, caplog)
    assert (code, lines[-1]) == (0, "SGD influence completed successfully.")
    said = [line for line in lines if line.startswith("Not added to the page Dataset: ")]
    assert len(said) == 1
    assert "the application's server does not answer" in said[0]
    assert nncd.shown(call.folder) == [call.picture]
    assert (call.folder / "ranking" / "influence.csv").is_file()


def test_nothing_is_imported_if_the_user_says_so(job: Path, monkeypatch, caplog):
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        call, code, _ = rank(job, caplog, import_dataset="No")
    assert code == 0
    assert server.asked == []
    assert {p.name for p in (call.folder / "ranking").iterdir()} == {
        "influence.csv",
        "review.html",
    }


def test_a_result_of_the_same_name_replaces_the_earlier_one_whole(job: Path, caplog):
    call, _, _ = rank(job, caplog)
    (call.folder / "ranking" / "of the earlier one").touch()
    first = call.picture.read_bytes()
    again, code, _ = rank(job, caplog, rows="1")
    assert (code, again.folder) == (0, call.folder)
    assert nncd.shown(call.folder) == [call.picture]
    assert call.picture.read_bytes() != first
    assert not (call.folder / "ranking" / "of the earlier one").exists()


@pytest.mark.parametrize("name", ["r", "ranking", "a.b", "f", "x y'(1)"])
def test_a_name_is_no_obstacle(job: Path, caplog, name: str):
    """Whatever begins with the result's name would be taken for it."""
    call, code, lines = rank(job, caplog, output=name)
    assert code == 0, lines
    assert nncd.shown(call.folder) == [call.picture]
    assert len(list(call.folder.glob("*/influence.csv"))) == 1


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        ({"window": "9"}, 1, "a window of 9 epochs was asked for"),
        ({"method": "best"}, 1, "'best'"),
        ({"rows": "0"}, 2, "'0' is not a whole number from 1"),
        ({"import_dataset": "perhaps"}, 1, "'perhaps' is none of yes, no"),
    ],
)
def test_a_failure_is_shown_in_words(job: Path, caplog, typed, code: int, message: str):
    """The exit code is ignored, and an empty file would look like a plugin that still runs."""
    call, got, lines = rank(job, caplog, **typed)
    assert got == code
    assert lines[-1].startswith("SGD influence failed: ")
    assert message in lines[-1]
    assert sorted(p.name for p in call.folder.iterdir()) == ["influence.png", "plugin_log.txt"]
    with Image.open(call.picture) as picture:
        assert picture.height == 100
        assert len(picture.getcolors(10**6)) > 1  # something is written on it


def test_a_failure_leaves_the_earlier_files(job: Path, caplog):
    call, _, _ = rank(job, caplog)
    kept = (call.folder / "ranking" / "influence.csv").read_bytes()
    assert rank(job, caplog, window="9")[1] == 1
    assert (call.folder / "ranking" / "influence.csv").read_bytes() == kept


def test_without_a_ranking_there_is_nothing_to_cleanse(job: Path, caplog):
    call, code, lines = clean(job, caplog)
    assert (code, lines[-1]) == (
        1,
        "Cleanse dataset failed: this job has no ranking yet; run SGD Influence first, or give the"
        " path of a ranking",
    )
    assert nncd.shown(call.folder) == [call.picture]


def test_a_ranking_and_decisions_that_were_typed(job: Path, trained: Trained, tmp_path, caplog):
    ranking, decisions = tmp_path / "私の ranking.csv", tmp_path / "決定 1.csv"
    score(trained.final, output=ranking)
    decisions.write_text("datasource_index,decision,label\n3,remove,\n5,relabel,1\n0,keep,\n")
    own = trained.training.read_text(encoding="utf-8").splitlines()
    assert own[6].endswith(",0")
    call, code, lines = clean(job, caplog, ranking=f'"{ranking}"', decisions=str(decisions))
    assert code == 0, lines
    written = (call.folder / "dataset" / "cleansed.csv").read_text(encoding="utf-8-sig")
    own[6] = own[6][:-1] + "1"
    assert written.splitlines() == own[:4] + own[5:]
    assert any("1 removed, 1 relabelled" in line for line in lines)


def test_every_harmful_row(job: Path, trained: Trained, caplog):
    rank(job, caplog)
    _, code, lines = clean(job, caplog, remove="Harmful", label_column="y", allow_empty_class="no")
    harmful = int((score(trained.final).scores.influence < 0).sum())
    assert code == 0
    assert any(f"; {harmful} removed" in line for line in lines)


def test_the_ranking_of_another_dataset_is_refused(job: Path, tmp_path, caplog):
    ranking = tmp_path / "other.csv"
    ranking.write_text("x__0,y,influence,datasource_index\n1,0,-0.5,0\n2,1,0.5,1\n")
    call, code, lines = clean(job, caplog, ranking=str(ranking))
    assert code == 1
    assert "other.csv" in lines[-1]
    assert sorted(p.name for p in call.folder.iterdir()) == ["cleansed.png", "plugin_log.txt"]


def test_a_training_csv_that_is_gone(job: Path, trained: Trained, tmp_path, caplog, monkeypatch):
    ranking = tmp_path / "ranking.csv"
    score(trained.final, output=ranking)
    hidden = trained.training.with_name("gone.csv")
    trained.training.rename(hidden)
    try:
        call, code, lines = clean(job, caplog, ranking=str(ranking), remove="1")
    finally:
        hidden.rename(trained.training)
    assert code == 0, lines
    assert any("training dataset is not there any more" in line for line in lines)
    text = (call.folder / "dataset" / "cleansed.csv").read_text(encoding="utf-8-sig")
    assert len(text.splitlines()) == 40


def test_images_are_shown_and_imported(tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(parent, "end_with_parent", lambda _: None)
    job = image_job(tmp_path)
    call = nncd.call(nncd.IMAGE, job, rows="2", output="pictures")
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        code, lines = in_process(sgd_influence.main, caplog, *call.command[3:])
    assert (code, lines[-1]) == (0, "SGD influence completed successfully.")
    with (call.folder / "ranking" / "influence.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["influence"]) < 0
    worst = [int(row["datasource_index"]) for row in rows]
    shown = np.asarray(Image.open(call.picture).convert("L"))
    for index in range(12):
        source = np.asarray(Image.open(tmp_path / f"training{index}.png"))
        large = np.kron(source, np.ones((9, 9), np.uint8))  # 6 pixels a side, of 56
        windows = np.lib.stride_tricks.sliding_window_view(shown[2:56], large.shape)[0]
        assert bool((windows == large).all(axis=(1, 2)).any()) == (index in worst[:2])
    (imported,) = server.imported
    assert imported.name == "pictures-3-7.csv"
    assert nncd.refused_by_the_page(imported) is None
    first = imported.read_text("ascii").splitlines()[1].split(",")[0]
    assert first == str(tmp_path / f"training{worst[0]}.png")


def image_job(folder: Path) -> Path:
    net = write_images(folder)
    edit(net, lambda proto: [setattr(d, "uri", str(folder / d.uri)) for d in proto.dataset])
    job = nncd.job_folder(folder / "home")
    with zipfile.ZipFile(job / NAME, "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.write(net, "net.nntxt")
        archive.write(folder / "net.h5", "parameter.h5")
    return job


@pytest.mark.parametrize("name", [".", "p", "plugin"])
def test_a_name_under_which_another_file_is_shown(job: Path, caplog, name: str):
    """The server lets ``.`` through, and takes the log for a result called ``p``."""
    _, code, lines = rank(job, caplog, output=name)
    assert code == 1
    assert "NNCD would show another file under this name of the result; choose" in lines[-1]
    left = [p.name for p in (job / "plugins").rglob("*") if p.is_file()]
    assert left == ["plugin_log.txt"]


def test_values_that_look_like_options(job: Path, caplog):
    _, code, lines = clean(job, caplog, ranking="--help", remove="-1,2")
    assert code == 2
    assert "'-1,2' is neither a number of rows from 1" in lines[-1]
    _, code, lines = clean(job, caplog, ranking="--help", decisions="")
    assert (code, lines[-1].split(": ")[1]) == (1, "--help")


def test_the_empty_file_goes_when_the_picture_is_there(tmp_path: Path, monkeypatch):
    """A result without a file is an error in the application; one with two may still be empty."""
    placeholder = tmp_path / "name" / "name.nnp"
    placeholder.parent.mkdir()
    placeholder.touch()
    pictures = []
    unlink = Path.unlink

    def note(path: Path, *more: object, **named: object) -> None:
        if path == placeholder:
            pictures.append((tmp_path / "name" / "name.png").exists())
        unlink(path, *more, **named)

    monkeypatch.setattr(Path, "unlink", note)
    with Result(placeholder) as result:
        result.show(message("title", "text"))
    assert pictures[0] is True
    assert nncd.shown(tmp_path / "name") == [tmp_path / "name" / "name.png"]


def test_what_a_killed_plugin_left_goes_with_the_next_one(job: Path, caplog):
    call = nncd.call(nncd.TABLE, job)
    left, used = call.folder / ".ranking.a.tmp", call.folder / ".ranking.b.tmp"
    for folder in (left, used):
        folder.mkdir()
        (folder / "lock").touch()
    with (used / "lock").open("r+") as lock:
        take_lock(lock)
        rank(job, caplog)
    assert used.exists()
    assert not left.exists()
