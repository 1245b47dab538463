"""The whole way from two CSVs to advice."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from nnabla_influence import AdviceOptions, advise, cleanse, read_ranking
from nnabla_influence.advice import work
from nnabla_influence.advice.report import FILES
from nnabla_influence.commands.digits import Labels
from nnabla_influence.errors import DatasetError, InfluenceError, OutputError
from nnabla_influence.files import locked_folder
from tests.advice.conftest import BATCH, N, Table, V, digits, write_project, write_table

FEW = AdviceOptions(trainings=3, retrainings=3)


def advised(table: Table, output=None, **settings):
    return advise(
        table.model,
        train=table.training,
        validation=table.validation,
        output=output,
        **{"options": FEW, "device": "cpu", **settings},
    )


@pytest.fixture(scope="module")
def folder(mixed_up, tmp_path_factory):
    return tmp_path_factory.mktemp("out") / "結果"


@pytest.fixture(scope="module")
def advice(mixed_up, folder):
    return advised(mixed_up, folder)


def test_wrong_labels_are_found_and_changed(advice, mixed_up):
    changed = {*advice.removed.tolist(), *advice.relabelled}
    assert len(changed & mixed_up.wrong) > 0.5 * len(mixed_up.wrong)
    assert len(changed & mixed_up.wrong) > 0.5 * len(changed)
    assert advice.gain.is_sure
    assert advice.gain.mean > 0.02


def test_suggested_labels_are_mostly_right(advice, mixed_up):
    wrong = sorted(mixed_up.wrong)
    suggested = advice.ranking.scores.suggested_label[wrong]
    assert (suggested == digits()[1][wrong]).mean() > 0.6


def test_the_folder_is_what_cleanse_and_readers_take(advice, folder, mixed_up, tmp_path):
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert not folder.with_name(f"{folder.name}.partial").exists()
    ranking = read_ranking(folder / "influence.csv")
    assert ranking.order.tolist() == advice.order.tolist()
    assert ranking.scores.harmful_in.max() <= FEW.trainings
    numbers = json.loads((folder / "advice.json").read_text("utf-8"))
    assert numbers["removed"] == advice.removed.tolist()
    cleansed = cleanse(
        folder / "influence.csv",
        decisions=folder / "decisions.csv",
        output=tmp_path / "clean.csv",
    )
    assert set(cleansed.removed) == set(advice.removed.tolist())
    assert {row: int(v) for row, v in cleansed.relabelled.items()} == advice.relabelled


def test_the_same_call_gives_the_same_advice_in_workers_too(advice, mixed_up, tmp_path):
    again = advised(mixed_up, jobs=2)
    np.testing.assert_array_equal(again.removed, advice.removed)
    assert again.relabelled == advice.relabelled
    assert again.gain == advice.gain


def test_what_is_finished_is_not_trained_again(right, tmp_path, monkeypatch):
    output = tmp_path / "advice"
    monkeypatch.setattr(work, "judge", fail)
    with pytest.raises(InfluenceError):
        advised(right, output)
    kept = {path.name: path.stat().st_mtime_ns for path in partial(output).iterdir()}
    assert len(kept) == 3 * FEW.trainings
    monkeypatch.undo()
    monkeypatch.setattr(work, "score_and_judge", fail)
    advised(right, output)
    assert not partial(output).exists()


def test_a_changed_csv_or_a_second_command_does_not_mix(tmp_path, monkeypatch):
    table, output = write_project(tmp_path / "project", epochs=2), tmp_path / "advice"
    monkeypatch.setattr(work, "judge", fail)
    with pytest.raises(InfluenceError, match="stopped"):
        advised(table, output)
    kept = {*partial(output).iterdir()}
    text = table.training.read_text("utf-8-sig").splitlines(keepends=True)
    table.training.write_text("".join(text[:-40]), "utf-8")
    with pytest.raises(InfluenceError, match="stopped"):
        advised(table, output)
    assert len({*partial(output).iterdir()} - kept) == len(kept)
    with locked_folder(partial(output)), pytest.raises(OutputError, match="another command"):
        advised(table, output)
    partial(output).rename(tmp_path / "kept")
    partial(output).touch()
    with pytest.raises(OutputError, match=partial(output).name):
        advised(table, output)


def test_a_table_with_rows_that_the_loss_ignores_in_front(tmp_path):
    """An update takes longer than an epoch, too."""
    given = digits()[1][:N].copy()
    given[:BATCH] = -1
    table = write_project(tmp_path / "ignored", given, epochs=4, update_interval=30)
    found = advised(table, options=AdviceOptions(trainings=2, retrainings=2))
    assert np.isfinite(found.ranking.scores.influence).all()
    assert (found.ranking.scores.influence[:BATCH] == 0).all()
    assert (found.ranking.scores.relabel_gain[:BATCH] == 0).all()
    assert found.tried
    assert np.isfinite([*found.tried.values()]).all()


def fail(*_):
    raise InfluenceError("stopped")


def partial(output):
    return output.with_name(f"{output.name}.partial")


def test_right_labels_are_left_alone(right):
    found = advised(right)
    assert found.is_none
    assert len(found.order) == N
    assert not (found.gain and found.gain.is_sure)


def test_validation_rows_that_were_trained_on_do_not_judge(tmp_path):
    table = write_project(tmp_path / "shared")
    features, labels = digits()
    some = np.r_[0:30, N : N + 60]  # the first 30 are training rows
    write_table(table.folder, features[some], Labels.right(labels[some]), "validation")
    found = advised(table)
    assert found.comparison.shared.tolist() == list(range(30))
    assert found.comparison.judging.tolist() == list(range(30, 90))


def test_too_few_validation_rows_are_refused(tmp_path):
    table = write_project(tmp_path / "few")
    features, labels = digits()
    write_table(table.folder, features[:40], Labels.right(labels[:40]), "validation")
    with pytest.raises(DatasetError, match=r"validation\.csv"):
        advised(table)


def test_a_folder_of_something_else_is_not_replaced(right, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError):
        advised(right, tmp_path)
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.parametrize("wrong", [{"trainings": 1}, {"retrainings": 0}, {"target": "accuracy"}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InfluenceError):
        AdviceOptions(**wrong)


def test_decisions_name_their_ranking(advice, folder):
    with (folder / "decisions.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["datasource_index"]) for row in rows] == [
        row
        for row in advice.order.tolist()
        if row in advice.relabelled or row in set(advice.removed.tolist())
    ]
    assert all(row["ranking"].startswith("r") for row in rows)
    assert V
