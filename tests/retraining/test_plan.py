from __future__ import annotations

import pytest

from nnabla_influence.errors import InfluenceError
from nnabla_influence.options import CurveOptions
from nnabla_influence.retraining.plan import WorkUnit, numbers_of_rows, plan_of


def plan(**changed):
    settings = {
        "seeds": (0, 3, 0),
        "rankings": ("random", "final"),
        "removed": (0.1, 5),
        "protocols": ("last", "all"),
    }
    sizes = changed.pop("batch_sizes", (4, 8))
    return plan_of(CurveOptions(**{**settings, **changed}), 100, sizes)


def test_every_combination_is_retrained_once_and_no_removal_once_per_protocol():
    made = plan()
    assert (made.seeds, made.rankings, made.removed) == ((0, 3), ("final", "random"), (5, 10))
    assert (made.protocols, made.batch_sizes) == (("all", "last"), (4, 8))
    retrainings = [unit for one in made.trainings() for unit in made.retrainings(one)]
    units = [unit for one in made.trainings() for unit in made.units(one)]

    assert len(retrainings) == len(set(retrainings)) == 4 * 2 * (1 + 2 * 2)
    assert sum(unit.ranking == "none" for unit in retrainings) == 4 * 2
    assert len({u.record for u in units}) == len({str(u) for u in units}) == len(units)
    assert len(units) == len(retrainings) + 4 * (1 + 2)


def test_names():
    """Of records: those of 0.1.0's folders."""
    named = {
        WorkUnit(3, 32): ("seed3-batch32-training", "seed 3, batch size 32: training"),
        WorkUnit(3, 32, "final"): (
            "seed3-batch32-final-scores",
            "seed 3, batch size 32: scores by final",
        ),
        WorkUnit(3, 32, "final", 20, "last"): (
            "seed3-batch32-final-20-last",
            "seed 3, batch size 32: 20 rows by final removed, last epoch retrained",
        ),
        WorkUnit(3, 32, "none", 0, "all"): (
            "seed3-batch32-none-0-all",
            "seed 3, batch size 32: nothing removed",
        ),
    }
    for unit, names in named.items():
        assert (unit.record, str(unit)) == names
        assert unit.training == WorkUnit(3, 32)


def test_what_cannot_be_computed_is_refused():
    for changed, named in (
        ({"seeds": ()}, "no seed"),
        ({"seeds": (-1,)}, "seed -1"),
        ({"rankings": ("best",)}, "'best' .* final, exact-last, exact,"),
        ({"protocols": ("half",)}, "'half' .* all, last"),
        ({"removed": (100,)}, "100 rows .* 100"),
        ({"removed": (0,)}, "rows to remove 0"),
        ({"batch_sizes": (101,)}, "101 .* 100 rows"),
        ({"batch_sizes": (0,)}, "batch size 0"),
    ):
        with pytest.raises(InfluenceError, match=named):
            plan(**changed)


def test_numbers_and_fractions_of_rows_become_numbers():
    assert numbers_of_rows([0.1, 5, 0.05, 60], 100) == (5, 10, 60)
    for amount in (0.0, 1.0, -0.1, float("nan"), 0.001):
        with pytest.raises(InfluenceError, match=f"{amount}"):
            numbers_of_rows([amount], 100)
