"""What a person sees and does on the page, in the words of the tests."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

_ROWS = """() => [...document.querySelectorAll('.grid-body .row:not([hidden])')]
    .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
    .map((row) => ({
        row: Number(row.dataset.row),
        place: Number(row.ariaRowIndex) - 2,
        said: row.getAttribute('aria-label'),
        selected: row.getAttribute('aria-selected') === 'true',
        decision: row.dataset.decision,
        cells: Object.fromEntries([...row.children].map((c) => [c.classList[1], c.innerText])),
    }))"""


class ReviewPage:
    """An open review page."""

    def __init__(self, page: Page):
        self.page = page
        self.opened: list[str] = ["about:blank"]

    def open(self, path: Path) -> ReviewPage:
        self.opened.append(path.as_uri())
        self.page.goto(path.as_uri())
        self.page.locator("html[data-ready=yes]").wait_for(state="attached")
        return self

    # ---- what is seen

    def rows(self) -> list[dict]:
        """The rows in the document, which are those in sight and a few around them."""
        return self.page.evaluate(_ROWS)

    def order(self) -> list[int]:
        return [row["row"] for row in self.rows()]

    def focused_row(self) -> int | None:
        """The datasource_index of the row that has the focus."""
        said = self.page.evaluate("() => document.activeElement.dataset.row ?? null")
        return None if said is None else int(said)

    def said(self) -> str:
        """What the live region said last."""
        return self.page.inner_text("#announcer").strip()

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def table(self, selector: str) -> list[list[str]]:
        return self.page.evaluate(
            "(s) => [...document.querySelectorAll(s + ' tbody tr')].map("
            "(line) => [...line.children].map((cell) => cell.innerText.trim()))",
            selector,
        )

    # ---- what is done

    def enter_list(self) -> None:
        """Go to the rows by the link at the top of the page, as a keyboard's user does."""
        self.page.focus("#skip")
        self.page.keyboard.press("Enter")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def export(self) -> bytes:
        """Export with the key, and close what opens then."""
        with self.page.expect_download() as download:
            self.press("e")
        assert download.value.suggested_filename == "decisions.csv"
        content = Path(download.value.path()).read_bytes()
        self.press("Escape")
        return content

    def import_file(self, path: Path) -> None:
        self.page.set_input_files("#import-file", path)
        self.page.wait_for_function("() => !document.getElementById('import-file').value")
        name = path.name
        self.page.wait_for_function(
            "(n) => document.getElementById('announcer').textContent.startsWith(n)", arg=name
        )


def number(shown: str) -> float:
    """A number as the page writes it."""
    return float(shown.replace("\u2212", "-"))
