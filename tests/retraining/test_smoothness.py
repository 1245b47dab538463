"""The quick check: its figure against retraining in float64, and its words."""

from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence import Options, Sample, ValidationOptions, quick_check, score
from nnabla_influence.retraining.smoothness import Smoothness, metasmoothness
from tests.commands.common import run
from tests.retraining.conftest import N, Project


def test_the_figure_is_that_of_retraining_in_float64(project: Project):
    ranking = project.folder / "exact all.csv"
    options = ValidationOptions(window="all", sample=Sample(seed=2))
    found = quick_check(project.net, run=project.run, rankings=[ranking], options=options)
    assert found.n_rows == 4
    rows = np.random.default_rng([2, 3]).permutation(N)[:4]
    losses = [project.true_losses(rows.tolist(), weight) for weight in (1, 0.5, 0)]
    assert found.value == pytest.approx(metasmoothness(*losses), abs=1e-4)
    assert "Exact scores: fine." in next(found.lines())


def test_smooth_and_rough_results():
    rng = np.random.default_rng(0)
    whole, slope = rng.normal(size=(2, 1000))
    assert metasmoothness(whole, whole + slope, whole + 2 * slope) == pytest.approx(1)
    assert metasmoothness(whole, whole + slope, whole) == pytest.approx(-1)
    assert abs(metasmoothness(*rng.normal(size=(3, 1000)) + 1e3 * np.arange(3)[:, None])) == 1
    some = np.array([3.0, 1.0])  # three quarters of the movement go on, a quarter turns back
    assert metasmoothness(0 * some, some, np.array([4.0, 0.5])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("value", "word"), [(0.7, "fine"), (0.69, "doubtful"), (0.29, "not to be trusted")]
)
def test_words(value, word):
    first, rates = Smoothness(value, 10).lines()
    assert f"Exact scores: {word}. Metasmoothness {value}" in first
    assert {"fine": "70, 0 and 0", "doubtful": "34, 13"}.get(word, "4, 15 and 8") in rates


def test_final_scores_have_no_quick_check(project: Project, tmp_path, capsys):
    ranking = tmp_path / "final.csv"
    final = Options(method="final", any_verdict=True)
    score(project.net, run=project.run, output=ranking, options=final)
    words = ["validate", "-m", project.net, "--run", project.run, "--quick", "--device", "cpu"]
    code, out, _ = run(capsys, *words, "-i", ranking)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "no quick check" in out
    code, out, _ = run(capsys, *words, "-i", ranking, "-i", project.folder / "exact last.csv")
    assert (code, len(out.splitlines())) == (0, 3)


def test_quick_writes_no_folder(project: Project, capsys):
    words = ["-m", project.net, "--run", project.run, "-i", project.folder / "exact last.csv"]
    for more in ([], ["--quick", "-o", "folder"]):
        code, _, err = run(capsys, "validate", *words, *more)
        assert code == 2
        assert "--quick" in err[-1]
