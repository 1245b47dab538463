from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nnabla_influence.errors import RunError
from nnabla_influence.runs.fed_batch import describe_other_values, fed_batch, fed_batch_of

RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(size=(5, 1, 3, 4)).astype(np.float32)
LABELS = np.array([[3], [0], [1], [1], [2]])


def fed(array):
    return fed_batch(np.arange(len(array)), ["x"], (array,)).inputs[0]


@pytest.mark.parametrize("array", [IMAGES, LABELS, np.zeros((5, 2)), np.full((5, 1), 7)])
def test_the_same_values_in_another_type_are_the_same(array):
    nearly = (array * np.float32(1 + 1e-7)).astype(np.float32)
    assert describe_other_values(fed(array.astype(np.float64)), nearly) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: 255 * a, "the CSV's values times 255"),
        (lambda a: 4 * a - 2, "other values"),
        (lambda a: a[::-1], "other values"),
        (lambda a: a[..., ::-1], "other values"),
        (lambda a: a.swapaxes(2, 3), "other values"),
    ],
)
def test_other_values_are_noticed_and_a_scale_is_named(change, words):
    assert describe_other_values(fed(change(IMAGES)), IMAGES) == words


def test_it_reads_back_from_json():
    noted = fed_batch(np.arange(5), ["x", "y"], (IMAGES, LABELS))
    assert fed_batch_of(json.loads(json.dumps(dataclasses.asdict(noted)))) == noted
    for wrong in ({"rows": [1]}, "text", [3]):
        with pytest.raises(RunError, match="fed: "):
            fed_batch_of(wrong)


@pytest.mark.parametrize("data", [IMAGES, (IMAGES,), ("a", "b"), (IMAGES[:2], LABELS), iter("ab")])
def test_what_is_no_mini_batch_of_numbers_is_not_noted(data):
    assert fed_batch(np.arange(5), ["x", "y"], data) is None
