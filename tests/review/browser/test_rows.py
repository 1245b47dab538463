from __future__ import annotations

import re

import pytest

from tests.review.browser.rankings import CLASS_NAMES, HOSTILE, N_ROWS
from tests.review.browser.review_page import number

pytestmark = pytest.mark.slow

LABEL = "y:label"


@pytest.fixture
def page(shared_page):
    shared_page.page.select_option("#sort", "harmful")
    if shared_page.page.is_enabled("#clear-filters"):
        shared_page.page.click("#clear-filters")
    return shared_page


def index(row: dict[str, str]) -> int:
    return int(row["datasource_index"])


def shown_class(value: str) -> str:
    name = CLASS_NAMES[int(value)]
    return f"{value} · {name}" if name else value


def test_every_row_shows_what_the_ranking_holds(page, images):
    expected = images.rows()
    rows = page.rows()
    assert [row["row"] for row in rows] == [index(row) for row in expected]
    for rank, (row, cells) in enumerate(zip(rows, expected), 1):
        influence = float(cells["influence"])
        word, consequence = (
            ("harmful", "without it the validation rows do better")
            if influence < 0
            else ("helpful", "without it the validation rows do worse")
            if influence > 0
            else ("not judged", "the traced steps never saw it")
            if cells["times_seen"] == "0"
            else ("neutral", "without it the validation rows do as well")
        )
        shown = row["cells"]
        assert shown["rank"].split() == [str(rank), "row", cells["datasource_index"]]
        assert f"given {shown_class(cells[LABEL])}" in shown["labels"]
        assert f"predicted {shown_class(cells['predicted'])}" in shown["labels"]
        assert ("≠ differ" in shown["labels"]) == (cells[LABEL] != cells["predicted"])
        first, *rest = shown["influence"].splitlines()
        assert first.rsplit(" ", 1)[0] == word
        assert number(first.rsplit(" ", 1)[1]) == pytest.approx(influence, rel=5e-3)
        assert consequence in " ".join(rest)
        assert number(shown["loss"]) == pytest.approx(float(cells["loss"]), rel=5e-3)
        assert cells["x:image"].removeprefix("./") in shown["about"]
        assert f"{word}: {consequence}" in row["said"]


def test_the_pictures_are_those_of_the_first_rows(page, images):
    row = f'.row[data-row="{index(images.rows()[0])}"]'
    page.page.wait_for_selector(f"{row} img.pixels")
    assert page.page.eval_on_selector(f"{row} img", "(i) => [i.naturalWidth, i.naturalHeight]") == [
        8,
        8,
    ]
    with_picture = page.page.eval_on_selector_all(
        ".grid-body .row:has(img)", "(rows) => rows.map((row) => Number(row.dataset.row))"
    )
    assert set(with_picture) == {index(row) for row in images.rows()[:20]}


def test_hostile_cells_stay_text(page):
    shown = "\n".join(row["cells"]["about"] for row in page.rows())
    for text in HOSTILE:
        assert re.sub(r"\s", "", text) in re.sub(r"\s", "", shown)
    assert page.page.evaluate("() => window.hacked") is None
    assert page.page.locator("b", has_text="dog").count() > 0
    assert page.page.evaluate("() => document.scripts.length") == 2


# By the name of the order: what Python's sort goes by. Equal rows follow in the order of harm.
ORDERS = {
    "harmful": lambda row: float(row["influence"]),
    "helpful": lambda row: -float(row["influence"]),
    "differs": lambda row: row[LABEL] == row["predicted"],
    "loss": lambda row: -float(row["loss"]),
    "loss-up": lambda row: float(row["loss"]),
    "row": index,
    "row-down": lambda row: -index(row),
}


def test_each_order_is_that_of_a_plain_sort(page, images):
    offered = page.page.eval_on_selector_all("#sort option", "(all) => all.map((o) => o.value)")
    assert offered == list(ORDERS)
    for name, key in ORDERS.items():
        page.page.select_option("#sort", name)
        assert page.order() == [index(row) for row in sorted(images.rows(), key=key)], name


