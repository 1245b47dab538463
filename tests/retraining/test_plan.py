from __future__ import annotations

import pytest

from nnabla_influence.errors import InfluenceError
from nnabla_influence.retraining.plan import Cell, Plan, Training, rows_of


def plan(**changed):
    settings = {
        "n_rows": 100,
        "seeds": (0, 3),
        "rankings": ("final", "random"),
        "removed": (5, 10),
        "protocols": ("all", "last"),
        "batch_sizes": (4, 8),
    }
    return Plan(**{**settings, **changed})


def test_every_combination_is_one_cell_and_no_removal_stands_once_per_protocol():
    made = plan()
    cells = [cell for training in made.trainings() for cell in made.cells(training)]

    assert len(list(made.trainings())) == 4
    assert len(cells) == len(set(cells)) == 4 * 2 * (1 + 2 * 2)
    assert len({cell.key for cell in cells}) == len({cell.name for cell in cells}) == len(cells)
    assert sum(cell.ranking == "none" for cell in cells) == 4 * 2


def test_a_cell_is_named_for_a_reader():
    training = Training(3, 32)

    assert Cell(training, "final", 20, "last").name == (
        "seed 3, batch size 32: 20 rows by final removed, last epoch redone"
    )
    assert Cell(training, "none", 0, "all").name == "seed 3, batch size 32: nothing removed"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": ()}, "no seed is chosen; choose at least one"),
        ({"seeds": (1, 1)}, "seed 1 is chosen twice; choose it once"),
        ({"seeds": (-1,)}, "seed -1 is not a whole number from 0"),
        ({"seeds": (2**32,)}, "seed 4294967296 is larger than 4294967295"),
        (
            {"rankings": ("best",)},
            "ranking 'best' is unknown; choose from final, exact-last, exact,",
        ),
        ({"rankings": ("final", "final")}, "ranking 'final' is chosen twice"),
        ({"protocols": ("half",)}, "protocol 'half' is unknown; choose from all, last"),
        (
            {"removed": (100,)},
            "100 rows cannot be removed from a training CSV of 100; remove fewer",
        ),
        ({"removed": (0,)}, "number of rows to remove 0 is not a whole number from 1"),
        ({"removed": (True,)}, "number of rows to remove True is not a whole number from 1"),
        ({"batch_sizes": (101,)}, "batch size 101 is larger than the training CSV of 100 rows"),
        ({"batch_sizes": (0,)}, "batch size 0 is not a whole number from 1"),
    ],
)
def test_what_cannot_be_computed_is_refused(changed, message):
    with pytest.raises(InfluenceError) as caught:
        plan(**changed)

    assert message in str(caught.value)


def test_numbers_and_fractions_of_rows_become_numbers():
    assert rows_of([0.1, 5, 0.05, 60], 100) == (5, 10, 60)


@pytest.mark.parametrize("amount", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_of_0_and_1_is_refused(amount):
    with pytest.raises(InfluenceError, match="neither a number of rows nor a fraction"):
        rows_of([amount], 100)


def test_a_fraction_of_less_than_a_row_is_refused():
    with pytest.raises(InfluenceError, match=r"the fraction 0.001 of 100 training rows is not one"):
        rows_of([0.001], 100)
