"""Every bad input gets one line, what, where and what to do; and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.errors import DatasetError
from tests.dataset.common import noise, save_image, write_csv

X = ColumnSpec("x", (1, 4, 4))
Y = ColumnSpec("y", (1,), n_classes=3)
LARGE = ColumnSpec("x", (3, 64, 64))


def assert_refused(path, specs, *parts: str) -> str:
    """The error's line begins with the CSV's path, and names the parts."""
    cache = Path(path).parent / "cache"
    with pytest.raises(DatasetError) as caught:
        open_dataset(path, specs, cache_dir=cache)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    assert [part for part in parts if part not in text] == [], text
    assert not cache.exists() or not list(cache.iterdir())
    return text


def place(row: int, column: str, line: int | None = None) -> str:
    return f", line {line or row + 2}, datasource_index {row}, column {column!r}: "


def images_csv(folder: Path, header: str = "x:image,y:label") -> Path:
    """Five good rows; the tests spoil one of them."""
    for k in range(5):
        save_image(folder / f"{k}.png", noise(4, 4, seed=k))
    path = folder / "data.csv"
    path.write_text(header + "\n" + "".join(f"{k}.png,{k % 3}\n" for k in range(5)))
    return path


def edited(path: Path, before: str, after: str) -> Path:
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after))
    return path


def test_the_good_rows_are_good(tmp_path):
    path = images_csv(tmp_path)
    path.write_text(path.read_text() + "\n\n")  # Blank lines after the last row do no harm.
    dataset = open_dataset(path, [X, Y], cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(dataset.batch(np.arange(5))["y"][:, 0], [0, 1, 2, 0, 1])


def test_a_message_says_what_is_wrong_where_and_what_to_do(tmp_path):
    path = write_csv(tmp_path / "data.csv", ["y:animal"], [[1], ["cat"]])
    assert assert_refused(path, [Y]) == (
        f"{path}, line 3, datasource_index 1, column 'y:animal': 'cat' is not a number; replace"
        " each class by a whole number from 0 to 2, in every row of the column"
    )


def test_what_is_not_a_file(tmp_path, monkeypatch):
    assert_refused(tmp_path / "no.csv", [X], "does not exist")
    (tmp_path / "folder").mkdir()
    assert_refused(tmp_path / "folder", [X], "is a folder")
    for uri in ("http://host/data.csv", "s3://bucket/data.csv"):
        with pytest.raises(DatasetError, match=f"^{uri}: is a web address"):
            open_dataset(uri, [X])

    def refuse(*_: object) -> None:  # permissions do not stop root, who may run the tests
        raise PermissionError(13, "Permission denied")

    path = images_csv(tmp_path)
    monkeypatch.setattr("nnabla_influence.dataset.records.open", refuse, raising=False)
    assert_refused(path, [X], "cannot be read (Permission denied)")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        *[(content, [": is empty"]) for content in (b"", b"\xef\xbb\xbf", b"\n")],
        *[(content, ["no rows"]) for content in (b"x,y", b"x,y\n", b"x,y\n\n\n")],
        (b"image,#y\n1,2\n", [", line 1: ", "input 'y'", "'image'"]),
        (b"#y\n1\n", [", line 1: ", "input 'y'", "comments only"]),
        (b"y,\n1,2\n", [", line 1: ", "column 2 has no name"]),
        (b"y:a,y:b\n1,2\n", [", line 1: ", "'y'", "'y:a', 'y:b'"]),
        (b"x__0;x__1;y\n0,5;1;2\n", [", line 1: ", "semicolons"]),
        (b"x__0\tx__1\ty:label\n0,5\t1\t2\n", [", line 1: ", "tabs"]),
        (b"x__0:a,b;x__1;x__2;y\n0,5;1;2\n", [", line 1: ", "semicolons"]),
        (b"x,y\n1,2\n1\n", [", line 3, datasource_index 1: ", "1 cells", "2"]),
        (b"x,y\n1,2\n1,2,\n", [", line 3, datasource_index 1: ", "3 cells", "2"]),
        (b"x,y\n1,2\n\n1,2\n", [", line 3: is empty"]),
        ("y:label,猫\n1,犬\n".encode("cp932"), [", line 1: is not UTF-8", "'CSV UTF-8'"]),
        ("y:label\n1\n".encode("utf-16"), [", line 1: is not UTF-8"]),
        (b'y,note\n1,"oops\n' + b"1,fine\n" * 30000, [", line 2: ", "quote"]),
        (b"y\n1\n\0\n", [", line 3: cannot be read as CSV", "NUL"]),
    ],
)
def test_a_csv_of_another_form(tmp_path, content: bytes, parts: list[str]):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    assert_refused(path, [Y], *parts)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "the cell is empty"),
        ("  ", "the cell is empty"),
        ("nan", "'nan' is not a finite number"),
        ("1e999", "'1e999' is not a finite number"),
        ("1e39", "'1e39' holds a value that is not a finite 32-bit number"),
        ("cat", "'cat' is neither a number nor an existing file"),
        ("http://h/a.png", "'http://h/a.png' is a web address"),
        ("gone.png", "the file {}/gone.png does not exist"),
        (r"C:\gone\a.png", r"the file C:\gone\a.png (a path of another machine) does not exist"),
        ("folder.png", "the file {}/folder.png is a folder"),
        ("text.txt", "the file {}/text.txt is a file of a kind that cannot be read; use .png .jpg"),
    ],
)
@pytest.mark.parametrize("name", ["y", "猫"])
def test_a_bad_cell(tmp_path, cell, message, name):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.txt").write_text("1")
    path = write_csv(tmp_path / "data.csv", ["#note", f"{name}:label"], [["a\nb", 1], ["c", cell]])
    where = place(1, f"{name}:label", line=4)
    assert_refused(path, [ColumnSpec(name, (1,))], where + message.format(tmp_path))


@pytest.mark.parametrize("label", ["-1", "3", "1.5"])
def test_a_label_out_of_range(tmp_path, label):
    path = edited(images_csv(tmp_path), "3.png,0", f"3.png,{label}")
    assert_refused(path, [X, Y], place(3, "y:label") + f"{label!r} holds {label}", "from 0 to 2")
    # One column may feed two inputs.
    assert_refused(path, [ColumnSpec("y", (1,)), Y], place(3, "y:label"), f"holds {label}")


@pytest.mark.parametrize(("label", "fits"), [("-1", True), ("-0.5", False), ("3", False)])
def test_labels_below_0_that_the_network_ignores(tmp_path, label, fits):
    path = edited(images_csv(tmp_path), "3.png,0", f"3.png,{label}")
    spec = ColumnSpec("y", (1,), 3, ignores_negative=True)
    if fits:
        dataset = open_dataset(path, [X, spec], cache_dir=tmp_path / "other")
        assert dataset.values("y", np.array([3])) == -1
    else:
        assert_refused(path, [X, spec], place(3, "y:label"), f"holds {label}")


def test_the_first_wrong_label_is_named_after_many_right_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("nnabla_influence.dataset.store._WRITE_BYTES", 100)
    path = write_csv(tmp_path / "data.csv", ["y"], [[label] for label in [0] * 500 + [7] * 2])
    assert_refused(path, [Y], place(500, "y") + "'7' holds 7")


def spoil(folder: Path, extension: str, fraction: float) -> Path:
    """A CSV whose third image lacks its end."""
    for k in range(4):
        save_image(folder / f"{k}.{extension}", noise(64, 64, 3, seed=k))
    spoilt = folder / f"2.{extension}"
    content = spoilt.read_bytes()
    spoilt.write_bytes(content[: int(fraction * len(content))])
    return write_csv(folder / "data.csv", ["x"], [[f"{k}.{extension}"] for k in range(4)])


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.5, 0.97])
@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "tif"])
def test_a_truncated_image(tmp_path, extension, fraction):
    path = spoil(tmp_path, extension, fraction)
    text = assert_refused(
        path, [LARGE], place(2, "x") + f"the file {tmp_path}/2.{extension} cannot be decoded ("
    )
    assert "(Currently" not in text  # nnabla's own words, which hide the reason


@pytest.mark.parametrize("threads", [1, 4])
def test_a_truncated_image_among_large_ones(tmp_path, monkeypatch, threads):
    monkeypatch.setattr("nnabla_influence.dataset.decoder._THREADS_FROM_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    assert_refused(spoil(tmp_path, "png", 0.5), [LARGE], place(2, "x"))


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [(noise(5, 4), "1x5x4"), (noise(4, 4, 3), "3x4x4"), (noise(4, 4, 4), "4x4x4")],
)
@pytest.mark.parametrize("row", [0, 3])
def test_an_image_of_another_size(tmp_path, pixels, shown, row):
    path = images_csv(tmp_path)
    save_image(tmp_path / f"{row}.png", pixels)
    where = place(row, "x:image") + f"the file {tmp_path}/{row}.png has shape {shown}"
    assert_refused(path, [X, Y], where, "1x4x4")


@pytest.mark.parametrize(
    ("array", "shape", "message"),
    [
        (np.zeros((4, 4)), (1, 4, 4), "has shape 4x4, the network's input has 1x4x4"),
        (np.zeros((1, 4, 4)), (16,), "has shape 1x4x4, the network's input has 16"),
        (np.float64(1), (1,), "has shape (), the network's input has 1"),
        (np.array([1.0, np.nan]), (2,), "holds a value that is not a finite 32-bit number"),
        (np.array([1j]), (1,), "holds complex128"),
        (np.array(["a"]), (1,), "holds <U1"),
        (np.array([{}]), (1,), "cannot be decoded (Python objects, not numbers)"),
    ],
)
def test_an_array_that_does_not_fit(tmp_path, array, shape, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    path = write_csv(tmp_path / "data.csv", ["x"], [["a.npy"], ["a.npy"]])
    where = place(0, "x") + f"the file {tmp_path}/a.npy "
    assert_refused(path, [ColumnSpec("x", shape)], where + message)


def test_a_vector_that_does_not_fit(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(2))
    wide = write_csv(tmp_path / "wide.csv", ["v__0:a", "v__1:b"], [[1, 2]])
    shape = "the vector has shape 2, the network's input has 3"
    assert_refused(wide, [ColumnSpec("v", (3,))], place(0, "v__0:a") + shape)
    mixed = write_csv(tmp_path / "mixed.csv", ["v__0", "v__1"], [[1, "a.npy"]])
    assert_refused(mixed, [ColumnSpec("v", (2,))], place(0, "v__0"), "shapes (() and 2)")


def test_one_column_for_inputs_of_different_shapes(tmp_path):
    with pytest.raises(DatasetError, match="'x' feeds inputs of the shapes 1x4x4 and 3x4x4"):
        open_dataset(images_csv(tmp_path), [X, ColumnSpec("x", (3, 4, 4))])


def test_columns_that_the_network_does_not_read_may_hold_anything(tmp_path):
    images_csv(tmp_path)
    rows = [[f"{k}.png", "", "no number", "nan", "gone.png"] for k in range(5)]
    path = write_csv(tmp_path / "more.csv", ["x", "a", "b", "c", "d"], rows)
    assert len(open_dataset(path, [X], cache_dir=tmp_path / "cache")) == 5