# What is done on the page, and what a row must be to stay.
FILTERS = {
    "given": (lambda p: p.select_option("#given", "1"), lambda r: r[LABEL] == "1"),
    "predicted": (lambda p: p.select_option("#predicted", "2"), lambda r: r["predicted"] == "2"),
    "differs": (lambda p: p.check("#differs"), lambda r: r[LABEL] != r["predicted"]),
    "harmful": (lambda p: p.click("#only-harmful"), lambda r: float(r["influence"]) < 0),
    "helpful": (lambda p: p.click("#only-helpful"), lambda r: float(r["influence"]) > 0),
    "range": (
        lambda p: (p.fill("#from", "-0.005"), p.fill("#to", "2e-3"), p.press("#to", "Enter")),
        lambda r: -0.005 <= float(r["influence"]) <= 2e-3,
    ),
    "file": (lambda p: p.fill("#search", "絵 3/"), lambda r: "絵 3/" in r["x:image"]),
    "comment": (lambda p: p.fill("#search", "ÜNÏCODE"), lambda r: "Ünïcode" in r["#note"]),
    "class table": (
        lambda p: p.click("#classes tbody button >> nth=3"),
        lambda r: r[LABEL] == "3",
    ),
}


def test_each_filter_leaves_the_rows_of_a_plain_loop(page, images):
    for name, (do, stays) in FILTERS.items():
        do(page.page)
        expected = [index(row) for row in images.rows() if stays(row)]
        assert 0 < len(expected) < N_ROWS
        assert page.order() == expected, name
        assert page.text("#shown") == f"{len(expected)} of {N_ROWS} shown"
        page.page.click("#clear-filters")
        assert len(page.order()) == N_ROWS


def test_filters_hold_together_and_an_empty_list_says_so(page, images):
    page.page.click("#only-harmful")
    page.page.select_option("#given", "2")
    expected = [r for r in images.rows() if float(r["influence"]) < 0 and r[LABEL] == "2"]
    assert page.order() == [index(row) for row in expected]
    page.page.fill("#search", "no such file")
    assert page.order() == [] or not page.page.is_visible("#grid")
    assert "No row passes the filters" in page.text("#empty")
    page.page.click("#empty-clear")
    assert len(page.order()) == N_ROWS


def test_the_histogram_counts_every_row_and_filters(page, images):
    page.page.click("details.numbers summary")
    bars = [(number(a), number(b), int(n)) for a, b, n in page.table("#histogram-table")]
    values = [float(row["influence"]) for row in images.rows()]
    assert sum(count for _, _, count in bars) == N_ROWS
    # The borders are shown rounded, but for zero, which is one of them.
    assert sum(count for _, high, count in bars if high <= 0) == sum(v < 0 for v in values)
    box = page.page.locator("#histogram svg").bounding_box()
    y = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + 1, y)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] / 4, y)
    page.page.mouse.up()
    limit = float(page.page.input_value("#to"))
    assert page.page.input_value("#from") == ""
    assert page.order() == [index(r) for r, v in zip(images.rows(), values) if v <= limit]
    assert 0 < len(page.order()) < N_ROWS


def test_the_class_table_is_that_of_a_plain_loop(page, images):
    for value, shown in zip("0123", page.table("#classes")):
        own = [row for row in images.rows() if row[LABEL] == value]
        scores = [float(row["influence"]) for row in own]
        assert shown[:3] == [shown_class(value), str(len(own)), str(sum(s < 0 for s in scores))]
        assert number(shown[3]) == pytest.approx(sum(scores) / len(own), rel=0.05)
        assert shown[4:] == [str(sum(row["predicted"] != value for row in own)), "0"]


