"""The finished results of a curve and of a validation, on disk."""

from __future__ import annotations

import json
import math
import os

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.retraining.store import CurveStore, FinishedLoss, PartialValidation
from nnabla_influence.retraining.tasks import Retrained

RESULT = Retrained(0.5, 0.1 + 0.2, 1.0)


def test_a_record_comes_back_exactly(tmp_path):
    diverged = Retrained(None, math.nan, 2.0)
    CurveStore(tmp_path / "out").write("one", "of this", RESULT)
    CurveStore(tmp_path / "out").write("two", "of this", diverged)

    assert CurveStore(tmp_path / "out").read("one", "of this", Retrained) == RESULT
    again = CurveStore(tmp_path / "out").read("two", "of this", Retrained)
    assert again.accuracy is None
    assert math.isnan(again.loss)
    assert CurveStore(tmp_path / "out").read("three", "of this", Retrained) is None


def test_a_record_of_0_1_0_is_read(tmp_path):
    """Its bytes, as version 0.1.0 wrote them."""
    store = CurveStore(tmp_path / "out")
    text = '{\n "of": "f",\n "accuracy": 0.5,\n "loss": 0.30000000000000004,\n "seconds": 1.0\n}\n'
    (tmp_path / "out" / "cells" / "one.json").write_text(text)
    assert store.read("one", "f", Retrained) == RESULT
    store.write("two", "f", RESULT)
    assert (tmp_path / "out" / "cells" / "two.json").read_text() == text
    mark = json.loads((tmp_path / "out" / "cells" / "curve.json").read_text())
    assert mark == {"format_version": 1}


def test_what_a_killed_process_left_half_written_is_not_a_record(tmp_path):
    partial = PartialValidation(tmp_path / "result")
    (partial.folder / ".one.json.nnabla_influence_abcdefgh.tmp.json").write_text('{"of"')
    partial.open("f")
    partial.add("one", 0.5)
    assert os.listdir(partial.folder) == ["one.json"]
    (partial.folder / ".two.json.nnabla_influence_abcdefgh.tmp.json").touch()
    partial.remove()
    assert not list(tmp_path.iterdir())


def test_other_outputs_are_refused_and_stay_as_they_are(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    for output, named in (
        (tmp_path, "photo.png"),
        (tmp_path / "photo.png", "photo.png"),
        (tmp_path / "none" / "out", "none"),
    ):
        with pytest.raises(OutputError, match=named):
            CurveStore(output)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("existed", [False, True])
def test_a_failure_before_anything_is_finished_leaves_nothing_behind(tmp_path, existed):
    if existed:
        (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError), CurveStore(tmp_path / "out"):
        raise RuntimeError

    assert os.listdir(tmp_path) == ["out"] * existed
    assert not existed or os.listdir(tmp_path / "out") == []


def test_two_commands_do_not_use_one_folder(tmp_path):
    with CurveStore(tmp_path / "out") as store:
        store.write("one", "of this", RESULT)
        with pytest.raises(OutputError, match="out: another command"):
            CurveStore(tmp_path / "out").__enter__()

    with CurveStore(tmp_path / "out") as again:
        assert again.read("one", "of this", Retrained) == RESULT
    assert not (tmp_path / "out" / ".lock").exists()


def test_the_losses_of_a_validation_are_kept_beside_its_output(tmp_path):
    with PartialValidation(tmp_path / "result"):
        pass
    assert not list(tmp_path.iterdir())
    with PartialValidation(tmp_path / "result") as partial:
        partial.open("f")
        partial.add("one", 0.1 + 0.2)
    again = PartialValidation(tmp_path / "result")
    again.open("f")
    assert again.losses == {"one": 0.1 + 0.2}
    assert again.read("one", "f", FinishedLoss) == FinishedLoss(0.1 + 0.2)
    with pytest.raises(OutputError, match=r"remove .*result\.partial$"):
        PartialValidation(tmp_path / "result").open("g")
    assert again.names() == ["one"]  # hours of work are the user's to remove
    (tmp_path / "result.partial" / "mine.txt").write_text("mine")
    again.remove()
    assert os.listdir(tmp_path / "result.partial") == ["mine.txt"]


def test_a_record_that_is_damaged_or_of_something_else_is_refused(tmp_path):
    store = CurveStore(tmp_path / "out")
    one = tmp_path / "out" / "cells" / "one.json"
    for content in ('{"of": ', "[]", '{"of": "f", "loss": 1.0}', '{"accuracy": 1, "loss": 1}'):
        one.write_text(content)
        with pytest.raises(OutputError, match=r"one\.json.*remove it"):
            store.read("one", "f", Retrained)
    store.write("one", "g", RESULT)
    with pytest.raises(OutputError, match=r"one\.json.* remove .*out$"):
        store.read("one", "f", Retrained)
