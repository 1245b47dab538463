"""Every bad input gets one line: what, where, what to do; and leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from nnabla.utils.data_source_implements import CsvDataSource

from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.errors import DatasetError
from tests.dataset.common import noise, save_image, write_csv

X = ColumnSpec("x", (1, 4, 4))
Y = ColumnSpec("y", (1,), n_classes=3)


def assert_refused(path, specs, message: str, cache: Path) -> None:
    """`message` is a pattern of the whole line behind the CSV's path."""
    with pytest.raises(DatasetError) as caught:
        open_dataset(path, specs, cache_dir=cache)
    text = str(caught.value)
    assert "\n" not in text
    assert re.fullmatch(re.escape(str(path)) + message, text), text
    assert not cache.exists() or not list(cache.iterdir())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def images_csv(folder: Path, header: str = "x:image,y:label") -> Path:
    """Five good rows; the tests spoil one of them."""
    for k in range(5):
        save_image(folder / f"{k}.png", noise(4, 4, seed=k))
    path = folder / "data.csv"
    path.write_text(header + "\n" + "".join(f"{k}.png,{k % 3}\n" for k in range(5)))
    return path


def test_the_good_rows_are_good(tmp_path, cache):
    assert len(open_dataset(images_csv(tmp_path), [X, Y], cache_dir=cache)) == 5


def test_no_file(tmp_path, cache):
    assert_refused(tmp_path / "no.csv", [X], ": does not exist; check the dataset's path", cache)


def test_a_folder(tmp_path, cache):
    assert_refused(tmp_path, [X], ": is a folder; give the CSV file in it", cache)


@pytest.mark.parametrize("uri", ["http://host/data.csv", "s3://bucket/data.csv"])
def test_a_web_address(uri, cache):
    assert_refused(uri, [X], ": is a web address; download the dataset and give its path", cache)


def test_a_file_that_cannot_be_read(tmp_path, cache, monkeypatch):
    def refuse(*_: object) -> None:  # permissions do not stop root, who may run the tests
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nnabla_influence.dataset.records.open", refuse, raising=False)
    path = images_csv(tmp_path)
    assert_refused(path, [X], r": cannot be read \(Permission denied\); check .*", cache)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n"])
def test_an_empty_file(tmp_path, cache, content):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    assert_refused(path, [X], ": is empty; it needs a header line and rows", cache)


@pytest.mark.parametrize("content", ["x,y", "x,y\n", "x,y\n\n\n"])
def test_a_header_only(tmp_path, cache, content):
    path = tmp_path / "data.csv"
    path.write_text(content)
    assert_refused(path, [Y], ": has a header but no rows; add rows", cache)


def test_a_header_without_the_networks_input(tmp_path, cache):
    path = images_csv(tmp_path, "image:x,#x")
    assert_refused(
        path,
        [X],
        r", line 1: the network's input 'x' has no column; the file has 'image'; rename a column,"
        " or give another CSV",
        cache,
    )


@pytest.mark.parametrize("cell", [" y", "y ", " y:label", "y :label", "\N{NO-BREAK SPACE}y"])
def test_a_header_with_a_space(tmp_path, cache, cell):
    """nnabla takes it for a part of the name."""
    path = write_csv(tmp_path / "data.csv", ["x", cell], [[1, 2]])
    with CsvDataSource(str(path)) as source:
        assert "y" not in source.variables
    assert_refused(
        path,
        [Y],
        f", line 1: the network's input 'y' has no column, since column 2, {re.escape(repr(cell))},"
        " has a space before or behind its name; remove it there",
        cache,
    )


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("x__0;x__1;y", "semicolons"),
        ("x__0\tx__1\ty:label", "tabs"),
        ("x__0:a,b;x__1;x__2;y", "semicolons"),
    ],
)
def test_another_separator(tmp_path, cache, header, name):
    path = tmp_path / "data.csv"
    path.write_text(header + "\n0,5;1;2\n")
    assert_refused(
        path,
        [Y],
        f", line 1: its columns are separated by {name}, and those of a dataset CSV by commas; save"
        " it with commas, and numbers with a decimal point",
        cache,
    )


