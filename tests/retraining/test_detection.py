"""Detection against scikit-learn, and against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from nnabla_influence.retraining.detection import detect
from nnabla_influence.retraining.detection_table import (
    DetectionResult,
    detection_frame,
    found_at_flipped,
)
from nnabla_influence.retraining.tables import write_table


def test_by_hand():
    #  place in the ranking:  2    0     3    1    4
    scores = np.array([-1.0, -3.0, 0.0, -2.0, 5.0])
    flipped = np.array([True, True, False, False, False])
    found = detect(scores, flipped, [1, 3, 5])
    assert (found.counts, found.found) == ((1, 2, 3, 5), (1, 1, 2, 2))
    assert found.precision == (1, 1 / 2, 2 / 3, 2 / 5)
    assert found.recall == (1 / 2, 1 / 2, 1, 1)
    assert (found.flipped, found.rows) == (2, 5)
    # Of the six pairs of a flipped and another row, one stands the wrong way.
    assert found.roc_auc == pytest.approx(5 / 6)


def test_equal_scores_stand_in_the_order_of_their_rows():
    flipped = np.array([False, True, False, True])
    assert detect(np.zeros(4), flipped, [1, 2, 3]).found == (0, 1, 1)
    assert detect(np.zeros(4), flipped, []).roc_auc == 0.5


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_scikit_learns_ties_included(rows: list[tuple[int, bool]]):
    scores, flipped = (np.array(column) for column in zip(*rows))
    found = detect(scores, flipped, [len(rows)])
    if not flipped.any():
        assert found is None
    elif flipped.all():
        assert math.isnan(found.roc_auc)
    else:
        # There, the class that is sought has the higher scores.
        assert found.roc_auc == pytest.approx(roc_auc_score(flipped, -scores))


@pytest.mark.parametrize(
    ("scores", "flipped", "counts", "words"),
    [
        ([1.0, 2.0], [True], [1], r"scores \(2,\) and flips \(1,\) of bool: both are \(N,\)"),
        ([1.0, 2.0], [1, 0], [1], "of int64: both are"),
        ([1.0, math.nan], [True, False], [1], "the score of row 1 is not a number"),
        ([1.0, 2.0], [True, False], [0, 1], "0 rows cannot be looked at: there are 2"),
        ([1.0, 2.0], [True, False], [3], "3 rows cannot be looked at: there are 2"),
    ],
)
def test_what_cannot_be_looked_at(scores, flipped, counts, words: str):
    with pytest.raises(ValueError, match=words):
        detect(np.array(scores), np.array(flipped), counts)


def results() -> list[DetectionResult]:
    flips = np.array([True, True, False, False])
    better, worse = np.array([0.0, 1, 2, 3]), np.array([0.0, 2, 1, 3])
    return [
        DetectionResult(1, 32, "final", detect(worse, flips, [1])),
        DetectionResult(0, 32, "random", detect(-better, flips, [1])),
        DetectionResult(0, 32, "final", detect(better, flips, [1])),
    ]


def test_the_table(tmp_path):
    written = []
    for some in (results(), results()[::-1]):
        write_table(tmp_path / "detection.csv", detection_frame(some))
        written.append((tmp_path / "detection.csv").read_text("utf-8"))
    assert written[0] == written[1]
    assert written[0].splitlines() == [
        "seed,batch_size,ranking,k,found,precision,recall,roc_auc,flipped,rows",
        "0,32,final,1,1,1.0,0.5,1.0,2,4",
        "0,32,final,2,2,1.0,1.0,1.0,2,4",
        "1,32,final,1,1,1.0,0.5,0.75,2,4",
        "1,32,final,2,1,0.5,0.5,0.75,2,4",
        "0,32,random,1,0,0.0,0.0,0.0,2,4",
        "0,32,random,2,0,0.0,0.0,0.0,2,4",
    ]


def test_one_ranking_has_one_line():
    with pytest.raises(ValueError, match="two detections of seed 1, final, batch size 32"):
        detection_frame([*results(), results()[0]])


def test_means_at_as_many_rows_as_are_flipped():
    final, blind = found_at_flipped(detection_frame(results())).to_dict("records")
    assert (final["ranking"], final["precision"], final["roc_auc"]) == ("final", 0.75, 0.875)
    assert final["precision_std"] == pytest.approx(0.5 / math.sqrt(2))
    assert final["roc_auc_std"] == pytest.approx(0.25 / math.sqrt(2))
    assert (blind["ranking"], blind["precision"]) == ("random", 0)
    assert math.isnan(blind["precision_std"])
