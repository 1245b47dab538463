from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from nnabla_influence.retraining.validation import validate as real_validate
from reproductions.lds_small_cnn import cell as cells
from reproductions.lds_small_cnn import half
from reproductions.lds_small_cnn import run as script

pytestmark = pytest.mark.slow

SMALL = cells.Size(n_training=96, n_validation=48, epochs=3, batch_size=16, rows=8, subsets=10)
KIND = cells.Kind("Sgd, cosine", "Sgd", 0.05, cosine=True)


@pytest.fixture(scope="module")
def computed():
    """A cell, what `validate` found on the way, and the second truth with everything left out."""
    seen = {}

    def validate(definition, **arguments):
        seen["found"] = real_validate(definition, **arguments)
        return seen["found"]

    def half_changes(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(half, "LEFT", 0.0)
            seen["whole"] = half.half_changes(*arguments)
        return half.half_changes(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "validate", validate)
        patch.setattr(cells, "half_changes", half_changes)
        seen["cell"] = cells.compute(KIND, 1, SMALL)
    return seen


def test_exact_scores_order_subsets_as_leaving_them_out_does(computed):
    figures = computed["cell"]["agreement"]
    assert figures["exact"]["lds"] > 0.9
    assert figures["exact"]["tau"] > 0.6
    assert figures["retest"]["lds_over_retest"] == 1.0
    assert computed["cell"]["half"]["exact"] > 0.9
    assert computed["cell"]["difference"] == 0


def test_the_second_truth_is_the_first_where_all_is_left_out(computed):
    # Beyond the rounding of losses that are evaluated in blocks of another size.
    np.testing.assert_allclose(computed["whole"], computed["found"].subset_changes, atol=1e-7)


def test_accuracy_is_that_of_the_final_parameters(computed):
    assert 1 / 48 < computed["cell"]["accuracy"] < 1
    # Rounded to a whole number of the 48 validation rows.
    assert (computed["cell"]["accuracy"] * 48) % 1 == pytest.approx(0)


def test_cells_are_computed_once_and_written_as_tables(computed, tmp_path, monkeypatch):
    calls = []

    def compute(kind, seed, size):
        calls.append(seed)
        return computed["cell"]

    monkeypatch.setattr(script, "compute", compute)
    for seeds in ([0, 1], [0, 1, 2]):
        script.run({"sgd": KIND}, seeds, SMALL, tmp_path, "said")
    assert calls == [0, 1, 2]
    with (tmp_path / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(r["seed"], r["scores"]) for r in lines][:4] == [
        *(("0", name) for name in ("exact", "final", "retest")),
        ("1", "exact"),
    ]
    assert float(lines[0]["lds"]) == pytest.approx(
        computed["cell"]["agreement"]["exact"]["lds"], rel=1e-5
    )
    table = (tmp_path / "table.md").read_text()
    assert f"| Sgd, cosine | 2 | {computed['cell']['agreement']['exact']['lds']:.3f} [" in table
    assert json.loads((tmp_path / "settings.json").read_text())["seeds"] == [0, 1, 2]


def test_scores_that_fail_are_shown(computed, tmp_path, monkeypatch):
    failing = {**computed["cell"], "failed": {"final": "the trace diverges"}}
    failing["agreement"] = {k: v for k, v in failing["agreement"].items() if k != "final"}
    monkeypatch.setattr(script, "compute", lambda *_: failing)
    script.run({"sgd": KIND}, [0], SMALL, tmp_path, "said")
    assert "| - (1 fail) |" in (tmp_path / "table.md").read_text()
    assert "final,fails" in (tmp_path / "results.csv").read_text()