def test_a_label_may_have_semicolons(tmp_path, cache):
    path = tmp_path / "data.csv"
    path.write_text("y:a;b;c\n1\n")
    assert len(open_dataset(path, [Y], cache_dir=cache)) == 1


def test_labels_as_words(tmp_path, cache):
    path = write_csv(tmp_path / "data.csv", ["y:animal"], [[1], ["cat"]])
    assert_refused(
        path,
        [Y],
        ", line 3, datasource_index 1, column 'y:animal': 'cat' is not a number; replace each class"
        " by a whole number from 0 to 2, in every row of the column",
        cache,
    )


def test_a_header_with_a_nameless_column(tmp_path, cache):
    path = images_csv(tmp_path, "x,")
    assert_refused(path, [X], ", line 1: column 2 has no name; give it one, or remove it", cache)


def test_a_header_with_a_variable_twice(tmp_path, cache):
    path = images_csv(tmp_path, "x:a,x:b")
    assert_refused(
        path,
        [X],
        r", line 1: variable 'x' stands there more than once \('x:a', 'x:b'\); keep one of these"
        " columns",
        cache,
    )


@pytest.mark.parametrize(("cells", "count"), [("3.png", 1), ("3.png,1,", 3)])
def test_a_ragged_row(tmp_path, cache, cells, count):
    path = images_csv(tmp_path)
    path.write_text(path.read_text().replace("3.png,0", cells))
    assert_refused(
        path,
        [X],
        f", line 5, datasource_index 3: has {count} cells, the header has 2; correct the row .*",
        cache,
    )


def test_a_blank_line_between_rows(tmp_path, cache):
    path = images_csv(tmp_path)
    path.write_text(path.read_text().replace("3.png", "\n3.png"))
    assert_refused(path, [X], r", line 5: is empty, which nnabla takes .*; remove the line", cache)


def test_blank_lines_behind_the_last_row_do_no_harm(tmp_path, cache):
    path = images_csv(tmp_path)
    path.write_text(path.read_text() + "\n\n")
    dataset = open_dataset(path, [Y], cache_dir=cache)
    assert len(dataset) == 5
    np.testing.assert_array_equal(dataset.batch(np.arange(5))["y"][:, 0], [0, 1, 2, 0, 1])


def test_shift_jis_as_excel_saves_it(tmp_path, cache):
    path = tmp_path / "data.csv"
    path.write_bytes("y:label,猫\n1,犬\n".encode("cp932"))
    assert_refused(
        path, [Y], r", line 1: is not UTF-8 text; save the file as 'CSV UTF-8' .*", cache
    )


def test_utf_16(tmp_path, cache):
    path = tmp_path / "data.csv"
    path.write_text("y:label\n1\n", encoding="utf-16")
    assert_refused(path, [Y], r", line 1: is not UTF-8 text; save .*", cache)


def test_a_quote_that_is_never_closed(tmp_path, cache):
    path = tmp_path / "data.csv"
    path.write_text('y,note\n1,"oops\n' + "1,fine\n" * 30000)
    assert_refused(path, [Y], r", line 2: cannot be read as CSV \(field larger .*quote.*", cache)


