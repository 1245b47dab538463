"""The page of an explanation with a ranking, in a browser: decisions, by keyboard alone."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnabla_influence import Explanation, explain
from nnabla_influence.cleansing.decisions import ranking_id
from nnabla_influence.commands.main import main
from tests.review.browser.test_access import serious_faults
from tests.small_projects import write_images

pytestmark = pytest.mark.slow

NAMES = ("</script><script>window.hacked = 1</script>", "\"猫' \u202e neko", "<img src=x>")
WINDOW = {"width": 1280, "height": 900}


@dataclass(frozen=True)
class Explained:
    folder: Path
    found: Explanation

    @property
    def page(self) -> Path:
        return self.folder / "explain.html"

    @property
    def ranking(self) -> Path:
        return self.folder / "explain.csv"

    def shown_twice(self) -> int:
        """A training row that is shown for both evaluated rows."""
        one, other = (
            {cause.row for cause in (*answer.opponents, *answer.proponents)}
            for answer in self.found.answers
        )
        return min(one & other)


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    folder = tmp_path_factory.mktemp("explained データ")
    net = write_images(folder)
    for part in ("training", "validation"):
        path = folder / f"{part}.csv"
        lines = path.read_text(encoding="utf-8").splitlines()
        header = ["x:image", f"y:label;{';'.join(NAMES)}"]
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *(line.split(",") for line in lines[1:])])
    found = explain(
        net,
        parameters=folder / "net.h5",
        rows=[5, 3],
        output=folder / "explain.html",
        ranking=folder / "explain.csv",
    )
    return Explained(folder, found)


def tab_to(page, selector: str) -> None:
    for _ in range(500):
        page.press("Tab")
        if page.page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"Tab never comes to {selector}")


def pressed(page, row: int) -> list[list[str]]:
    """The words of the pressed buttons, at each place where a training row is shown."""
    return page.page.evaluate(
        "(row) => [...document.querySelectorAll(`[data-row='${row}']`)].map((place) =>"
        " [...place.querySelectorAll('[aria-pressed=true]')].map((b) => b.innerText))",
        row,
    )


def test_decisions_by_keyboard_reach_the_right_rows(visit, explained, tmp_path):
    page = visit(explained.page, viewport=WINDOW)
    first = explained.found.answers[0].opponents
    twice = explained.shown_twice()
    others = [cause for cause in first if cause.row != twice]
    removed, relabelled = others[0], others[1]

    tab_to(page, f"[data-row='{removed.row}'] .remove")
    page.press("Space")
    assert page.said() == f"Training row {removed.row}: remove."
    assert pressed(page, twice) == [[], []]
    page.page.focus(f"[data-row='{twice}'] .keep")
    page.press("Enter")
    assert pressed(page, twice) == [["Keep"], ["Keep"]]
    page.page.focus(f"[data-row='{relabelled.row}'] .relabel")
    page.press("Enter")  # to the suggested class
    assert str(relabelled.suggested) in page.said()
    [third] = {0, 1, 2} - {relabelled.given, relabelled.suggested}
    page.press("Tab", "ArrowDown" if relabelled.suggested < third else "ArrowUp")
    assert page.text("#counts").startswith("3 decisions: 1 keep, 1 remove, 1 relabel")
    tab_to(page, "#export")
    with page.page.expect_download() as download:
        page.press("Enter")
    assert download.value.suggested_filename == "decisions.csv"
    decisions = tmp_path / "decisions.csv"
    download.value.save_as(decisions)
    assert page.text("#counts").endswith("; exported")

    lines = list(csv.DictReader(io.StringIO(decisions.read_text(encoding="utf-8-sig"))))
    assert {line["ranking"] for line in lines} == {ranking_id(explained.ranking)}
    assert {(int(line["datasource_index"]), line["decision"], line["label"]) for line in lines} == {
        (removed.row, "remove", ""),
        (twice, "keep", ""),
        (relabelled.row, "relabel", str(third)),
    }
    clean = tmp_path / "clean.csv"
    files = {"-i": explained.ranking, "--decisions": decisions, "-o": clean}
    main(["cleanse", *(str(word) for pair in files.items() for word in pair)])
    with (explained.folder / "training.csv").open(encoding="utf-8", newline="") as file:
        wanted = [cells[1] for cells in csv.reader(file)][1:]
    wanted[relabelled.row] = str(third)
    del wanted[removed.row]
    with clean.open(encoding="utf-8-sig", newline="") as file:
        assert [line[1] for line in csv.reader(file)][1:] == wanted


def test_decisions_stay_and_are_those_of_the_review_page(visit, explained, tmp_path):
    row = explained.shown_twice()
    page = visit(explained.page, viewport=WINDOW)
    page.page.click(f"[data-row='{row}'] .remove >> nth=0")
    page.open(explained.page)
    assert pressed(page, row) == [["Remove"], ["Remove"]]
    review = tmp_path / "review.html"
    main(["review", "-i", str(explained.ranking), "-o", str(review)])
    page.open(review)
    assert page.text("#progress") == "1 of 12 decided"
    page.enter_list()
    page.press("k")
    page.open(explained.page)
    page.page.click(f"[data-row='{row}'] .remove >> nth=1")  # pressed again: undecided
    assert pressed(page, row) == [[], []]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_no_serious_fault(visit, explained, scheme, width):
    page = visit(explained.page, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for place, button in enumerate(("keep", "remove", "relabel")):
        page.page.click(f".decide.{button} >> nth={place}")
    page.page.click("summary")
    assert serious_faults(page) == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.page.evaluate("() => window.hacked") is None
    assert page.page.locator("h2").count() == 2
