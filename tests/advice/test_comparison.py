"""Which validation rows may judge."""

from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence.advice.comparison import compare, folds_of
from nnabla_influence.commands.digits import Labels
from nnabla_influence.errors import DatasetError
from tests.advice.conftest import N, digits, write_project, write_table


def compared(folder, rows, labels=None):
    table = write_project(folder / "project")
    features, right = digits()
    labels = right[rows] if labels is None else labels
    write_table(table.folder, features[rows], Labels.right(labels), "validation")
    return compare(table.inputs)


def test_only_new_rows_judge_and_each_once(tmp_path):
    rows = np.r_[3, N : N + 30, N + 2, 3, N + 2]
    found = compared(tmp_path, rows)
    assert found.shared.tolist() == [0, 32]
    assert found.repeated.tolist() == [31, 33]
    assert found.judging.tolist() == list(range(1, 31))


def test_the_halves_share_no_row_and_hold_all_classes(right):
    comparison = compare(right.inputs)
    halves = folds_of(comparison, 0)
    assert sorted([*halves[0], *halves[1]]) == comparison.judging.tolist()
    labels = digits()[1][N:]
    assert all({*labels[list(half)]} == {*range(10)} for half in halves)
    assert folds_of(comparison, 1) != halves


def test_rows_that_the_loss_ignores_do_not_judge(tmp_path):
    rows = np.arange(N, N + 40)
    labels = digits()[1][rows]
    labels[:5] = -1
    found = compared(tmp_path, rows, labels)
    assert found.judging.tolist() == list(range(5, 40))
    assert found.lacking == ()


def test_columns_in_another_order_are_refused(right, tmp_path):
    table = write_project(tmp_path / "project")
    text = table.validation.read_text("utf-8-sig")
    table.validation.write_text(text.replace("x__0,x__1,", "x__1,x__0,", 1), "utf-8")
    with pytest.raises(DatasetError, match="x__1"):
        compare(table.inputs)
