"""The plugins as NNCD calls them: the server's rules, its empty file, its environment."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnabla_influence import lifeline, score
from nnabla_influence.cleansing import cleanse
from nnabla_influence.console import sgd_influence
from tests.console import nncd
from tests.console.nncd import clean, rank
from tests.console.scripts import in_process, make_model, names_in, scores_in
from tests.small_projects import Trained, edit, write_images

pytestmark = pytest.mark.slow


@dataclass
class Finished:
    """A job in which both plugins have run, one after the other."""

    ranking: nncd.Call
    cleansed: nncd.Call
    logs: tuple[str, str]
    server: nncd.Server


@pytest.fixture(scope="module")
def finished(trained: Trained, tmp_path_factory) -> Finished:
    job = nncd.job_folder(tmp_path_factory.mktemp("homes") / "ホーム 1")
    shutil.copy(trained.final, job / nncd.MODEL)
    elsewhere = tmp_path_factory.mktemp("application")
    before = set(trained.result.parent.rglob("*"))
    with nncd.server("influence-3-7") as server:
        env = nncd.surroundings(elsewhere / "hide", SERVER_PORT=str(server.port))
        ranking = nncd.call(nncd.TABLE, job)
        first = nncd.run(ranking, elsewhere, env)
        cleansed = nncd.call(nncd.CLEANSE, job)
        second = nncd.run(cleansed, elsewhere, env)
    assert names_in(elsewhere) == {"hide"}
    assert set(trained.result.parent.rglob("*")) == before
    return Finished(ranking, cleansed, (first, second), server)


def test_one_image_is_the_result(finished: Finished):
    for call, log in zip((finished.ranking, finished.cleansed), finished.logs):
        assert log.splitlines()[-1].endswith(" completed successfully."), log
        assert log.splitlines()[0].endswith(" starts ...")  # before nnabla's own first line
        assert nncd.shown(call.folder) == [call.picture]
        with Image.open(call.picture) as picture:
            assert (picture.format, picture.height) == ("PNG", 100)
        files = {path.name for path in call.folder.iterdir() if path.is_file()}
        assert files == {call.picture.name, "plugin_log.txt"}


def test_the_ranking_lies_one_folder_deeper(finished: Finished, trained: Trained):
    """From the model file alone: it names both CSVs."""
    ranking = finished.ranking.folder / "ranking" / "influence.csv"
    found = scores_in(ranking)
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
    assert [nncd.refused_by_the_page(path) for path in server.imported] == [None, None]
    # The comment column of names in Japanese is what the application would refuse.
    assert "Left out on the page Dataset: # name (a cell is not ASCII)" in finished.logs[0]
    ranking, cleansed = (path.read_text("ascii").splitlines() for path in server.imported)
    assert ranking[0].startswith("x__0,x__1,x__2,y:class,influence,")
    assert cleansed[0] == "x__0,x__1,x__2,y:class"
    assert (len(ranking), len(cleansed)) == (41, 39)


def test_without_a_server_only_the_entry_is_missing(job: Path, monkeypatch, caplog):
    monkeypatch.setenv("SERVER_PORT", "9")  # nobody listens there
    call, code, lines = rank(job, caplog)
    assert (code, lines[-1]) == (0, "SGD influence completed successfully.")
    (said,) = (line for line in lines if line.startswith("Not added to the page Dataset: "))
    assert "does not answer" in said
    assert nncd.shown(call.folder) == [call.picture]
    assert (call.folder / "ranking" / "influence.csv").is_file()


def test_nothing_is_imported_if_the_user_says_so(job: Path, monkeypatch, caplog):
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        call, code, _ = rank(job, caplog, import_dataset="No")
    assert code == 0
    assert server.asked == []
    assert names_in(call.folder / "ranking") == {"influence.csv", "review.html"}


def test_images_are_shown_and_imported(tmp_path: Path, unjudged, monkeypatch, caplog):
    monkeypatch.setattr(lifeline, "end_with_application", lambda _: None)
    net = write_images(tmp_path)
    edit(net, lambda proto: [setattr(d, "uri", str(tmp_path / d.uri)) for d in proto.dataset])
    job = nncd.job_folder(tmp_path / "home")
    make_model(net, job / nncd.MODEL)
    call = nncd.call(nncd.IMAGE, job, rows="2", output="pictures")
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        code, lines = in_process(sgd_influence.main, caplog, *call.command[3:])
    assert (code, lines[-1]) == (0, "SGD influence completed successfully.")
    scores = scores_in(call.folder / "ranking" / "influence.csv")
    worst = list(scores)
    assert scores[worst[1]] < 0
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


# -------------------------------------------------------------------------- Cleanse dataset


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


def test_a_training_csv_that_is_gone(job: Path, trained: Trained, tmp_path, caplog):
    ranking = tmp_path / "ranking.csv"
    score(trained.final, output=ranking)
    hidden = trained.training.with_name("gone.csv")
    trained.training.rename(hidden)
    try:
        call, code, lines = clean(job, caplog, ranking=str(ranking), remove="1")
    finally:
        hidden.rename(trained.training)
    assert code == 0, lines
    assert any("training dataset no longer exists" in line for line in lines)
    text = (call.folder / "dataset" / "cleansed.csv").read_text(encoding="utf-8-sig")
    assert len(text.splitlines()) == 40


def test_values_that_look_like_options(job: Path, caplog):
    _, code, lines = clean(job, caplog, ranking="--help", remove="-1,2")
    assert code == 2
    assert "'-1,2'" in lines[-1]
    _, code, lines = clean(job, caplog, ranking="--help", decisions="")
    assert (code, lines[-1].split(": ")[1]) == (1, "--help")
