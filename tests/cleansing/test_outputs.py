"""The two files: whole or not at all, and never one of those that are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnabla_influence.cleansing import writing
from nnabla_influence.errors import OutputError
from tests.cleansing.common import N, read_cells


def test_existing_results_are_replaced_and_links_followed(table):
    real = table.folder / "real.csv"
    real.write_text("old")
    table.output.symlink_to(real)
    table.removed.write_text("old")
    table.cleanse(n=1)
    assert table.output.is_symlink()
    assert len(read_cells(real)) == N
    assert len(read_cells(table.removed)) == 2


@pytest.mark.parametrize("broken", ["clean.csv", "clean.removed.csv"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failure_leaves_both_files_as_they_were(table, monkeypatch, broken, failure):
    opened = writing._opened

    def failing(path: Path, *arguments):
        file = opened(path, *arguments)
        if path.name.startswith(f".{broken}."):
            file.write("half")
            file.flush()
            raise failure
        return file

    monkeypatch.setattr(writing, "_opened", failing)
    before = {p.name: p.read_bytes() for p in table.folder.iterdir()}
    with pytest.raises((OutputError, KeyboardInterrupt)):
        table.cleanse(n=1)
    assert {p.name: p.read_bytes() for p in table.folder.iterdir()} == before


@pytest.mark.parametrize("kind", ["itself", "symbolic link", "hard link"])
@pytest.mark.parametrize("given", ["ranking.csv", "train.csv", "decisions.csv"])
@pytest.mark.parametrize("role", ["output", "removed"])
def test_no_input_is_overwritten(tmp_path, table, kind, given, role):
    decisions = table.decisions("datasource_index,decision,label\n1,remove,\n")
    before = table.folder.joinpath(given).read_bytes()
    path = tmp_path / "link.csv"
    if kind == "itself":
        path = table.folder / given
    elif kind == "hard link":
        os.link(table.folder / given, path)
    else:
        path.symlink_to(table.folder / given)
    with pytest.raises(
        OutputError, match=r"is the (ranking|training CSV|decisions CSV) itself, which"
    ):
        table.cleanse(decisions=decisions, train=table.train, **{role: path})
    assert table.folder.joinpath(given).read_bytes() == before
    decisions.unlink()


def test_the_list_is_not_the_dataset(table, tmp_path):
    with pytest.raises(OutputError, match=r"would be both the dataset and the list .* --removed"):
        table.cleanse(n=1, removed=table.folder / ".." / table.folder.name / "clean.csv")
    (tmp_path / "link.csv").symlink_to(table.output)
    with pytest.raises(OutputError, match="would be both the dataset and the list"):
        table.cleanse(n=1, removed=tmp_path / "link.csv")


def test_the_list_of_an_earlier_cleansing_is_not_overwritten_while_it_is_read(tmp_path, table):
    earlier = table.cleanse(n=1, output=tmp_path / "c.csv").removed_list
    with pytest.raises(
        OutputError, match=r"c\.removed\.csv: is the decisions CSV itself, which is never"
    ):
        table.cleanse(decisions=earlier, output=tmp_path / "c.csv")


@pytest.mark.parametrize("role", ["output", "removed"])
def test_outputs_that_cannot_be_written(tmp_path, table, role):
    with pytest.raises(OutputError, match="make its folder first, or choose another output path"):
        table.cleanse(n=1, **{role: tmp_path / "no folder" / "a.csv"})
    with pytest.raises(OutputError, match="is a folder; give the name of a file"):
        table.cleanse(n=1, **{role: tmp_path})
