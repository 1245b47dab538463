from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ViewportSize, sync_playwright

from nnabla_influence.commands.main import main
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
TALL: ViewportSize = {"width": 1400, "height": 4000}


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


class Watch:
    """What a page asked for, and what went wrong on it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.pages: list[ReviewPage] = []

    def page_of(self, context: BrowserContext) -> ReviewPage:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: self.wrong.append(message.text))
        self.pages.append(ReviewPage(page))
        return self.pages[-1]

    def check(self) -> None:
        """Nothing was asked of anybody, and nothing went wrong."""
        left = [url for url in self.asked if not url.startswith(("data:", "blob:"))]
        assert set(left) <= {uri for page in self.pages for uri in page.opened}
        wrong, self.wrong[:] = [*self.wrong], []
        assert wrong == []


@pytest.fixture(scope="session")
def watched(browser: Browser) -> Iterator[tuple[Watch, ReviewPage]]:
    """A page that tests use in turn, since a new one costs half a second."""
    watch = Watch()
    context = browser.new_context(reduced_motion="reduce")
    yield watch, watch.page_of(context)
    context.close()


@pytest.fixture
def visit(browser: Browser, watched: tuple[Watch, ReviewPage]) -> Iterator[Visit]:
    """Open pages from disk, each as if the browser had never seen it."""
    watch, page = watched
    contexts = []

    def opened(
        path: Path,
        *,
        script: str | None = None,
        viewport: ViewportSize = TALL,
        color_scheme: str = "light",
    ) -> ReviewPage:
        if script is not None:
            contexts.append(browser.new_context(viewport=viewport, reduced_motion="reduce"))
            contexts[-1].add_init_script(script)
            return watch.page_of(contexts[-1]).open(path)
        page.page.set_viewport_size(viewport)
        page.page.emulate_media(color_scheme=color_scheme, media="null")
        return page.open(path)

    yield opened
    for context in contexts:
        context.close()
    for other in page.page.context.pages:
        if other is not page.page:
            other.close()
    if page.page.url != "about:blank":
        page.page.evaluate("() => localStorage.clear()")
    watch.check()


@pytest.fixture(scope="module")
def shared_page(browser: Browser, images: Project) -> Iterator[ReviewPage]:
    """One page for tests that change nothing but the order and the filters."""
    watch = Watch()
    context = browser.new_context(viewport=TALL, reduced_motion="reduce")
    yield watch.page_of(context).open(images.page)
    context.close()
    watch.check()
