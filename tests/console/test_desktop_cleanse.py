"""Cleanse dataset as NNCD calls it: the fields of its dialog."""

from __future__ import annotations

from pathlib import Path

from nnabla_influence import score
from nnabla_influence.console import strip as strips
from tests.console import nncd
from tests.console.nncd import clean, rank
from tests.small_projects import Trained


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


def test_the_picture_counts_what_was_removed(
    job: Path, trained: Trained, tmp_path, caplog, monkeypatch
):
    """Of a class; a row that only got another label is said once, among the relabelled."""
    decisions = tmp_path / "decisions.csv"
    labels = [line[-1] for line in trained.training.read_text(encoding="utf-8").splitlines()[1:]]
    zeros, ones = ([i for i, label in enumerate(labels) if label == which] for which in "01")
    decisions.write_text(
        "datasource_index,decision,label\n"
        f"{zeros[0]},remove,\n{zeros[1]},remove,\n{zeros[2]},relabel,1\n{ones[0]},relabel,0\n"
    )
    headings: list[list[str]] = []
    draw = strips.strip
    monkeypatch.setattr(strips, "strip", lambda *a: (headings.append(a[0]), draw(*a))[1])
    rank(job, caplog)
    headings.clear()
    assert clean(job, caplog, decisions=str(decisions), import_dataset="no")[1] == 0
    assert headings == [
        [
            "38 of 40 rows stay.",
            "2 removed, 2 relabelled.",
            f"Class 0 loses 2 of {len(zeros)}.",
            "Not on the page Dataset.",
            "CSV: dataset/cleansed.csv",
        ]
    ]


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


def test_values_that_look_like_options(job: Path, caplog):
    _, code, lines = clean(job, caplog, ranking="--help", remove="-1,2")
    assert code == 2
    assert "'-1,2' is neither a number of rows from 1" in lines[-1]
    _, code, lines = clean(job, caplog, ranking="--help", decisions="")
    assert (code, lines[-1].split(": ")[1]) == (1, "--help")
