from __future__ import annotations

import pytest

import nnabla_influence.retraining.removal_curve as experiment
from nnabla_influence.commands.main import main
from nnabla_influence.options import CurveOptions
from tests.commands.common import run
from tests.retraining.projects import write_project

PLAIN = "curve -m a -t b -v c -e d -o e"


@pytest.fixture
def called(monkeypatch):
    found: dict = {}

    class Computed:
        def table(self):
            return ["a line", "another"]

    def noted(model, **arguments):
        found.update(arguments, model=model)
        return Computed()

    monkeypatch.setattr(experiment, "curve", noted)
    return found


def test_every_option_reaches_the_curve(called, capsys):
    words = f"{PLAIN} -p f -n 50,0.1,7 --rankings loss,exact --seeds 3,5-7 --retrain last"
    words += " -bs 8,16 --true-label #right --running-statistics --scheduler tcp://g:1 --device cpu"

    main(words.split())

    del called["progress"]
    assert called == {
        "model": "a",
        "train": "b",
        "validation": "c",
        "test": "d",
        "output": "e",
        "options": CurveOptions(
            parameters="f",
            removed=[50, 0.1, 7],
            rankings=["loss", "exact"],
            seeds=[3, 5, 6, 7],
            protocols=("last",),
            batch_sizes=[8, 16],
            true_label="#right",
            running_statistics=True,
            command=["nnabla-influence", *words.split()],
        ),
        "jobs": "tcp://g:1",
        "device": "cpu",
    }
    assert capsys.readouterr().out == "a line\nanother\n"


def test_what_is_not_said_has_a_sensible_value(called):
    main(PLAIN.split())
    assert called["options"] == CurveOptions(command=["nnabla-influence", *PLAIN.split()])
    assert called["jobs"] == 1

    main(f"{PLAIN} --retrain both".split())
    assert called["options"].protocols == ("all", "last")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("-n 5,x", "'x'"),
        ("--seeds 3-1", "--seeds: '3-1'"),
        ("--seeds 1,,2", "--seeds: '1,,2'"),
        ("-bs 0", "'0'"),
        ("--retrain some", "'some'"),
        ("--jobs 2 --scheduler tcp://h:1", "not allowed with argument --jobs"),
    ],
)
def test_wrong_usage(capsys, words, named):
    code, _, err = run(capsys, *PLAIN.split(), *words.split())
    assert code == 2
    assert named in err[-1]


def test_a_failure_is_one_line_and_leaves_nothing(tmp_path, capsys):
    project = write_project(tmp_path / "project")
    words = ["curve", "-m", project.model, "-t", project.training, "-v", project.validation]
    words += ["-e", project.test, "-o", tmp_path / "out", "--rankings", "best"]

    code, _, (line,) = run(capsys, *words)
    assert code == 1
    assert line.startswith("nnabla-influence curve: ranking 'best' ")
    assert not (tmp_path / "out").exists()
