"""What the page says of a ranking's verdict."""

from __future__ import annotations

import pytest

from nnabla_influence.commands.main import main
from tests.review.browser.conftest import Visit
from tests.review.browser.rankings import write_table


@pytest.mark.parametrize(
    ("said", "shown"),
    [(" / rough - made <b>by hand</b>", True), (" / reliable", False), ("", False)],
)
def test_a_rough_ranking_has_a_notice_with_the_reason(
    tmp_path, visit: Visit, said: str, shown: bool
):
    project = write_table(tmp_path)
    header, rest = project.ranking.read_text("utf-8-sig").split("\n", 1)
    cells = f'{header.rstrip()},"orders:recorded{said}"'
    lines = [f"{line},1" for line in rest.splitlines() if line]
    project.ranking.write_text("\n".join([cells, *lines, ""]), "utf-8")
    main(["review", "-i", str(project.ranking), "-o", str(project.page)])
    page = visit(project.page).page
    assert page.locator("#verdict").is_visible() == shown
    if shown:
        assert "rough (made <b>by hand</b>)" in page.locator("#verdict").inner_text()
    words = said.strip(" /").split(" - ")[0]
    assert words in page.locator("#facts").inner_text()
