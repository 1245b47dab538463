"""Class names: every way to write them, and what is refused."""

from __future__ import annotations

import pytest

from nnabla_influence.errors import DatasetError
from nnabla_influence.review.classes import read_class_names

ANIMALS = {0: "cat", 1: "dog", 2: "bird"}


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes, encoding: str = "utf-8"):
        path = tmp_path / "names.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\nbird",
        "cat\r\ndog\r\nbird\r\n\r\n",
        "cat\ndog\n  bird  \n",
        '"cat"\ndog\nbird\n',
        "cat,dog,bird\n",
        "0,cat\n1,dog\n2,bird\n",
        "value,name\n0,cat\n1,dog\n2,bird\n",
        "\n2,bird\n\n0,cat\n1,dog\n\n",
        "class;name\r\n0;cat\r\n1;dog\r\n2;bird\r\n",
        "0\tcat\n1.0\tdog\n2\tbird",
        'y:label,name\n0,"cat"\n1,dog,\n"2",bird,,\n',
    ],
)
def test_files(written, text):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert read_class_names(str(written(text, encoding))).by_value == ANIMALS


def test_values_need_not_begin_at_0_nor_be_without_gaps(written):
    assert read_class_names(written("-1,no\n1,yes\n\uff17,maybe\n")).by_value == {
        -1: "no",
        1: "yes",
        7: "maybe",
    }


def test_a_name_of_two_classes_has_the_number_behind_it():
    assert read_class_names("crane,heron,crane").by_value == {
        0: "crane (0)",
        1: "heron",
        2: "crane (2)",
    }


def test_a_file_comes_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").write_text("cat\ndog\nbird\n", encoding="utf-8")
    assert read_class_names("a,b").by_value == ANIMALS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n\n", "empty"),
        ("cat\n\nbird\n", "class 1 is empty"),
        ("0,cat\n0.0,dog\n", "line 2: names class 0, as line 1"),
        ("0,cat\ndog\n", "line 2: "),
        ("0,cat\n1,\n", "line 2: "),
        ("0,cat\n1.5,dog\n", "line 2: "),
        ('0,cat\n1,"dog\n', "line 2: cannot be read as CSV"),
        ("cat,,bird", "class 1 is empty"),
        ("猫,犬".encode("cp932"), "UTF-8"),
    ],
)
def test_what_is_refused(written, text, message):
    path = written(text)
    with pytest.raises(DatasetError) as error:
        read_class_names(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["cat", "no/such/file.txt", "cat,"])
def test_neither_a_file_nor_names(text):
    with pytest.raises(DatasetError, match=text):
        read_class_names(text)