def test_a_table_shows_its_features(visit, table):
    page = visit(table.page)
    for row, cells in zip(page.rows(), table.rows()):
        assert f"length 0 {cells['x__0:length 0']}" in row["cells"]["about"].replace("\n", " ")
    page.enter_list()
    page.press("Enter")
    detail = dict(
        page.page.eval_on_selector_all(
            "#detail-dialog dl div",
            "(all) => all.map((d) => [...d.children].map((c) => c.innerText))",
        )
    )
    first = table.rows()[0]
    assert detail["length 31"] == first["x__31:length 31"]
    assert "length 32" not in detail
    assert "8 more features" in page.text("#detail-dialog")
    assert number(detail["Influence"]) == float(first["influence"])


def test_a_regression_shows_how_far_off_each_row_is(visit, regression):
    page = visit(regression.page)
    assert page.text("h1") == "<Häuser>"
    assert not page.page.is_visible("#given")
    assert not page.page.is_visible("#classes")

    def error(row):
        return abs(float(row["y"]) - float(row["predicted"]))

    for row, cells in zip(page.rows(), regression.rows()):
        off = re.search(r"off by (\S+)", row["cells"]["labels"])
        assert number(off.group(1)) == pytest.approx(error(cells), rel=5e-3)
    page.page.select_option("#sort", "error")
    expected = sorted(regression.rows(), key=error, reverse=True)
    assert page.order() == [index(row) for row in expected]


CLIPPED = """() => [...document.querySelectorAll('.grid-body .row:not([hidden]) button')]
    .filter((button) => {
        const box = button.getBoundingClientRect();
        const row = button.closest('.row').getBoundingClientRect();
        return button.offsetParent && (box.right > innerWidth || box.bottom > row.bottom);
    }).length"""


# Numbers that reach out of their cell, or of what hides a part of it.
CUT = r"""() => {
    const cut = [];
    for (const row of document.querySelectorAll('.grid-body .row:not([hidden])')) {
        const texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const text = texts.currentNode;
            if (!/^\s*[\u2212-]?\d+(\.\d+)?(e[\u2212-]?\d+)?\s*$/.test(text.data)) continue;
            const range = document.createRange();
            range.selectNodeContents(text);
            for (const box of range.getClientRects()) {
                const hider = text.parentElement.closest('.features, .line, .comment, .cell');
                const room = hider.getBoundingClientRect();
                const cell = text.parentElement.closest('.cell').getBoundingClientRect();
                // A line of features below the last one that is shown is hidden as a whole.
                const isHidden = box.top >= room.bottom - 1;
                if (isHidden || !box.width) continue;
                const right = Math.min(room.right, cell.right) + 1;
                if (box.right > right || box.bottom > room.bottom + 2)
                    cut.push(text.data + ' in ' + text.parentElement.className);
            }
        }
    }
    return cut;
}"""


def test_at_any_width_nothing_scrolls_sideways_and_no_number_is_cut(
    visit, images, table, regression
):
    for project in (images, table, regression):
        page = visit(project.page, viewport={"width": 1100, "height": 700}).page
        for width in (1440, 1344, 1280, 1100, 700, 400):
            page.set_viewport_size({"width": width, "height": 700})
            page.evaluate("() => new Promise(requestAnimationFrame)")
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            assert page.evaluate(CLIPPED) == 0
            assert page.evaluate(CUT) == [], width


def test_scrolling_shows_every_row_though_few_are_in_the_document(visit, images):
    page = visit(images.page, viewport={"width": 1000, "height": 700})
    expected = [index(row) for row in images.rows()]
    seen = []
    for place in range(0, N_ROWS, 4):
        page.page.evaluate(
            "(place) => { const v = document.getElementById('viewport');"
            " v.scrollTop = place * document.querySelector('.grid-body .row').offsetHeight; }",
            place,
        )
        page.page.wait_for_function(
            "(places) => places.every((p) => document.querySelector("
            "`.grid-body .row:not([hidden])[aria-rowindex='${p + 2}']`))",
            arg=list(range(place, min(place + 4, N_ROWS))),
        )
        rows = page.rows()
        assert len(rows) < N_ROWS
        seen += [row["row"] for row in rows if place <= row["place"] < place + 4]
        assert all(expected[row["place"]] == row["row"] for row in rows)
    assert seen == expected