def test_a_nul_character(tmp_path, cache):
    path = tmp_path / "data.csv"
    path.write_bytes(b"y\n1\n\0\n")
    assert_refused(path, [Y], r", line 3: cannot be read as CSV \(line contains NUL\); .*", cache)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "the cell is empty; fill it in, or remove the row"),
        ("  ", "the cell is empty; fill it in, or remove the row"),
        ("nan", "'nan' is not a finite number; correct it, or remove the row"),
        ("-inf", "'-inf' is not a finite number; correct it, or remove the row"),
        ("1e999", "'1e999' is not a finite number; correct it, or remove the row"),
        (
            "1e39",
            "'1e39' holds a value that is not a finite 32-bit number; correct it, or remove the"
            " row",
        ),
        (
            "cat",
            "'cat' is neither a number nor an existing file; correct it, or remove the row",
        ),
        (
            "1;5",
            "'1;5' is neither a number nor an existing file; correct it, or remove the row",
        ),
        (
            "http://h/a.png",
            "'http://h/a.png' is a web address; download the file and name the copy",
        ),
        ("gone.png", "the file {}/gone.png does not exist; restore the file, or remove the row"),
        (
            r"C:\gone\a.png",
            r"the file C:\gone\a.png (a path of another machine) does not exist; restore the file,"
            " or remove the row",
        ),
        ("folder.png", "the file {}/folder.png is a folder; name a file, or remove the row"),
        (
            "text.txt",
            "the file {}/text.txt is a file of a kind that cannot be read; use .png .jpg .jpeg .bmp"
            " .gif .tif .tiff .dcm .npy .csv .wav",
        ),
    ],
)
@pytest.mark.parametrize("name", ["y", "猫"])
def test_a_bad_cell(tmp_path, cache, cell, message, name):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.txt").write_text("1")
    path = write_csv(tmp_path / "data.csv", ["#note", f"{name}:label"], [["a\nb", 1], ["c", cell]])
    where = f", line 4, datasource_index 1, column '{name}:label': "
    assert_refused(
        path,
        [ColumnSpec(name, (1,))],
        where + re.escape(message.format(tmp_path)),
        cache,
    )


@pytest.mark.parametrize("label", ["-1", "3", "1.5"])
def test_a_label_out_of_range(tmp_path, cache, label):
    path = images_csv(tmp_path)
    path.write_text(path.read_text().replace("3.png,0", f"3.png,{label}"))
    assert_refused(
        path,
        [X, Y],
        f", line 5, datasource_index 3, column 'y:label': '{label}' holds {label}, which is no"
        " label: the network takes whole numbers from 0 to 2; correct it, or remove the row",
        cache,
    )


@pytest.mark.parametrize(("label", "fits"), [("-1", True), ("-0.5", False), ("3", False)])
def test_labels_below_0_that_the_network_ignores(tmp_path, cache, label, fits):
    path = images_csv(tmp_path)
    path.write_text(path.read_text().replace("3.png,0", f"3.png,{label}"))
    spec = ColumnSpec("y", (1,), 3, ignores_negative=True)
    if fits:
        assert open_dataset(path, [X, spec], cache_dir=cache).values("y", np.array([3])) == -1
        assert_refused(path, [X, Y], ".* datasource_index 3, .* holds -1.*", tmp_path / "other")
    else:
        assert_refused(path, [X, spec], f".* datasource_index 3, .* holds {label}.*", cache)


