"""Screenshots of a running NNCD, for the Console's manual.

Start NNCD, import a training and a validation dataset, train and evaluate a project, install the
plugins, and then::

    uv run python docs/pictures/desktop.py http://127.0.0.1:PORT PROJECT

where PROJECT is the project's number. A browser stands in place of NNCD's own window. The plugins
are run, with what their dialogs propose, so two rankings and a cleansed dataset are added.
"""

from __future__ import annotations

import sys

from browser import browser, save
from playwright.sync_api import FloatRect, Page, ViewportSize

_SIZE: ViewportSize = {"width": 1280, "height": 800}
# Without the log of the evaluation, which fills the lower part of the page.
_UPPER: FloatRect = {"x": 0, "y": 0, "width": 960, "height": 600}
_SHOWN: FloatRect = {"x": 240, "y": 80, "width": 720, "height": 290}
# What NNCD's page asks of its own window.
_WINDOW = "window.electron = { getFileServicePort: () => Promise.resolve(0) };"
_LONGEST = 290


def main(address: str, project: str) -> None:
    """Take every screenshot."""
    with browser() as opened:
        page = opened.new_context(viewport=_SIZE).new_page()
        page.add_init_script(_WINDOW)
        _run_plugin(page, address, project, "SGD Influence", "influence", in_menu=True)
        save(_rankings(page, address), "console_dataset.png")
        _run_plugin(page, address, project, "Explain", "explain", picture=3)
        _run_plugin(page, address, project, "Cleanse dataset", "cleansed")
        save(_linking(page, address, project), "console_link.png")


def _run_plugin(
    page: Page,
    address: str,
    project: str,
    name: str,
    kind: str,
    *,
    in_menu: bool = False,
    picture: int = 0,
) -> None:
    page.goto(f"{address}/editor?project_id={project}")
    page.get_by_text("EVALUATION", exact=True).first.click()
    page.locator("td img").nth(picture).click(button="right", timeout=60_000)
    page.get_by_text("Plugins", exact=True).first.hover()
    entry = page.get_by_text(name, exact=True).first
    entry.wait_for()
    if in_menu:
        entry.hover()
        save(page.screenshot(clip=_UPPER), "console_menu.png")
    entry.click()
    ok = page.get_by_role("button", name="OK").first
    ok.wait_for()
    title = page.get_by_text(f"{name}: ").first
    dialog = title.locator("xpath=ancestor::*[.//button][1]")
    save(dialog.screenshot(), f"console_{kind}_dialog.png")
    ok.click()
    log = page.screenshot(clip=_SHOWN)
    result = page.locator("#plugin-result-table img")
    for _ in range(_LONGEST):
        if result.count():
            break
        page.wait_for_timeout(1000)
        if not result.count():
            log = page.screenshot(clip=_SHOWN)
    else:
        sys.exit(f"{name}: no result within {_LONGEST} s")
    if in_menu:
        save(log, "console_log.png")
    page.wait_for_timeout(1500)
    save(page.screenshot(clip=_SHOWN), f"console_{kind}_result.png")


def _rankings(page: Page, address: str) -> bytes:
    """Return a screenshot of the page Dataset, with the newest ranking opened."""
    _wait_for_imports(page, address)
    page.mouse.click(648, 341)  # the greeting's balloon
    page.wait_for_timeout(500)
    page.get_by_text("influence-", exact=False).first.click()
    page.wait_for_timeout(2500)
    page.mouse.move(999, 400)  # the edge of the preview, drawn to the left
    page.mouse.down()
    page.mouse.move(700, 400, steps=10)
    page.mouse.move(520, 400, steps=10)
    page.mouse.up()
    page.wait_for_timeout(1500)
    return page.screenshot()


def _wait_for_imports(page: Page, address: str) -> None:
    """Go to the page Dataset, and stay until every dataset is there."""
    for _ in range(_LONGEST // 5):
        page.goto(f"{address}/#/dataset")
        page.reload()
        page.wait_for_timeout(5000)
        if not page.get_by_text("Importing").count():
            return
    sys.exit(f"a dataset was not imported within {_LONGEST} s")


def _linking(page: Page, address: str, project: str) -> bytes:
    """Return a screenshot of the project's datasets, with the list to link another from."""
    _wait_for_imports(page, address)
    page.goto(f"{address}/editor?project_id={project}")
    page.wait_for_timeout(5000)
    page.get_by_text("DATASET", exact=True).first.click()
    page.wait_for_timeout(2500)
    page.get_by_text("Training", exact=True).first.click()
    page.wait_for_timeout(1000)
    page.mouse.click(1247, 59)  # the arrows that open the list
    cleansed = page.locator(".dataset-list-item", has=page.get_by_text("cleansed-"))
    cleansed.first.hover()
    page.wait_for_timeout(1500)
    return page.screenshot(clip={**_UPPER, "width": 1280, "height": 500})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: docs/pictures/desktop.py http://127.0.0.1:PORT PROJECT")
    main(sys.argv[1], sys.argv[2])
