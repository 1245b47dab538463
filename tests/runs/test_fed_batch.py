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
    assert describe_other_values(fed(array), array.astype(np.float32)) is None
    assert describe_other_values(fed(array.astype(np.float64)), array.astype(np.float32)) is None
    nearly = (array * np.float32(1 + 1e-7)).astype(np.float32)
    assert describe_other_values(fed(array), nearly) is None


@pytest.mark.parametrize(
    ("factor", "offset", "words"),
    [
        (255, 0, "the CSV's values times 255"),
        (-1, 0, "the CSV's values times -1"),
        (4, -2, "the CSV's values times 4 -2"),
        (1, 0.5, "the CSV's values +0.5"),
    ],
)
@pytest.mark.parametrize("array", [IMAGES, LABELS])
def test_another_scale_is_named(factor, offset, words, array):
    assert describe_other_values(fed(factor * array + offset), array) == words


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[::-1],
        lambda a: a[..., ::-1],
        lambda a: a.swapaxes(2, 3),
        lambda a: a**2,
    ],
)
def test_other_values(change):
    assert describe_other_values(fed(change(IMAGES)), IMAGES) == "other values"


def test_it_reads_back_from_json():
    noted = fed_batch(np.arange(5), ["x", "y"], (IMAGES, LABELS))
    assert fed_batch_of(json.loads(json.dumps(dataclasses.asdict(noted)))) == noted
    for wrong in ({"rows": [1]}, "text", [3]):
        with pytest.raises(RunError, match="fed: "):
            fed_batch_of(wrong)


@pytest.mark.parametrize("data", [IMAGES, (IMAGES,), ("a", "b"), (IMAGES[:2], LABELS), iter("ab")])
def test_what_is_no_mini_batch_of_numbers_is_not_noted(data):
    assert fed_batch(np.arange(5), ["x", "y"], data) is None