def test_the_first_wrong_label_is_named_behind_many_right_ones(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("nnabla_influence.dataset.store._WRITE_BYTES", 100)
    labels = [0] * 500 + [7] * 2
    path = write_csv(tmp_path / "data.csv", ["y"], [[label] for label in labels])
    assert_refused(
        path, [Y], r", line 502, datasource_index 500, column 'y': '7' holds 7, .*", cache
    )


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
def test_a_truncated_image(tmp_path, cache, extension, fraction):
    path = spoil(tmp_path, extension, fraction)
    assert_refused(
        path,
        [ColumnSpec("x", (3, 64, 64))],
        rf", line 4, datasource_index 2, column 'x': the file {tmp_path}/2.{extension} cannot be"
        r" decoded \((?!Currently).+\); restore the file, or remove the row",
        cache,
    )


@pytest.mark.parametrize("threads", [1, 4])
def test_a_truncated_image_among_large_ones(tmp_path, cache, monkeypatch, threads):
    monkeypatch.setattr("nnabla_influence.dataset.decoding._THREADS_FROM_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    path = spoil(tmp_path, "png", 0.5)
    assert_refused(path, [ColumnSpec("x", (3, 64, 64))], r", line 4, datasource_index 2, .*", cache)


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [(noise(5, 4), "1x5x4"), (noise(4, 4, 3), "3x4x4"), (noise(4, 4, 4), "4x4x4")],
)
@pytest.mark.parametrize("row", [0, 3])
def test_an_image_of_another_size(tmp_path, cache, pixels, shown, row):
    path = images_csv(tmp_path)
    save_image(tmp_path / f"{row}.png", pixels)
    end = (
        "the network's input has 1x4x4; convert the data, or take the network that fits it"
        if row == 0
        else "the rows before have 1x4x4; give all rows the same shape"
    )
    assert_refused(
        path,
        [X, Y],
        f", line {row + 2}, datasource_index {row}, column 'x:image': the file"
        f" {tmp_path}/{row}.png has shape {shown}, {end}",
        cache,
    )


@pytest.mark.parametrize(
    ("array", "shape", "message"),
    [
        (np.zeros((4, 4)), (1, 4, 4), "has shape 4x4, the network's input has 1x4x4; .*"),
        (np.zeros((1, 4, 4)), (16,), "has shape 1x4x4, the network's input has 16; .*"),
        (np.float64(1), (1,), r"has shape \(\), the network's input has 1; .*"),
        (np.array([1.0, np.nan]), (2,), "holds a value that is not a finite 32-bit number; .*"),
        (np.array([1j]), (1,), "holds complex128; save it as an array of real numbers"),
        (np.array(["a"]), (1,), "holds <U1; save it as an array of real numbers"),
        (
            np.array([{}]),
            (1,),
            r"cannot be decoded \(Python objects, not numbers\); restore the file, .*",
        ),
    ],
)
def test_an_array_that_does_not_fit(tmp_path, cache, array, shape, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    path = write_csv(tmp_path / "data.csv", ["x"], [["a.npy"], ["a.npy"]])
    where = f", line 2, datasource_index 0, column 'x': the file {tmp_path}/a.npy "
    assert_refused(path, [ColumnSpec("x", shape)], where + message, cache)


def test_a_pickle_that_calls_itself_npy_is_not_run(tmp_path, cache):
    (tmp_path / "a.npy").write_bytes(
        b"cos\nmkdir\n(S'" + str(tmp_path / "ran").encode() + b"'\ntR."
    )
    path = write_csv(tmp_path / "data.csv", ["x"], [["a.npy"]])
    assert_refused(path, [ColumnSpec("x", (1,))], r".* cannot be decoded \(.*magic.*", cache)
    assert not (tmp_path / "ran").exists()


def test_a_csv_cell_with_text(tmp_path, cache):
    (tmp_path / "a.csv").write_text("1,2\n3,four\n")
    path = write_csv(tmp_path / "data.csv", ["x"], [["a.csv"]])
    assert_refused(path, [ColumnSpec("x", (2, 2))], r".* cannot be decoded \(.*'four'\); .*", cache)


def test_a_vector_of_another_width(tmp_path, cache):
    path = write_csv(tmp_path / "data.csv", ["v__0:a", "v__1:b"], [[1, 2]])
    assert_refused(
        path,
        [ColumnSpec("v", (3,))],
        ", line 2, datasource_index 0, column 'v__0:a': the vector has shape 2, the network's input"
        " has 3; convert the data, or take the network that fits it",
        cache,
    )


def test_a_vector_of_numbers_and_arrays(tmp_path, cache):
    np.save(tmp_path / "a.npy", np.zeros(2))
    path = write_csv(tmp_path / "data.csv", ["v__0", "v__1"], [[1, "a.npy"]])
    assert_refused(
        path,
        [ColumnSpec("v", (2,))],
        r".*: the vector has elements of different shapes \(\(\) and 2\); give all .*",
        cache,
    )


def test_one_column_for_inputs_of_different_shapes(tmp_path):
    path = images_csv(tmp_path)
    with pytest.raises(DatasetError, match="'x' feeds inputs of the shapes 1x4x4 and 3x4x4; give"):
        open_dataset(path, [X, ColumnSpec("x", (3, 4, 4))])


def test_one_column_for_two_inputs_is_checked_as_a_label(tmp_path, cache):
    path = images_csv(tmp_path)
    assert_refused(
        path, [ColumnSpec("y", (1,)), ColumnSpec("y", (1,), 2)], ".* no label: .*", cache
    )


def test_columns_that_the_network_does_not_read_may_hold_anything(tmp_path, cache):
    images_csv(tmp_path)
    rows = [[f"{k}.png", "", "no number", "nan", "gone.png"] for k in range(5)]
    path = write_csv(tmp_path / "more.csv", ["x", "a", "b", "c", "d"], rows)
    assert len(open_dataset(path, [X], cache_dir=cache)) == 5
