"""The picture that NNCD shows, compared with the pictures that it is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nnabla_influence.console import strip as strips
from nnabla_influence.console.strip import HEIGHT, THUMBNAIL, message, strip
from nnabla_influence.review.reviewed import Reviewed, read_reviewed

HEADING = ["Seven rows"]
INFLUENCE = [0.5, -0.25, 0.125, -2.0, 0.0, -1.0, 1.0]
HARMFUL = [3, 5, 1]


def write_ranking(folder: Path, header: str, rows: list[str]) -> Reviewed:
    order = np.argsort(INFLUENCE)
    lines = [f"{header},influence,datasource_index,predicted"]
    lines += [f"{rows[i]},{INFLUENCE[i]},{i},{i % 2}" for i in order]
    (folder / "ranking.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_reviewed(folder / "ranking.csv")


@pytest.fixture
def pictures(tmp_path: Path) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (8, 8), dtype=np.uint8) for _ in INFLUENCE]
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    return arrays


def thumbnails_in(picture: Image.Image, wanted: list[np.ndarray]) -> list[int | None]:
    """Return where the enlarged pictures lie: the left edge of each, by brute force."""
    pixels = np.asarray(picture.convert("L"))
    found: list[int | None] = []
    for array in wanted:
        large = np.kron(array, np.ones((7, 7), np.uint8))
        lefts = [
            left
            for left in range(picture.width - THUMBNAIL)
            if np.array_equal(pixels[2:58, left : left + THUMBNAIL], large)
        ]
        found.append(lefts[0] if lefts else None)
    return found


def test_the_most_harmful_pictures_stand_from_left_to_right(tmp_path: Path, pictures):
    rows = [f"{i}.png,{(i + 1) % 2}" for i in range(7)]
    reviewed = write_ranking(tmp_path, "x:image,y:label", rows)
    picture = strip(HEADING, reviewed, reviewed[:3])
    assert (picture.mode, picture.height) == ("RGB", HEIGHT)
    lefts = thumbnails_in(picture, pictures)
    assert [i for i, left in enumerate(lefts) if left is not None] == sorted(HARMFUL)
    placed = [lefts[i] for i in HARMFUL]
    assert placed == sorted(placed)


def written(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L")) < 200


def test_labels_that_differ_are_red(tmp_path: Path, pictures):
    rows = [f"{i}.png,{i % 2}" for i in range(7)]
    rows[3] = "3.png,0"  # the most harmful one is predicted 1
    reviewed = write_ranking(tmp_path, "x:image,y:label", rows)

    def has_red(picture: Image.Image) -> bool:
        return any(r > 150 and g < 60 and b < 60 for _, (r, g, b) in picture.getcolors(10**6))

    assert has_red(strip(HEADING, reviewed, reviewed[:1]))
    assert not has_red(strip(HEADING, reviewed, reviewed[1:3]))


def test_predicted_numbers_are_never_red(tmp_path: Path):
    """They never are the very numbers that were given."""
    reviewed = write_ranking(tmp_path, "x__0,x__1,y", [f"{i},1,{i}.5" for i in range(7)])
    colours = strip(HEADING, reviewed, reviewed[:3]).getcolors(10**6)
    assert all(r == g == b for _, (r, g, b) in colours)


def texts_of(monkeypatch) -> list[str]:
    """Collect what is written from now on."""
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def note(self, xy, text, **more):
        texts.append(text)
        draw(self, xy, text, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    return texts


def test_a_table_shows_what_the_rows_hold(tmp_path: Path, monkeypatch):
    rows = [f"{i}.5,-{i},{i % 2}" for i in range(7)]
    reviewed = write_ranking(tmp_path, "x__0:length,x__1,y:a;cat;dog", rows)
    texts = texts_of(monkeypatch)
    picture = strip(HEADING, reviewed, reviewed[:2], {5: "0"})
    assert picture.height == HEIGHT
    names = [one.name or one.value for one in reviewed.classes]
    assert texts == [
        *HEADING,
        *("rank", "label", "predicted", "length", "x__1"),
        *("1", names[1], names[1], "3.5", "-3"),
        *("2", f"{names[1]} to {names[0]}", names[1], "5.5", "-5"),
    ]
    assert not written(picture)[strips._LINE * 5 :].any()  # five lines, and nothing is cut off


def test_a_long_path_stands_on_the_right(tmp_path: Path, pictures, monkeypatch):
    reviewed = write_ranking(tmp_path, "x:image,y:label", [f"{i}.png,1" for i in range(7)])
    plain = strip(HEADING, reviewed, reviewed[:3])
    texts = texts_of(monkeypatch)
    path = "/home/me/" + "a-folder/" * 15 + "review.html"
    picture = strip(HEADING, reviewed, reviewed[:3], closing=f"The page: {path}")
    assert thumbnails_in(picture, pictures) == thumbnails_in(plain, pictures)
    lines = texts[[text.startswith("The page: ") for text in texts].index(True) :]
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == f"The page: {path}".replace(" ", "")
    assert picture.width - plain.width < 700


def test_nothing_harmful_leaves_the_words(tmp_path: Path, pictures, monkeypatch):
    reviewed = write_ranking(tmp_path, "x:image,y:label", [f"{i}.png,1" for i in range(7)])
    texts = texts_of(monkeypatch)
    strip(HEADING, reviewed, [])
    assert texts == HEADING


def test_a_picture_that_is_gone_leaves_its_place(tmp_path: Path, pictures):
    reviewed = write_ranking(tmp_path, "x:image,y:label", [f"{i}.png,1" for i in range(7)])
    whole = strip(HEADING, reviewed, reviewed[:3])
    (tmp_path / "3.png").unlink()
    without = strip(HEADING, reviewed, reviewed[:3])
    assert without.size == whole.size
    assert [i for i, x in enumerate(thumbnails_in(without, pictures)) if x is not None] == [1, 5]


@pytest.mark.parametrize(
    ("size", "shown"), [((28, 28), (56, 56)), ((60, 30), (56, 28)), ((300, 200), (56, 37))]
)
def test_any_size_fits(tmp_path: Path, size, shown):
    Image.new("L", size, 0).save(tmp_path / "0.png")
    reviewed = write_ranking(tmp_path, "x:image,y:label", ["0.png,1"] * 7)
    dark = np.asarray(strip([], reviewed, reviewed[:1]).convert("L"))[:58] == 0
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    assert (len(columns), len(rows)) == shown


def test_a_long_message_is_broken_into_lines(monkeypatch):
    texts = texts_of(monkeypatch)
    picture = message("It failed", "a word " * 60)
    assert texts[0] == "It failed"
    assert " ".join(texts[1:]).split() == ("a word " * 60).split()
    assert picture.height == HEIGHT
    assert picture.width < 1000
    texts.clear()
    message("It failed", "a word " * 200)
    assert len(texts) == 7
    assert texts[-1].endswith(" ... (see plugin_log.txt)")


def test_characters_without_a_glyph_are_question_marks(monkeypatch):
    monkeypatch.setattr(strips, "_japanese_font", lambda: None)
    texts = texts_of(monkeypatch)
    message("It failed", "学習/é.csv: is gone")
    assert texts[1] == "??/é.csv: is gone"


def test_an_older_pillow_has_one_size_of_font(monkeypatch):
    """Before 10.1 its own font takes no size."""
    from PIL import ImageFont

    load = ImageFont.load_default_imagefont
    monkeypatch.setattr(ImageFont, "load_default", lambda: load())
    strips._own_font.cache_clear()
    try:
        assert written(message("It failed", "for a reason")).any()
    finally:
        strips._own_font.cache_clear()
