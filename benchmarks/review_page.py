"""How quick the review page is: a ranking of many rows, its page in Chromium, as a person uses it.

The workbook of the same ranking is written, too.

    python benchmarks/review_page.py [--rows 60000] [--thumbnails 1000] [--repeat 5]

The times are those of the page's own thread, from the key or the click to the next painted frame;
the longest frame while scrolling is the longest time between two frames over the whole list.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nnabla_influence.dataset import open_dataset
from nnabla_influence.ranking import Ranking, Scores
from nnabla_influence.review.page import write_page
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.review.workbook import write_workbook

N_CLASSES = 10
N_PICTURES = 2000

# Does something, and waits until two frames later it is painted for certain.
_PAINTED = """(action) => new Promise((done) => {
    const start = performance.now();
    new Function(action)();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start), 0));
})"""

# Scrolls through the whole list in as many frames; times between two frames, in milliseconds.
_SCROLL = """(frames) => new Promise((done) => {
    const viewport = document.getElementById('viewport');
    const times = [];
    let last = performance.now();
    let frame = 0;
    const step = () => {
        const now = performance.now();
        times.push(now - last);
        last = now;
        frame += 1;
        viewport.scrollTop = viewport.scrollHeight * frame / frames;
        if (frame < frames) requestAnimationFrame(step); else done(times);
    };
    requestAnimationFrame(step);
})"""


def _choose(field: str, value: str) -> str:
    return (
        f"const f = document.getElementById('{field}'); f.value = '{value}';"
        " f.dispatchEvent(new Event('change'));"
    )


# In this order: each of them leaves the page as the next one needs it.
ACTIONS = {
    "sort by loss, the first time": _choose("sort", "loss"),
    "sort by harm again": _choose("sort", "harmful"),
    "filter: one class": _choose("given", "3"),
    "filter: every class again": _choose("given", ""),
    "filter: labels that differ": "document.getElementById('differs').click();",
    "filter: none again": "document.getElementById('differs').click();",
    "search, the first time": (
        "const f = document.getElementById('search'); f.value = '777';"
        " f.dispatchEvent(new Event('input'));"
    ),
    "search ended": (
        "const f = document.getElementById('search'); f.value = '';"
        " f.dispatchEvent(new Event('input'));"
    ),
    "decide for one row": "document.querySelector('.row.active .remove').click();",
    "select all rows": "document.getElementById('select-all').click();",
    "decide for all rows": "document.querySelector('#bulk [data-decide=\"2\"]').click();",
    "undo": "document.getElementById('undo').click();",
}


def make_ranking(folder: Path, n_rows: int) -> Path:
    """Write a ranking of pictures; many rows share a picture."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for k in range(min(N_PICTURES, n_rows)):
        pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{k:05}.png")
    labels = rng.integers(0, N_CLASSES, n_rows)
    with open(folder / "train.csv", "w", encoding="utf-8") as file:
        file.write("x:image,y:label\n")
        for k, label in enumerate(labels):
            file.write(f"pictures/{k % N_PICTURES:05}.png,{label}\n")
    wrong = rng.random(n_rows) < 0.1
    scores = Scores(
        rng.standard_t(3, n_rows) * 1e-4,
        times_seen=np.ones(n_rows),
        loss=rng.exponential(1.0, n_rows),
        predicted=np.where(wrong, (labels + 1) % N_CLASSES, labels),
    )
    Ranking(open_dataset(folder / "train.csv", []), scores).write(folder / "influence.csv")
    return folder / "influence.csv"


def measure(page_file: Path, repeat: int) -> dict[str, list[float]]:
    """Open the page as often, each time in a new browser profile; milliseconds by action."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    times: dict[str, list[float]] = {}
    arguments = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for _ in range(repeat):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            start = time.perf_counter()
            page.goto(page_file.as_uri())
            page.wait_for_selector(".grid-body .row")
            opened = 1000 * (time.perf_counter() - start)
            times.setdefault("open until the first row is seen", []).append(opened)
            page.wait_for_timeout(500)
            frames = page.evaluate(_SCROLL, 200)
            times.setdefault("scroll: median frame", []).append(statistics.median(frames))
            times.setdefault("scroll: longest frame", []).append(max(frames))
            page.evaluate("() => { document.getElementById('viewport').scrollTop = 0; }")
            page.wait_for_timeout(100)
            for name, action in ACTIONS.items():
                times.setdefault(name, []).append(page.evaluate(_PAINTED, action))
            context.close()
        browser.close()
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--thumbnails", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        ranking = make_ranking(Path(folder), parsed.rows)
        start = time.perf_counter()
        page = Path(folder) / "review.html"
        pictures = write_page(read_reviewed(ranking), page, thumbnails=parsed.thumbnails)
        seconds = time.perf_counter() - start
        print(f"{parsed.rows} rows, {len(pictures.rows)} of them with thumbnails")
        print(f"page written in {seconds:.1f} s, {page.stat().st_size / 1e6:.1f} MB")
        workbook = Path(folder) / "review.xlsx"
        start = time.perf_counter()
        write_workbook(read_reviewed(ranking), workbook, thumbnails=parsed.thumbnails)
        seconds = time.perf_counter() - start
        print(f"workbook written in {seconds:.1f} s, {workbook.stat().st_size / 1e6:.1f} MB")
        times = measure(page, parsed.repeat)
    print(f"{'milliseconds, of ' + str(parsed.repeat) + ' times':36}  median    most")
    for name, values in times.items():
        print(f"{name:36}  {statistics.median(values):6.0f}  {max(values):6.0f}")


if __name__ == "__main__":
    main()
