from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.review.browser.rankings import N_ROWS

pytestmark = pytest.mark.slow

WINDOW = {"width": 1440, "height": 900}
IN_SIGHT = """() => {
    const row = document.activeElement.getBoundingClientRect();
    const viewport = document.getElementById('viewport').getBoundingClientRect();
    return row.top >= viewport.top && row.bottom <= viewport.bottom;
}"""


def serious_faults(page) -> list[str]:
    found = Axe().run(page.page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit, images, scheme):
    page = visit(images.page, viewport=WINDOW, color_scheme=scheme)
    page.enter_list()
    page.press("x", "k", "r")
    page.page.fill("#relabel-text", "cat")
    page.press("Enter", "Escape", "Shift+ArrowDown")
    page.page.click("details.numbers summary")
    page.page.fill("#from", "?")
    page.page.press("#from", "Enter")
    assert serious_faults(page) == []
    page.enter_list()
    page.press("r")
    assert serious_faults(page) == []


def test_axe_finds_no_serious_fault_in_a_narrow_window_of_a_table(visit, table):
    page = visit(table.page, viewport={"width": 400, "height": 800}, color_scheme="dark")
    page.enter_list()
    page.press("x")
    page.page.click("#open-next")
    assert serious_faults(page) == []
    page.press("Escape", "?")
    assert serious_faults(page) == []


def test_the_theme_can_be_switched_and_is_remembered(visit, images):
    page = visit(images.page, viewport=WINDOW, color_scheme="light")
    color = "() => getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(color)
    page.page.select_option("#theme", "dark")
    dark = page.page.evaluate(color)
    page.open(images.page)
    assert page.page.evaluate(color) == dark
    page.page.select_option("#theme", "system")
    assert page.page.evaluate(color) == light
    page.page.emulate_media(color_scheme="dark")
    assert page.page.evaluate(color) == dark


def test_the_list_tells_a_screen_reader_where_it_is(visit, images):
    page = visit(images.page, viewport=WINDOW)
    grid = page.page.get_by_role("grid", name="Rows")
    assert grid.get_attribute("aria-rowcount") == str(N_ROWS + 1)
    page.enter_list()
    page.press("End")
    row = images.rows()[-1]
    focused = page.page.locator(":focus")
    assert focused.get_attribute("aria-rowindex") == str(N_ROWS + 1)
    said = focused.get_attribute("aria-label")
    assert said.startswith(f"Rank {N_ROWS}, row {row['datasource_index']}, given {row['y:label']}")
    assert "helpful: without it the validation rows do worse" in said
    assert said.endswith(", undecided")
    page.press("x")
    assert page.page.locator(":focus").get_attribute("aria-label").endswith(", remove")


def test_the_focus_stays_on_its_row_while_the_list_scrolls(visit, images):
    page = visit(images.page, viewport=WINDOW)
    page.enter_list()
    page.press("ArrowDown")
    row = page.focused_row()
    page.page.mouse.move(700, 500)
    page.page.mouse.wheel(0, 100_000)
    page.page.wait_for_function("() => document.getElementById('viewport').scrollTop > 2000")
    page.page.wait_for_timeout(50)
    assert page.focused_row() == row
    assert not page.page.evaluate(IN_SIGHT)
    page.press("x")
    assert page.said().endswith("Nothing is decided yet.")
    assert page.focused_row() == row
    assert page.page.evaluate(IN_SIGHT)
    page.press("x")
    assert page.said() == f"Row {row}: remove."
    assert page.focused_row() == int(images.rows()[2]["datasource_index"])


def test_dialogs_give_the_focus_back_and_letters_can_be_turned_off(visit, images):
    page = visit(images.page, viewport=WINDOW)
    page.enter_list()
    row = page.focused_row()
    page.press("?", "Escape")
    assert page.focused_row() == row
    page.press("/")
    assert page.page.evaluate("() => document.activeElement.id") == "search"
    page.press("x", "ArrowDown")
    assert page.page.input_value("#search") == "x"
    page.page.click("#clear-filters")
    page.enter_list()
    page.press("?")
    page.page.uncheck("#letters")
    page.press("Escape", "x", "k")
    assert page.text("#progress") == f"0 of {N_ROWS} decided"


def test_the_rows_shown_are_printed(visit, images):
    page = visit(images.page, viewport=WINDOW)
    page.page.click("#only-harmful")
    harmful = [r for r in images.rows() if float(r["influence"]) < 0]
    page.page.emulate_media(media="print")
    page.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert [line[1] for line in page.table("#printed")] == [r["datasource_index"] for r in harmful]
    assert page.page.is_visible("#printed")
    assert not page.page.is_visible("#grid")
