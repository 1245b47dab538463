"""Screenshots of the review page and of the workbook."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from browser import browser, program, save
from PIL import Image, ImageChops
from playwright.sync_api import Page

from nnabla_influence.review.page import write_page
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.review.workbook import write_workbook

_SIZE = {"width": 1280, "height": 800}


def draw_review_pages(demo: Path, table: Path, folder: Path) -> None:
    """Take the screenshots of the page.

    Args:
        demo: The demo's folder.
        table: Ranking of a table.
        folder: Where the pages may be written.
    """
    digits, rows = folder / "digits.html", folder / "table.html"
    write_page(read_reviewed(demo / "influence.csv"), digits)
    write_page(read_reviewed(table), rows)
    with browser() as opened:

        def visit(path: Path, **options: Any) -> Page:
            options = {"viewport": _SIZE, "reduced_motion": "reduce", **options}
            page = opened.new_context(**options).new_page()
            page.goto(path.as_uri())
            page.locator("#grid-body .row").first.wait_for()
            return page

        advised = visit(demo / "advice" / "review.html")
        advised.locator("#meaning summary").click()
        save(advised.screenshot(), "advice.png")

        light = visit(digits)
        light.locator("#meaning summary").click()
        _decide(light)
        save(light.screenshot(), "review.png")
        light.keyboard.press("?")
        save(light.locator("#help").screenshot(), "review_help.png")

        dark = visit(digits, color_scheme="dark")
        dark.locator("#meaning summary").click()
        dark.locator("#size").fill("112")
        dark.locator("#differs").check()
        _decide(dark)
        save(dark.screenshot(), "review_dark.png")

        save(visit(rows).screenshot(), "review_table.png")
        narrow = visit(digits, viewport={"width": 420, "height": 800})
        narrow.locator("#rows").scroll_into_view_if_needed()
        save(narrow.screenshot(), "review_narrow.png")


def _decide(page: Page) -> None:
    """Decide for the first rows, with the keys."""
    page.locator("#grid-body .row").first.click(position={"x": 5, "y": 5})
    for keys in (["r", "Enter"], ["x"], ["r", "Enter"], ["r", "Enter"]):
        for key in keys:
            page.keyboard.press(key)
            page.wait_for_timeout(150)  # as a person does: a dialog closes first
    page.mouse.move(0, 0)
    page.locator("#toast").evaluate(
        "(toast) => { toast.hidden = true; toast.style.display = 'none' }"
    )
    page.wait_for_timeout(300)


def draw_workbook(demo: Path, folder: Path) -> None:
    """Take a picture of the workbook as LibreOffice shows it on paper."""
    office = program("soffice", "libreoffice", package="libreoffice-calc-nogui")
    to_png = program("pdftoppm", package="poppler-utils")
    book = folder / "review.xlsx"
    write_workbook(read_reviewed(demo / "influence.csv"), book, thumbnails=30)
    profile = (folder / "profile").as_uri()
    _run(
        *(office, f"-env:UserInstallation={profile}", "--headless"),
        *("--convert-to", "pdf", "--outdir", str(folder), str(book)),
    )
    stem = folder / "workbook"
    _run(to_png, "-png", "-singlefile", "-f", "1", "-r", "110", str(book.with_suffix(".pdf")), stem)
    page = Image.open(stem.with_suffix(".png")).convert("RGB")
    left, top, right, bottom = _content(page)
    save(page.crop((left, top, right, min(bottom, top + 640))), "workbook.png")


def _content(page: Image.Image) -> tuple[int, int, int, int]:
    """Return the box of what is not white, with a margin."""
    box = ImageChops.difference(page, Image.new("RGB", page.size, "white")).getbbox()
    left, top, right, bottom = box or (0, 0, *page.size)
    return max(left - 8, 0), max(top - 8, 0), right + 8, bottom + 8


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
