"""The two files: whole or not at all, and never one of those that are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnabla_influence.cleansing import output as output_module
from nnabla_influence.errors import OutputError
from tests.cleansing.common import LABELS, N, read_cells
from tests.dataset.common import write_csv


def test_existing_results_are_replaced_and_links_followed(table):
    real = table.folder / "real.csv"
    table.cleanse(n=2)
    table.output.rename(real)
    table.output.symlink_to(real)
    table.cleanse(n=1)
    assert table.output.is_symlink()
    assert len(read_cells(real)) == N
    assert len(read_cells(table.removed)) == 2


@pytest.mark.parametrize("broken", ["clean.csv", "clean.removed.csv"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failure_leaves_both_files_as_they_were(table, monkeypatch, broken, failure):
    opened = output_module._opened

    def failing(path: Path, *arguments):
        file = opened(path, *arguments)
        if path.name.startswith(f".{broken}."):
            file.write("half")
            file.flush()
            raise failure
        return file

    monkeypatch.setattr(output_module, "_opened", failing)
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
    with pytest.raises(OutputError, match=rf"{path.name}: .*{given}"):
        table.cleanse(decisions=decisions, train=table.train, **{role: path})
    assert table.folder.joinpath(given).read_bytes() == before
    decisions.unlink()


FORMS = ["none", "mark", "line ends", "result columns", "rows", "link", "unreadable"]


@pytest.mark.parametrize("change", FORMS)
def test_an_earlier_result_may_be_the_training_csv_by_now(tmp_path, table, change):
    """Known by its form, where -t does not name it."""
    path = table.train
    original = path.read_bytes()
    if change == "mark":
        path.write_bytes(b"\xef\xbb\xbf" + original)
    elif change == "line ends":
        path.write_bytes(original.replace(b"\n", b"\r\n"))
    elif change == "result columns":  # which the ranking has replaced
        write_csv(path, ["loss", "x", "y"], [[9, k / 8, LABELS[k]] for k in range(N)])
    elif change == "rows":  # at the end, which a ranking without its last rows does not show
        path.write_bytes(original + b"1.5,0\n")
    elif change == "link":
        path = tmp_path / "link.csv"
        path.symlink_to(table.train)
    elif change == "unreadable":
        path.write_bytes(original + b"\x00\n" + b"1" * 200_000)
    removed = path.with_suffix(".removed.csv")
    removed.write_text("datasource_index,influence,decision,label_before,label\n")
    before = path.read_bytes()
    with pytest.raises(OutputError, match=rf"{path.name}: may be the training CSV itself"):
        table.cleanse(n=1, output=path)
    assert path.read_bytes() == before
    assert not table.output.exists()
    removed.unlink()
    with pytest.raises(OutputError, match=rf"{path.name}: exists and is not an earlier result"):
        table.cleanse(n=1, output=path)


RELABELLED = "datasource_index,decision,label\n9,relabel,2\n"
NOTHING = "datasource_index,decision,label\n9,keep,\n"


@pytest.mark.parametrize("decided", [RELABELLED, NOTHING], ids=["relabelled", "nothing"])
def test_an_earlier_result_without_removed_rows_is_replaced(table, decided):
    """Of the same ranking; its list is still a list of decisions."""
    table.decide(decided)
    first = table.output.read_bytes()
    table.decide(decided)
    assert table.output.read_bytes() == first
    earlier = table.removed.rename(table.folder / "earlier.csv")
    table.cleanse(decisions=earlier, output=table.folder / "again.csv")
    assert (table.folder / "again.csv").read_bytes() == first
    earlier.rename(table.removed)
    table.cleanse(n=1)
    assert len(read_cells(table.output)) == N


@pytest.mark.parametrize("change", ["output", "ranking", "list", "no list"])
def test_what_may_have_been_trained_on_since_is_kept(table, change):
    """A ranking of it is another one; and whatever was changed in it is the user's."""
    table.decide(NOTHING)
    if change == "output":
        table.output.write_bytes(table.output.read_bytes().replace(b"0.125", b"0.126"))
    elif change == "ranking":
        lines = table.ranking.read_text().splitlines(keepends=True)
        table.ranking.write_text("".join([lines[0], *lines[2:], lines[1]]))
    elif change == "list":
        header, mark = table.removed.read_text().rstrip().rsplit(",", 1)
        table.removed.write_text(f"{header},{mark[:9]}0{mark[10:]}x\n")
    else:
        table.removed.unlink()
    before = table.output.read_bytes()
    message = r"clean\.csv: (may be the training CSV|exists and is not an earlier result)"
    with pytest.raises(OutputError, match=message):
        table.cleanse(n=1)
    assert table.output.read_bytes() == before
    if change != "no list":
        table.cleanse(n=1, train=table.train)
        assert len(read_cells(table.output)) == N


@pytest.mark.parametrize("given", [True, False])
def test_files_that_are_not_an_earlier_result_are_kept(table, given):
    """Another dataset, such as the validation CSV, and whatever else has such a name."""
    train = {"train": table.train} if given else {}
    rows = [[k / 8, LABELS[k]] for k in range(5)]
    write_csv(table.output, ["x", "y"], rows)
    before = table.output.read_bytes()
    with pytest.raises(OutputError, match=r"clean\.csv: exists and is not an earlier result"):
        table.cleanse(n=1, **train)
    table.removed.write_text("datasource_index,influence\n")
    with pytest.raises(OutputError, match=r"clean\.removed\.csv: exists and is not a list of"):
        table.cleanse(n=1, output=table.folder / "new.csv", removed=table.removed, **train)
    assert table.output.read_bytes() == before
    assert table.removed.read_text() == "datasource_index,influence\n"


def test_an_empty_file_is_filled_and_a_list_elsewhere_will_do(table):
    """As a program makes one to have the name; and where the list was named."""
    table.output.touch()
    table.removed.touch()
    table.cleanse(n=1)
    table.removed.rename(table.folder / "gone.csv")
    table.cleanse(n=2, removed=table.folder / "gone.csv")
    assert len(read_cells(table.output)) == 1 + N - 2


def test_the_list_is_not_the_dataset(table, tmp_path):
    with pytest.raises(OutputError, match=r"both the dataset and the list .* --removed"):
        table.cleanse(n=1, removed=table.folder / ".." / table.folder.name / "clean.csv")
    (tmp_path / "link.csv").symlink_to(table.output)
    with pytest.raises(OutputError, match="both the dataset and the list"):
        table.cleanse(n=1, removed=tmp_path / "link.csv")
