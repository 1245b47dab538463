"""The table of groups, which is also a filter."""

from __future__ import annotations

import pytest

from nnabla_influence.commands.main import main
from tests.review.browser.conftest import Visit
from tests.review.browser.rankings import HOSTILE, Project, write_images
from tests.review.browser.review_page import ReviewPage, number
from tests.review.browser.test_access import WINDOW, serious_faults

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = write_images(tmp_path_factory.mktemp("groups データ"))
    words = ["-i", str(project.ranking), "-o", str(project.page), "--group-by", "note"]
    main(["review", *words, "--thumbnails", "0"])
    return project


@pytest.fixture
def page(visit: Visit, grouped: Project) -> ReviewPage:
    return visit(grouped.page)


def of(project: Project, note: str) -> list[dict[str, str]]:
    return [
        row for row in project.rows() if " ".join(row["#note"].split()) == " ".join(note.split())
    ]


def test_the_table_is_that_of_a_plain_loop_with_the_lowest_sum_first(page, grouped):
    assert page.text("#groups-heading") == "By #note"
    lines = page.table("#groups")
    assert len(lines) == len(HOSTILE)
    for note, rows, harmful, total, mean in lines:
        scores = [float(row["influence"]) for row in of(grouped, note)]
        assert (rows, harmful) == (str(len(scores)), str(sum(s < 0 for s in scores)))
        assert number(total) == pytest.approx(sum(scores), rel=0.06)
        assert number(mean.split(" ± ")[0]) == pytest.approx(sum(scores) / len(scores), rel=0.2)
    sums = [number(line[3]) for line in lines]
    assert sums == sorted(sums)


def test_a_click_shows_the_rows_of_a_group_and_another_all_again(page, grouped):
    first = page.page.locator("#groups button").first
    first.click()
    note = page.table("#groups")[0][0]
    own = [int(row["datasource_index"]) for row in of(grouped, note)]
    assert page.order() == own
    assert first.get_attribute("aria-pressed") == "true"
    page.press("Enter")
    assert len(page.order()) == len(grouped.rows())
    first.click()
    page.page.click("#clear-filters")
    assert first.get_attribute("aria-pressed") == "false"
    assert len(page.order()) == len(grouped.rows())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit, grouped, scheme):
    page = visit(grouped.page, viewport=WINDOW, color_scheme=scheme)
    page.page.click("#groups button >> nth=1")
    assert serious_faults(page) == []


def test_without_groups_there_is_no_table(visit, images):
    assert not visit(images.page).page.is_visible("#groups-section")
