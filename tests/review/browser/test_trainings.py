"""A ranking of several trainings, with labels to suggest."""

from __future__ import annotations

import pytest

from nnabla_influence.commands.main import main
from tests.review.browser.conftest import TALL, Visit
from tests.review.browser.rankings import Project
from tests.review.browser.review_page import ReviewPage
from tests.review.browser.test_access import serious_faults
from tests.review.common import write_trainings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("trainings")
    page = folder / "review.html"
    main(["review", "-i", str(write_trainings(folder)), "-o", str(page), "--class-names", "a,b,c"])
    return Project(folder)


@pytest.fixture
def page(visit: Visit, trainings: Project) -> ReviewPage:
    page = visit(trainings.page, viewport=TALL)
    page.enter_list()
    return page


def test_how_far_the_trainings_agree(page):
    assert "5 trainings" in page.text("#facts")
    assert "influence-function" in page.text("#facts")
    first, *_ = page.rows()
    assert "± 0.13" in first["cells"]["influence"]
    assert "harmful in 4 of 5" in first["cells"]["influence"]


def test_a_label_is_suggested_only_where_it_is_better(page):
    assert "suggested 2 · c" in page.rows()[0]["cells"]["decision"]
    suggested = ["suggested" in row["cells"]["decision"] for row in page.rows()]
    assert suggested == [True] * 4 + [False] * 2
    page.press("r", "Enter", "ArrowDown", "ArrowDown", "r")
    # Class 3 has no rows, so that it cannot be given; the prediction is not new.
    row = page.rows()[3]
    assert row["said"].startswith("Rank 4, row 3, given 0 · a, predicted 0 · a, suggested 3")
    assert "relabel to 2 · c" in page.rows()[0]["said"]
    page.press("Enter")
    assert page.text("#relabel-problem")
    assert serious_faults(page) == []
