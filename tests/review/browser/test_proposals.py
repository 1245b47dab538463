"""What a program proposes is decided by nobody until a person accepts it."""

from __future__ import annotations

import pytest

from nnabla_influence.commands.main import main
from tests.review.browser.conftest import TALL, Visit
from tests.review.browser.rankings import Project
from tests.review.browser.review_page import ReviewPage
from tests.review.browser.test_access import serious_faults
from tests.review.browser.test_decisions import decisions_of
from tests.review.browser.test_rows import CLIPPED, CUT
from tests.review.common import write_trainings

pytestmark = pytest.mark.slow

PROPOSED = {0: ("relabel", "2"), 1: ("remove", ""), 2: ("remove", ""), 4: ("keep", "")}


@pytest.fixture(scope="session")
def proposed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("proposed")
    ranking, proposals, page = write_trainings(folder), folder / "p.csv", folder / "review.html"
    lines = [f"{row},{decision},{label}\n" for row, (decision, label) in PROPOSED.items()]
    proposals.write_text("".join(["datasource_index,decision,label\n", *lines]))
    main(["review", "-i", str(ranking), "-o", str(page), "--proposals", str(proposals)])
    return Project(folder)


@pytest.fixture
def page(visit: Visit, proposed: Project) -> ReviewPage:
    page = visit(proposed.page, viewport=TALL)
    page.enter_list()
    return page


def seen(page: ReviewPage) -> list[str]:
    """What is written below the buttons of each row."""
    return [row["cells"]["decision"].rpartition("\n")[2] for row in page.rows()]


def test_a_proposal_is_no_decision(page):
    assert seen(page)[:3] == ["Proposed: → 2", "Proposed: remove", "Proposed: remove"]
    assert page.rows()[0]["said"].endswith("undecided (proposed: relabel to 2)")
    assert page.text("#progress").startswith("0 of")
    assert page.text("#proposals-count") == "4 proposals to decide on: 1 keep, 2 remove, 1 relabel"
    page.press("e")
    assert page.said() == "Nothing is decided yet."
    assert serious_faults(page) == []


def test_each_is_accepted_or_decided_otherwise(page):
    page.press("a", "k")
    page.page.click('.row[data-row="2"] .proposal')
    assert page.text("#proposals-count") == "1 proposal to decide on: 1 keep"
    assert decisions_of(page.export()) == {
        0: ("relabel", "2"),
        1: ("keep", ""),
        2: ("remove", ""),
    }
    assert "1 proposal is not accepted" in page.page.text_content("#next-done")
    page.press("u")
    assert page.rows()[2]["said"].endswith("undecided (proposed: remove)")


def test_relabel_offers_the_proposed_label(page):
    page.press("r", "Enter")
    assert decisions_of(page.export()) == {0: ("relabel", "2")}


def test_all_are_accepted_but_what_was_decided_stays(page):
    page.press("k")
    page.page.click("#accept-all")
    assert decisions_of(page.export()) == {**PROPOSED, 0: ("keep", "")}
    assert not page.page.is_visible("#proposals")
    page.press("u")
    assert page.text("#proposals-count") == "3 proposals to decide on: 1 keep, 2 remove"


def test_those_that_are_shown_are_accepted_with_two_keys(page):
    page.page.click("#show-proposals")
    assert page.order() == [*PROPOSED]
    page.page.select_option("#given", "1")
    page.enter_list()
    page.press("Control+a", "a")
    assert decisions_of(page.export()) == {row: PROPOSED[row] for row in (1, 4)}


@pytest.mark.parametrize("width", [1440, 1100, 700, 400])
def test_at_any_width_nothing_is_cut(visit, proposed, width):
    page = visit(proposed.page, viewport={"width": width, "height": 700}).page
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate(CLIPPED) == 0
    assert page.evaluate(CUT) == []
