"""The entry on the page Dataset, by the rules of NNCD's import."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from nnabla_influence.console import dataset_page
from nnabla_influence.console.dataset_page import (
    DatasetEntry,
    import_dataset,
    write_copy,
)
from nnabla_influence.console.desktop import Result
from nnabla_influence.errors import DatasetError
from tests.console import nncd


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def copied(source: Path) -> tuple[list[str], list[str]]:
    target = source.parent / "made" / "r.csv"
    left_out = write_copy(source, target)
    assert nncd.refused_by_the_page(target) is None
    return target.read_bytes().decode("ascii").splitlines(), left_out  # without a BOM, so


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "in here").mkdir()
    for name in ("a.png", "B.PNG", "c.jpg"):
        Image.new("L", (4, 4)).save(tmp_path / "in here" / name)
    return tmp_path


def test_paths_become_absolute(images: Path):
    source = write(images / "r.csv", "x:image,y:label", "in here/a.png,0", "", "in here\\a.png,1")
    path = images / "in here" / "a.png"
    assert copied(source) == (["x:image,y:label", f"{path},0", f"{path},1"], [])
    source = write(images / "r.csv", "x,y", "in here/B.PNG,0")
    assert copied(source) == (["x,y", f"{images / 'in here' / 'B.PNG'},0"], [])


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (("in here/a.png", "in here/c.jpg"), "different kinds"),
        (("in here/a.png", "7"), "different kinds"),
        (("7", ""), "empty"),
        ((" ", "7"), "empty"),
        (("猫", "犬"), "not ASCII"),
        (("cat", "dog"), "'cat'"),
        (("in here/a.png", "in here/none.png"), "'in here/none.png' does not exist"),
        (("in here/a.npy", "in here/b.npy"), "'in here/a.npy'"),
    ],
)
def test_columns_that_the_page_refuses_are_left_out(images: Path, cells, reason: str):
    source = write(images / "r.csv", "#note,y", f"{cells[0]},0", f"{cells[1]},1")
    lines, (left_out,) = copied(source)
    assert lines == ["y", "0", "1"]
    assert left_out.startswith("#note (")
    assert reason in left_out


def test_numbers_stay_as_they_are_and_labels_of_columns_become_ascii(tmp_path: Path):
    source = write(tmp_path / "r.csv", "x__0:長さ,#true,名,y:a", "1e-5,nan,3,-0.50")
    lines, left_out = copied(source)
    assert lines == ["x__0,#true,y:a", "1e-5,nan,-0.50"]
    assert left_out == ["名 (its name is not ASCII)"]


@pytest.mark.parametrize("lines", [["x,y"], ["x", "text"], [""]])
def test_without_anything_to_show(tmp_path: Path, lines: list[str], monkeypatch):
    """One line says so, and the server is not asked."""
    source = write(tmp_path / "r.csv", *lines)
    with pytest.raises(DatasetError, match=r"r\.csv"):
        write_copy(source, tmp_path / "made" / "r.csv")
    assert not (tmp_path / "made").exists()
    said: list[str] = []
    monkeypatch.setattr(dataset_page, "say", said.append)
    monkeypatch.setattr(dataset_page, "import_dataset", lambda _: pytest.fail("asked"))
    entry = DatasetEntry(Result(tmp_path / "name" / "name.nnp"), wanted=True)
    entry.write_copy(source, tmp_path)
    assert entry.add(tmp_path) == ["Not on the page Dataset."]
    assert [line.split(": ")[0] for line in said] == ["Not added to the page Dataset"]


def test_the_request_names_the_file(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "猫 &a+b.csv", "y", "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        assert import_dataset(path) == "猫 &a+b"
    assert server.asked == [{"tenant_id": nncd.TENANT, "path": str(path)}]


def test_a_server_that_answers_otherwise_costs_the_entry_only(tmp_path: Path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(dataset_page, "say", said.append)
    monkeypatch.setattr(dataset_page, "_request", lambda *_: {"status": "failed"})
    entry = DatasetEntry(Result(tmp_path / "name" / "name.nnp"), wanted=True)
    assert entry.add(tmp_path) == ["Not on the page Dataset."]
    assert [line.split(": ")[0] for line in said] == ["Not added to the page Dataset"]


def test_a_name_in_use_gets_a_number(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "r.csv", "y", "1")
    with nncd.server("r", "r-2") as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        assert import_dataset(path) == "r-3"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r-3.csv"]
