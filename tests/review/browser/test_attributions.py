"""Heat maps beside the pictures of the most harmful rows, and in the detail of a row."""

from __future__ import annotations

import pytest
from PIL import Image

from nnabla_influence.review.page import ShownAttribution, write_page
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.review.thumbnails import data_uri
from tests.review.browser.conftest import Visit
from tests.review.browser.rankings import Project, write_images
from tests.review.browser.test_access import WINDOW, serious_faults

pytestmark = pytest.mark.slow

NARROW = {"width": 400, "height": 800}
WARNING = "<b>the linear model fits badly"


@pytest.fixture(scope="session")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = write_images(tmp_path_factory.mktemp("maps データ"))
    picture = data_uri(Image.new("RGB", (120, 120), (230, 159, 0)))
    rows = [
        [
            ShownAttribution("given", "1", "LIME, R² 0.31", WARNING, picture=picture),
            ShownAttribution("predicted", "2", "LIME, R² 0.82", picture=picture),
        ],
        [ShownAttribution("given and predicted", "2", "LIME, R² 0.9", picture=picture)],
    ]
    reviewed = read_reviewed(project.ranking, class_names="cat,dog,cow,hen")
    write_page(reviewed, project.page, attributions=rows)
    return project


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_stand_beside_the_pictures_of_their_rows(
    visit: Visit, explained: Project, scheme: str
) -> None:
    page = visit(explained.page, viewport=WINDOW, color_scheme=scheme)
    captions = page.page.locator(".cell.pictures").evaluate_all(
        "(cells) => cells.map((c) => [...c.querySelectorAll('figure')].map((f) => f.innerText))"
    )
    assert captions[:3] == [["⚠ given", "predicted"], ["both"], []]
    row = int(explained.rows()[0]["datasource_index"])
    images = page.page.locator(".grid-body figure img")
    assert [image.get_attribute("alt") for image in images.all()[:2]] == [
        f"heat map for given 1 · dog (LIME, R² 0.31; {WARNING}) of row {row}",
        f"heat map for predicted 2 · cow (LIME, R² 0.82) of row {row}",
    ]
    detail = page.page.locator("#detail-body figcaption")
    assert detail.all_inner_texts() == [
        f"given 1 · dog\nLIME, R² 0.31\n⚠ {WARNING}",
        "predicted 2 · cow\nLIME, R² 0.82",
    ]
    assert serious_faults(page) == []


def test_in_a_narrow_window_the_whole_row_has_them(visit: Visit, explained: Project) -> None:
    page = visit(explained.page, viewport=NARROW)
    assert not page.page.locator(".grid-body figure").first.is_visible()
    page.enter_list()
    page.press("ArrowDown", "Enter")
    assert page.page.locator("#detail-dialog figcaption").all_inner_texts() == [
        "given and predicted 2 · cow\nLIME, R² 0.9"
    ]
    assert serious_faults(page) == []
    page.press("Escape")
    assert page.focused_row() == int(explained.rows()[1]["datasource_index"])
