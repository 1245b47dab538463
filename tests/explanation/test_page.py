"""The page of an explanation: what it shows, and nothing in it that a cell could run."""

from __future__ import annotations

import re
from pathlib import Path

from nnabla_influence import explain
from tests.review.test_page import Parsed, page_of
from tests.small_projects import write_images, write_table

EVIL = "<script>alert(1)</script>\"'&"


def rename(csv: Path, old: str, new: str) -> None:
    header, rest = csv.read_text(encoding="utf-8").split("\n", 1)
    assert old in header
    csv.write_text(f"{header.replace(old, new)}\n{rest}", encoding="utf-8")


def cells_of(text: str) -> list[list[str]]:
    """The cells of all lines of all tables, in HTML."""
    return [re.findall(r"<td>(.*?)</td>", line) for line in text.split("\n") if "<td>" in line]


def facts_of(text: str) -> list[dict[str, str]]:
    """The names and values of each list of them, in HTML."""
    lists = re.findall(r'<dl class="facts">(.*?)</dl>', text, re.S)
    return [dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", each)) for each in lists]


def assert_asks_for_nothing(parsed: Parsed) -> None:
    assert "script" not in parsed.texts
    [policy] = [a["content"] for _, a in parsed.tags if "http-equiv" in a]
    assert policy.startswith(
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style"
    )
    for _, attributes in parsed.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


def test_pictures_and_names_of_classes(tmp_path):
    net, page = write_images(tmp_path), tmp_path / "page.html"
    for part in ("training", "validation"):
        rename(tmp_path / f"{part}.csv", "y:label", f'"y:label;cat;{EVIL.replace(chr(34), "")};ox"')
    found = explain(net, parameters=tmp_path / "net.h5", rows=[5, 3], output=page)
    text, parsed = page.read_text(encoding="utf-8"), page_of(page)
    assert_asks_for_nothing(parsed)
    links = [a["href"] for tag, a in parsed.tags if tag == "a"]
    assert links == ["#row-5", "#row-3"]
    assert {"row-5", "row-3"} <= {a["id"] for _, a in parsed.tags if "id" in a}
    names = ["cat", "&lt;script&gt;alert(1)&lt;/script&gt;&#x27;&amp;", "ox"]
    lists = facts_of(text)
    for answer in found.answers:
        facts = lists.pop(0)
        assert facts["given"] == f"<bdi>{answer.given} · {names[answer.given]}</bdi>"
        predicted = int(answer.predicted)
        assert facts["predicted"].startswith(f"<bdi>{predicted} · {names[predicted]}</bdi>")
        assert ("wrong" in facts["predicted"]) == (predicted != answer.given)
        assert facts["loss"] == f"{answer.loss:.3g}"
        [without] = [text for name, text in facts.items() if name.startswith("loss without")]
        assert without.startswith(f"<strong>{answer.loss_without:.3g}</strong>")
        for cause in (*answer.opponents, *answer.proponents):
            wanted = {
                "training row": str(cause.row),
                "influence": f"{cause.influence:.3g}",
                "given": f"<bdi>{cause.given} · {names[cause.given]}</bdi>",
            }
            if cause.relabel_gain > 0:  # else the suggestion would do harm
                wanted["suggested"] = f"<bdi>{cause.suggested} · {names[cause.suggested]}</bdi>"
                wanted["gain"] = f"{cause.relabel_gain:.3g}"
            assert lists.pop(0) == wanted
            assert f'alt="training picture of row {cause.row}"' in text
    assert lists == []
    pictures = [a["src"] for tag, a in parsed.tags if tag == "img"]
    assert len(pictures) == text.count("data:image/png;base64,")


def test_features_and_headers_are_text(tmp_path):
    net, page = write_table(tmp_path), tmp_path / "page.html"
    for part in ("training", "validation"):
        quoted = EVIL.replace('"', '""')
        rename(tmp_path / f"{part}.csv", "x__0", f'"x__0:{quoted}"')
    found = explain(net, parameters=tmp_path / "net.h5", rows=[2], output=page)
    parsed = page_of(page)
    assert_asks_for_nothing(parsed)
    assert parsed.texts["th"].count(EVIL) == 3  # of the row, its opponents and proponents
    own = (tmp_path / "validation.csv").read_text().splitlines()[3].split(",")
    first, second, *_ = cells_of(page.read_text(encoding="utf-8"))
    assert first == [f"{float(cell):.4g}" for cell in own[:5]]
    opponent = found.answers[0].opponents[0].row
    theirs = (tmp_path / "training.csv").read_text().splitlines()[opponent + 1].split(",")
    assert second[5:] == [f"{float(cell):.4g}" for cell in theirs[:5]]
