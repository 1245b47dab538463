from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from nnabla_influence.cli import main
from tests.programs import chromium
from tests.review.browser.rankings import (
    CLASS_NAMES,
    Project,
    write_images,
    write_regression,
    write_table,
)
from tests.review.browser.review_page import ReviewPage

Visit = Callable[..., ReviewPage]
# Tall enough that every row of the small rankings is in sight.
TALL = {"width": 1400, "height": 4000}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


def _reviewed(project: Project, *options: str) -> Project:
    main(["review", "-i", str(project.ranking), "-o", str(project.page), *options])
    return project


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = write_images(tmp_path_factory.mktemp("images データ"))
    return _reviewed(project, "--class-names", ",".join(CLASS_NAMES[:3]), "--thumbnails", "20")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("table")
    # Each class has the other one's number for a name.
    (folder / "names.txt").write_text("1,2\n2,1\n")
    return _reviewed(write_table(folder), "--class-names", str(folder / "names.txt"))


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return _reviewed(write_regression(tmp_path_factory.mktemp("regression")), "--title", "<Häuser>")


@contextmanager
def visiting(browser: Browser) -> Iterator[Visit]:
    """Open pages from disk; at the end, nothing was asked of anybody and nothing went wrong."""
    contexts, pages, asked, wrong = [], [], [], []

    def watch(page: Page) -> None:
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))

    def opened(path: Path, *, script: str | None = None, **options: object) -> ReviewPage:
        options = {"viewport": TALL, "reduced_motion": "reduce", **options}
        context = browser.new_context(**options)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(10_000)
        watch(page)
        pages.append(ReviewPage(page))
        return pages[-1].open(path)

    yield opened
    for context in contexts:
        context.close()
    left = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert set(left) <= {uri for page in pages for uri in page.opened}
    assert wrong == []


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    with visiting(browser) as visit:
        yield visit


@pytest.fixture(scope="module")
def shared_page(browser: Browser, images: Project) -> Iterator[ReviewPage]:
    """One page for tests that change nothing but the order and the filters."""
    with visiting(browser) as visit:
        yield visit(images.page)
