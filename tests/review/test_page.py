"""The page as a file: its data, its pictures, and nothing in it that a cell could run."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nnabla_influence.cleansing import Decision
from nnabla_influence.review.page import script_json, write_page
from nnabla_influence.review.reviewed import read_reviewed
from tests.review.common import write_pictures, write_ranking, write_trainings


class Parsed(HTMLParser):
    """What a browser makes of a page: its elements, and the text in each kind of them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]][-1] += data


def page_of(path: Path) -> Parsed:
    return Parsed(path.read_text(encoding="utf-8"))


def data_of(parsed: Parsed) -> dict:
    scripts = [attributes for tag, attributes in parsed.tags if tag == "script"]
    [position] = [k for k, a in enumerate(scripts) if a.get("id") == "review-data"]
    assert scripts[position]["type"] == "application/json"
    return json.loads(parsed.texts["script"][position])


def written(ranking: Path, **options) -> dict:
    output = ranking.with_name("review.html")
    write_page(read_reviewed(ranking), output, **options)
    return data_of(page_of(output))


def test_the_data_of_pictures(tmp_path):
    path = write_pictures(tmp_path)
    data = written(path, thumbnails=2)
    pictures = data.pop("thumbnails")
    assert data == {
        "format": 1,
        "title": "ranking.csv",
        "ranking": "ranking.csv",
        "key": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "rows": 5,
        "orders": "recorded",
        "method": "final",
        "why": "",
        "verdict": None,
        "label": "y",
        "classes": [{"value": "0", "name": "cat"}, {"value": "1", "name": "dog"}],
        "groups": None,
        "proposals": [],
        "columns": {
            "datasource_index": [3, 0, 2, 4, 1],
            "influence": [-0.25, -0.125, 0.0, 0.125, 0.25],
            "influence_std": None,
            "influence_se": None,
            "harmful_in": None,
            "loss": [10.0, 5.0, 10 / 3, 2.5, 2.0],
            "times_seen": [0, 1, 2, 0, 1],
            "given": [0, 1, 0, 1, 0],
            "predicted": [1, 0, 0, 1, 0],
            "suggested": None,
            "relabel_gain": None,
        },
        "image_columns": ["x"],
        "files": [[f"画像/{k}.png"] for k in range(5)],
        "features": None,
        "comments": {"names": ["#note"], "values": [[f"note {k}"] for k in range(5)]},
    }
    assert [pixels_of(row[0]).tolist() for row in pictures] == [[[0] * 4] * 4, [[40] * 4] * 4]


@pytest.mark.parametrize(("said", "word"), [("rough - s", "rough"), ("reliable", "reliable")])
def test_the_verdict_is_on_the_page(tmp_path, said, word):
    path = write_pictures(tmp_path)
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text.replace("orders:recorded", f"orders:recorded / {said}"), "utf-8")
    verdict = written(path)["verdict"]
    assert verdict["word"] == word
    assert word in verdict["sentence"]


def test_the_data_of_a_table(tmp_path):
    header = [*(f"x__{i}:feature {i}" for i in range(40)), "y"]
    rows = [[*(f"{i}.{k}" for i in range(40)), f"{k}.50", f"{k}.25"] for k in range(3)]
    results = ("influence", "datasource_index", "predicted")
    data = written(write_ranking(tmp_path / "r.csv", header, rows, results))
    assert data["features"] == {
        "names": [f"feature {i}" for i in range(32)],
        "values": [[f"{i}.{k}" for i in range(32)] for k in range(3)],
        "more_features": 8,
    }
    assert (data["thumbnails"], data["image_columns"], data["files"]) == ([], [], None)
    assert (data["classes"], data["comments"], data["label"]) == ([], None, "y")
    # Without classes labels are texts, the given ones as they stand in the file.
    assert data["columns"]["given"] == ["0.50", "1.50", "2.50"]
    assert data["columns"]["predicted"] == ["0.25", "1.25", "2.25"]
    assert data["columns"]["loss"] is data["columns"]["times_seen"] is None
    assert (data["orders"], data["method"]) == (None, None)


