from __future__ import annotations

import json
import math
import os

import pytest

from nnabla_influence.errors import OutputError
from nnabla_influence.retraining.plan import Training
from nnabla_influence.retraining.store import Store
from nnabla_influence.retraining.tasks import Retrained

TRAINING = Training(0, 4)
RESULT = Retrained(0.5, 0.1 + 0.2, 1.0)


def test_a_record_comes_back_exactly(tmp_path):
    diverged = Retrained(None, math.nan, 2.0)
    Store(tmp_path / "out").write("one", "of this", RESULT)
    Store(tmp_path / "out").write("two", "of this", diverged)

    assert Store(tmp_path / "out").read("one", "of this", Retrained) == RESULT
    again = Store(tmp_path / "out").read("two", "of this", Retrained)
    assert again.accuracy is None
    assert math.isnan(again.loss)


def test_what_is_not_there_is_none(tmp_path):
    assert Store(tmp_path / "out").read("one", "of this", Retrained) is None


def test_a_record_of_other_things_is_refused(tmp_path):
    store = Store(tmp_path / "out")
    store.write("one", "of this", RESULT)

    with pytest.raises(OutputError, match=r"one.json: was computed from another definition, other"):
        store.read("one", "of that", Retrained)


def test_a_damaged_record_is_named(tmp_path):
    store = Store(tmp_path / "out")
    (tmp_path / "out" / "cells" / "one.json").write_text('{"of": ')

    with pytest.raises(OutputError, match=r"one.json: cannot be read .* remove it"):
        store.read("one", "of this", Retrained)
    (tmp_path / "out" / "cells" / "one.json").write_text('{"of": "of this", "loss": 1.0}')
    with pytest.raises(OutputError, match=r"one.json: is damaged, or of another version; remove"):
        store.read("one", "of this", Retrained)


def test_what_killed_commands_leave_does_no_harm(tmp_path):
    """One before it had marked the folder, one while it wrote the results."""
    for name in ("cells", "scores", "runs"):
        (tmp_path / "out" / name).mkdir(parents=True)
    with Store(tmp_path / "out") as store:
        store.write("one", "of this", RESULT)
    (tmp_path / "out" / ".results.x1y2").mkdir()

    with Store(tmp_path / "out"):
        pass

    assert sorted(os.listdir(tmp_path / "out")) == ["cells", "runs", "scores"]


def test_a_folder_of_other_things_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")

    with pytest.raises(OutputError, match=r"holds photo.png, so it is not a removal curve"):
        Store(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_file_and_a_missing_parent_are_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="is a file; give the name of a folder"):
        Store(tmp_path / "file")
    with pytest.raises(OutputError, match="does not exist; make it first"):
        Store(tmp_path / "none" / "out")


def test_a_failure_before_anything_is_finished_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), Store(tmp_path / "out"):
        raise RuntimeError

    assert os.listdir(tmp_path) == []


def test_what_is_finished_stays(tmp_path):
    with Store(tmp_path / "out") as store:
        store.write("one", "of this", RESULT)

    assert Store(tmp_path / "out").read("one", "of this", Retrained) == RESULT


def test_a_folder_that_the_user_made_stays(tmp_path):
    (tmp_path / "out").mkdir()
    with Store(tmp_path / "out"):
        pass

    assert os.listdir(tmp_path / "out") == []


def test_a_run_goes_alone(tmp_path):
    store = Store(tmp_path / "out")
    for training in (TRAINING, Training(1, 4)):
        store.run(training).mkdir()

    store.drop_run(TRAINING)

    assert os.listdir(tmp_path / "out" / "runs") == ["seed1-batch4"]
    assert json.loads((tmp_path / "out" / "cells" / "curve.json").read_text()) == {
        "format_version": 1
    }


def test_two_commands_do_not_work_in_one_folder(tmp_path):
    with Store(tmp_path / "out") as store:
        store.write("one", "of this", RESULT)
        with pytest.raises(OutputError, match="out: another command is at work there; wait until"):
            Store(tmp_path / "out").__enter__()

    with Store(tmp_path / "out") as again:
        assert again.read("one", "of this", Retrained) == RESULT
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    store = Store(tmp_path / "out")
    (tmp_path / "out" / ".lock").mkdir()  # stands for a folder without permission: root has all

    with pytest.raises(OutputError, match=r"out: cannot be written .* choose another output"):
        store.__enter__()
