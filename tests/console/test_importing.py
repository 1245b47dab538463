"""What is handed to the page Dataset, by the rules of NNCD's import."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from PIL import Image

from nnabla_influence.console import importing
from nnabla_influence.console.desktop import Result
from nnabla_influence.console.importing import ImportingError, import_dataset, write_dataset_copy
from nnabla_influence.errors import DatasetError
from tests.console import nncd


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def copied(source: Path, target: Path) -> tuple[list[str], tuple[str, ...]]:
    copy = write_dataset_copy(source, target)
    assert nncd.refused_by_the_page(target) is None
    lines = target.read_bytes().decode("ascii").splitlines()  # so there is no byte-order mark
    assert copy.columns == len(lines[0].split(","))
    return lines, copy.left_out


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "in here").mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        Image.new("L", (4, 4)).save(tmp_path / "in here" / name)
    return tmp_path


def test_paths_become_absolute(images: Path):
    source = write(images / "r.csv", "x:image,y:label", "in here/a.png,0", "in here\\b.png,1")
    lines, left_out = copied(source, images / "made" / "r.csv")
    folder = images / "in here"
    assert lines == ["x:image,y:label", f"{folder / 'a.png'},0", f"{folder / 'b.png'},1"]
    assert left_out == ()


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (("in here/a.png", "in here/c.jpg"), "its cells are of different kinds"),
        (("in here/a.png", "7"), "its cells are of different kinds"),
        (("7", ""), "a cell is empty"),
        ((" ", "7"), "a cell is empty"),
        (("猫", "犬"), "a cell is not ASCII"),
        (("cat", "dog"), "'cat' is neither a number nor a file that the page shows"),
        (("in here/a.png", "in here/none.png"), "'in here/none.png' does not exist"),
        (("in here/a.npy", "in here/b.npy"), "'in here/a.npy' is neither a number nor a file"),
    ],
)
def test_columns_that_the_page_refuses_are_left_out(images: Path, cells, reason: str):
    source = write(images / "r.csv", "#note,y", f"{cells[0]},0", f"{cells[1]},1")
    lines, left_out = copied(source, images / "made" / "r.csv")
    assert lines == ["y", "0", "1"]
    assert len(left_out) == 1
    assert left_out[0].startswith(f"#note ({reason}")


def test_numbers_stay_as_they_are_and_labels_of_columns_become_ascii(tmp_path: Path):
    source = write(tmp_path / "r.csv", "x__0:長さ,#true,名,y:a", "1e-5,nan,3,-0.50")
    lines, left_out = copied(source, tmp_path / "made" / "r.csv")
    assert lines == ["x__0,#true,y:a", "1e-5,nan,-0.50"]
    assert left_out == ("名 (its name is not ASCII)",)


def test_blank_lines_are_no_rows(tmp_path: Path):
    source = write(tmp_path / "r.csv", "x,y", "", "1,2", "", "3,4")
    assert copied(source, tmp_path / "made" / "r.csv") == (["x,y", "1,2", "3,4"], ())


def test_capitals_of_an_extension_do_no_harm(tmp_path: Path):
    Image.new("L", (4, 4)).save(tmp_path / "A.PNG")
    source = write(tmp_path / "r.csv", "x,y", "A.PNG,0")
    lines, _ = copied(source, tmp_path / "made" / "r.csv")
    assert lines == ["x,y", f"{tmp_path / 'A.PNG'},0"]


def test_what_has_no_copy_is_not_asked_for(tmp_path: Path, monkeypatch):
    """One line says why, and the server is left alone."""
    said: list[str] = []
    monkeypatch.setattr(importing, "say", said.append)
    monkeypatch.setattr(importing, "import_dataset", lambda _: pytest.fail("asked"))
    source = write(tmp_path / "r.csv", "x", "text")
    added = importing.Import(Result(tmp_path / "name" / "name.nnp"), wanted=True)
    added.prepare(source, tmp_path)
    assert added.run(tmp_path) == ["Not on the page Dataset."]
    assert [line.split(": ")[0] for line in said] == ["Not added to the page Dataset"]


def test_files_in_a_folder_that_is_not_ascii(tmp_path: Path):
    folder = tmp_path / "写真"
    folder.mkdir()
    Image.new("L", (4, 4)).save(folder / "a.png")
    source = write(folder / "r.csv", "x,y", "a.png,0")
    lines, left_out = copied(source, tmp_path / "made" / "r.csv")
    assert lines == ["y", "0"]
    assert left_out == ("x (its files' folder is not ASCII)",)


@pytest.mark.parametrize("lines", [["x,y"], ["x", "text"], [""]])
def test_nothing_to_show_is_said(tmp_path: Path, lines: list[str]):
    source = write(tmp_path / "r.csv", *lines)
    with pytest.raises(DatasetError, match="has no row and column that the page Dataset could"):
        write_dataset_copy(source, tmp_path / "made" / "r.csv")
    assert not (tmp_path / "made").exists()


def test_the_request_names_the_file(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "猫 &a+b.csv", "y", "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        assert import_dataset(path) == "猫 &a+b"
    (asked,) = server.asked
    assert asked == {"tenant_id": nncd.TENANT, "path": str(path)}


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "r.csv", "y", "1")
    with nncd.server("r", "r-2") as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        assert import_dataset(path) == "r-3"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r-3.csv"]


def test_a_server_that_refuses(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "r.csv", "y", "1")
    monkeypatch.setattr(importing, "_tenant", lambda _: "")  # so it gets none
    with nncd.server() as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        with pytest.raises(ImportingError, match="the application's server answers 500"):
            import_dataset(path)
    answer = {"status": "failed", "message": "the disk is full"}
    monkeypatch.setattr(importing, "_ask", lambda *_, **__: answer)
    with pytest.raises(ImportingError, match="the application's server says: the disk is full"):
        import_dataset(path)


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("", "the application did not tell its port"),
        ("abc", "the application did not tell its port"),
        ("9", "the application's server does not answer"),
    ],
)
def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch, port: str, message: str):
    monkeypatch.setenv("SERVER_PORT", port)
    with pytest.raises(ImportingError, match=message):
        import_dataset(write(tmp_path / "r.csv", "y", "1"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.0 500 x\r\n\r\n", "the application's server answers 500"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "the application's server does not answer"),
        (
            b'HTTP/1.0 200 OK\r\n\r\n{"status": "failed"}',
            "the application's server names no tenant",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", r"the application's server names no tenant"),
        (b"", "the application's server does not answer"),
        (None, "the application's server does not answer"),
    ],
)
def test_a_server_that_answers_otherwise(tmp_path: Path, monkeypatch, answer, message: str):
    """None: it takes the call and says nothing."""
    import threading

    monkeypatch.setattr(importing, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("SERVER_PORT", str(listening.getsockname()[1]))

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                if answer is None:
                    threading.Event().wait(0.6)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ImportingError, match=message):
            import_dataset(write(tmp_path / "r.csv", "y", "1"))
        thread.join()