def test_proposals_are_by_rank_with_labels_as_the_page_names_classes(tmp_path):
    proposals = {4: Decision("remove"), 1: Decision("relabel", "2.0"), 99: Decision("keep")}
    data = written(write_trainings(tmp_path), proposals=proposals)
    assert data["proposals"] == [[1, "relabel", "2"], [4, "remove", None]]


def test_missing_and_broken_pictures_do_not_prevent_the_page(tmp_path):
    path = write_pictures(tmp_path)
    (tmp_path / "画像" / "1.png").unlink()
    (tmp_path / "画像" / "3.png").write_bytes(b"torn")
    made = write_page(read_reviewed(path), tmp_path / "p.html")
    pictures = data_of(page_of(tmp_path / "p.html"))["thumbnails"]
    assert [[uri is None for uri in row] for row in pictures] == [
        *([False], [True], [False], [True], [False])
    ]
    assert (len(made.rows), made.count, made.missing) == (5, 3, 2)
    assert made.first_problem.startswith(f"{tmp_path / '画像' / '1.png'}: ")


def test_the_same_ranking_gives_the_same_bytes(tmp_path):
    path = write_pictures(tmp_path)
    pages = []
    for name in ("a.html", "b.html"):
        write_page(read_reviewed(path), tmp_path / name)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_a_title_is_text_whatever_it_is(tmp_path):
    title = "</title><script>alert(1)</script> & \"quotes\" 'と猫'"
    path = write_pictures(tmp_path)
    write_page(read_reviewed(path), tmp_path / "plain.html")
    write_page(read_reviewed(path), tmp_path / "p.html", title=title)
    page = page_of(tmp_path / "p.html")
    assert [tag for tag, _ in page.tags] == [
        tag for tag, _ in page_of(tmp_path / "plain.html").tags
    ]
    assert page.texts["h1"] == [title]
    assert page.texts["title"][0].startswith(title)
    assert data_of(page)["title"] == title


def test_cells_are_text_whatever_they_are(tmp_path):
    nasty = "</script><img src=x onerror=alert(1)>.png"
    comment = "<!-- <script> \u2028\u2029 & &amp; \" ' ]]>"
    header = ["x", f"y:label;{nasty};<b>", f"#{nasty}"]
    path = write_ranking(tmp_path / "r.csv", header, [[nasty, 0, comment], [nasty, 1, comment]])
    output = tmp_path / "p.html"
    write_page(read_reviewed(path), output)
    text, page = output.read_text(encoding="utf-8"), page_of(output)
    assert "img" not in [tag for tag, _ in page.tags]
    assert "onerror=alert(1)>" not in text
    data = data_of(page)
    assert data["files"] == [[nasty], [nasty]]
    assert data["comments"] == {"names": [f"#{nasty}"], "values": [[comment], [comment]]}
    assert [c["name"] for c in data["classes"]] == [nasty, "<b>"]


def test_the_policy_lets_exactly_this_script_and_style_run(tmp_path):
    write_page(read_reviewed(write_pictures(tmp_path)), tmp_path / "p.html")
    page = page_of(tmp_path / "p.html")
    [policy] = [
        str(attributes["content"])
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    running = [
        text for a, text in zip(scripts, page.texts["script"]) if a.get("type") in (None, "module")
    ]
    for directive, texts in (("script-src", running), ("style-src", page.texts["style"])):
        [allowed] = re.findall(rf"{directive} ([^;]*)", policy)
        assert allowed.split() == [f"'sha256-{hash_of(text)}'" for text in texts]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
DANGEROUS = st.lists(
    st.sampled_from(["</script", ">", "<!--", "-->", "<script", "&lt;", "\u2028", "\\", '"', "\0"])
    | st.text(max_size=3)
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),  # bytes of a file name, no text
).map("".join)


@given(JSON | DANGEROUS | st.lists(DANGEROUS))
def test_what_goes_into_a_script_comes_out_of_it(value):
    text = script_json(value)
    assert text.isascii()
    page = Parsed(f'<script type="application/json">{text}</script><p>behind</p>')
    assert page.texts["p"] == ["behind"]
    assert json.loads(page.texts["script"][0]) == value


def hash_of(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def pixels_of(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))) as image:
        return np.asarray(image)
