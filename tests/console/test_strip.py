"""The image that NNCD shows, compared with the images that it is made of."""

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
def images(tmp_path: Path) -> list[np.ndarray]:
    arrays = list(np.random.default_rng(0).integers(0, 256, (7, 8, 8), dtype=np.uint8))
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    return arrays


@pytest.fixture
def reviewed(tmp_path: Path, images) -> Reviewed:
    """A ranking of images, whose labels differ from the predictions in every other row."""
    return write_ranking(tmp_path, "x:image,y:label", [f"{i}.png,1" for i in range(7)])


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """What is written from now on."""
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def note(self, xy, text, **more):
        texts.append(text)
        draw(self, xy, text, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    return texts


def lefts_in(picture: Image.Image, wanted: list[np.ndarray]) -> dict[int, int]:
    """Return the left edge of each enlarged image that is there, by brute force."""
    pixels = np.asarray(picture.convert("L"))[2 : 2 + THUMBNAIL]
    found = {}
    for number, array in enumerate(wanted):
        large = np.kron(array, np.ones((7, 7), np.uint8))
        for left in range(picture.width - THUMBNAIL):
            if np.array_equal(pixels[:, left : left + THUMBNAIL], large):
                found[number] = left
    return found


def test_the_most_harmful_images_stand_from_left_to_right(reviewed: Reviewed, images):
    picture = strip(HEADING, reviewed, reviewed[:3])
    assert (picture.mode, picture.height) == ("RGB", HEIGHT)
    lefts = lefts_in(picture, images)
    assert sorted(lefts, key=lambda number: lefts[number]) == HARMFUL


def colours_of(picture: Image.Image) -> list[tuple[int, int, int]]:
    return [colour for _, colour in picture.getcolors(10**6)]


def test_a_prediction_that_differs_from_the_label_is_red(tmp_path: Path, images):
    rows = [f"{i}.png,{i % 2}" for i in range(7)]
    rows[3] = "3.png,0"  # the most harmful one is predicted 1
    reviewed = write_ranking(tmp_path, "x:image,y:label", rows)
    for chosen, expected in ((reviewed[:1], True), (reviewed[1:3], False)):
        colours = colours_of(strip(HEADING, reviewed, chosen))
        assert any(r > 150 and g < 60 and b < 60 for r, g, b in colours) == expected


def test_a_table_shows_its_features(tmp_path: Path, texts: list[str]):
    rows = [f"{i}.5,-{i},{i % 2}" for i in range(7)]
    reviewed = write_ranking(tmp_path, "x__0:length,x__1,y:a;cat;dog", rows)
    picture = strip(HEADING, reviewed, reviewed[:2], {5: "0"})
    names = [one.name or one.value for one in reviewed.classes]
    titles = ["rank", "label", "predicted", "length", "x__1"]
    worst = ["1", names[1], names[1], "3.5", "-3"]
    second = ["2", f"{names[1]} to {names[0]}", names[1], "5.5", "-5"]
    assert texts == [*HEADING, *titles, *worst, *second]
    dark = np.asarray(picture.convert("L")) < 200
    assert picture.height == HEIGHT
    assert not dark[strips._LINE * 5 :].any()  # five lines, and nothing is cut off


def test_a_long_message_is_wrapped(texts: list[str]):
    picture = message("It failed", "a word " * 60)
    assert texts[0] == "It failed"
    assert " ".join(texts[1:]).split() == ("a word " * 60).split()
    assert picture.height == HEIGHT
    assert picture.width < 1000
    texts.clear()
    message("It failed", "a word " * 200)
    assert len(texts) == 7
    assert texts[-1].endswith(" ... (see plugin_log.txt)")


def test_characters_without_a_glyph_are_question_marks(monkeypatch, texts: list[str]):
    monkeypatch.setattr(strips, "_japanese_font", lambda: None)
    message("It failed", "学習/é · R²: is gone")
    assert texts[1] == "??/e · R2: is gone"
