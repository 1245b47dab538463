"""What a user meets at the command line: exit codes, one line for every failure, signals."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnabla_influence import score
from nnabla_influence.commands.main import build_parser, main
from nnabla_influence.commands.options import without_aliases
from nnabla_influence.runs.run import Step, write_run
from tests.small_projects import (
    BY_NAME,
    REPOSITORY,
    Trained,
    edit,
    environment,
    trained_table,
    write_images,
    write_table,
)

PROGRESS = (
    *("Computing on ", "Method ", "Traced in ", "Note: ", "No exact trace: ", "The ranking is "),
    *("A replay of ", "The training is replayed", "Checkpoints: ", "Training ", "The replayed "),
)


def run(capsys, *arguments: object) -> tuple[int, str, list[str]]:
    """Run a command in this process; return exit code, output, and lines that tell no progress."""
    code: object = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    if isinstance(code, str):  # Python itself prints it, and exits with 1
        code, err = 1, err + code + "\n"
    return int(code or 0), out, [line for line in err.splitlines() if not line.startswith(PROGRESS)]


def process(*arguments: object, **more) -> subprocess.Popen:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "nnabla_influence", *map(str, arguments)],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    return trained_table(tmp_path_factory.getbasetemp())


# --------------------------------------------------------------------- what works


def test_score_prints_what_it_wrote(trained: Trained, tmp_path, capsys):
    output = tmp_path / "影響 influence.csv"
    code, out, err = run(capsys, "score", "-m", trained.final, "-o", output)
    assert (code, err) == (0, [])
    with output.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    values = [float(row["influence"]) for row in rows]
    assert values == sorted(values)
    harmful = sum(value < 0 for value in values)
    helpful = sum(value > 0 for value in values)
    assert f"{output}: 40 rows" in out
    assert re.search(rf"\b{harmful} harmful .*\b{helpful} helpful", out)
    for row in rows[:3]:
        assert (
            f"datasource_index {row['datasource_index']}  influence {row['influence'][:5]}" in out
        )


def test_every_option_reaches_the_scoring(trained: Trained, tmp_path, capsys, monkeypatch):
    import nnabla_influence.scoring as scoring

    called: dict = {}

    def noted(model, **arguments):
        called.update(arguments, model=model)
        return score(trained.final)

    monkeypatch.setattr(scoring, "score", noted)
    words = "-m a -p b --run c -t d -v e -o f --validation-rows 3,1 --window 2 -bs 5 -nt 6"
    words += " --chunk-size 7 --device cpu --method exact --running-statistics --jobs 2"
    words += " --replay-budget 3"
    code, *_ = run(capsys, "score", *words.split())
    assert code == 0
    options = called.pop("options")
    called.pop("progress")
    assert called == {
        "model": "a",
        "parameters": "b",
        "run": "c",
        "train": "d",
        "validation": "e",
        "output": "f",
        "jobs": 2,
        "scheduler": None,
    }
    assert (options.validation_rows, options.window) == ([3, 1], 2)
    assert (options.batch_size, options.n_trials, options.chunk_size) == (5, 6, 7)
    assert (options.device, options.method, options.running_statistics) == ("cpu", "exact", True)
    assert options.replay_budget == 3


def test_train_then_score_the_run(trained: Trained, tmp_path, capsys):
    folder = tmp_path / "記録 run"
    code, out, err = run(capsys, "train", "-c", trained.definition, "-o", folder)
    assert code == 0
    assert re.fullmatch(
        rf"Recorded 10 steps in {folder} \(checkpoints: sqrt, .* kB, .* of the training\)\n", out
    )
    assert err == []
    output = tmp_path / "influence.csv"
    code, *_ = run(capsys, "score", "-m", trained.definition, "--run", folder, "-o", output)
    assert code == 0
    # The recorded training is the one that nnabla_cli did alone, so are the scores.
    wanted = score(trained.final).scores.influence
    with output.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            assert float(row["influence"]) == wanted[int(row["datasource_index"])]


def test_exact_scores_of_a_model_that_was_not_recorded(trained: Trained, tmp_path, capsys):
    """It trains again; the kept states of a recorded training give the same."""
    words = ("--method", "exact", "--device", "cpu", "--window", "2")
    output = tmp_path / "影響 influence.csv"
    code, out, err = run(capsys, "score", "-m", trained.final, "-o", output, *words)
    assert code == 0
    assert out.startswith(f"{output}: 40 rows")
    assert err == []
    assert [entry.name for entry in tmp_path.iterdir()] == [output.name]
    folder, other = tmp_path / "run", tmp_path / "other.csv"
    keep = ("--keep", "all", "--device", "cpu")
    run(capsys, "train", "-c", trained.definition, "-o", folder, *keep)
    code, *_ = run(capsys, "score", "-m", trained.definition, "--run", folder, "-o", other, *words)
    assert code == 0
    header, *rows = output.read_text(encoding="utf-8").splitlines()
    assert [header.replace("replayed", "recorded"), *rows] == other.read_text(
        encoding="utf-8"
    ).splitlines()


def test_python_m_and_streams(trained: Trained, tmp_path):
    """Results on standard output, all else on standard error, from any folder."""
    model = os.path.relpath(trained.final, tmp_path)
    running = process("score", "-m", model, "-o", "influence.csv", cwd=tmp_path)
    out, err = (text.decode() for text in running.communicate())
    assert running.returncode == 0
    assert out.startswith("influence.csv: 40 rows")
    assert err.startswith("Computing on CPU")
    assert all(line.startswith(PROGRESS) for line in err.splitlines())
    assert [entry.name for entry in tmp_path.iterdir()] == ["influence.csv"]


@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_a_console_of_an_old_encoding_shows_what_it_can(
    trained: Trained, tmp_path, encoding: str, monkeypatch
):
    with (tmp_path / "stdout").open("w", encoding=encoding) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        main(["score", "-m", str(trained.final), "-o", str(tmp_path / "é 影響.csv")])
    text = (tmp_path / "stdout").read_bytes().decode(encoding)
    assert "\\xe9 " in text
    assert ("影響.csv" in text) == (encoding == "cp932")
    assert (tmp_path / "é 影響.csv").exists()


def test_a_reader_that_leaves_early_is_no_failure_to_talk_about(trained: Trained, tmp_path):
    reading, writing = os.pipe()
    running = process(
        *("score", "-m", trained.final, "-o", tmp_path / "influence.csv"),
        stdout=writing,
    )
    os.close(reading)
    os.close(writing)
    _, err = running.communicate()
    assert running.returncode == 1
    assert all(line.startswith(PROGRESS) for line in err.decode().splitlines())
    assert [entry.name for entry in tmp_path.iterdir()] == ["influence.csv"]


# --------------------------------------------------------------------- help and wrong usage


@pytest.mark.parametrize("words", ["-h", "--version", "demo -h", "train -h", "score -h"])
def test_help_does_not_wait_for_nnabla(words: str):
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nnabla_influence", *words.split()],
        env=environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.split("|")[-1].strip() for line in shown.stderr.splitlines()}
    assert "nnabla_influence.commands.main" in imported
    assert not imported & {"nnabla", "numpy", "tqdm", "h5py", "PIL"}
    assert max(map(len, shown.stdout.splitlines())) < 80


@pytest.mark.parametrize(
    ("older", "present"),
    [
        ("train -c a --param=b -o c", "train -m a -p b -o c"),
        (
            "score --model a --input-train b --input-val c --batch_size 2 --n_trials 3 -o d",
            "score -m a -t b -v c -bs 2 -nt 3 -o d",
        ),
        ("curve -m a -t b -v c --input-test d -o e", "curve -m a -t b -v c -e d -o e"),
        ("cleanse --input a -o b -n 3", "cleanse --ranking a --output b -n 3"),
    ],
)
def test_the_spellings_of_sony_and_of_older_versions_are_accepted(older: str, present: str):
    parser = build_parser()
    accepted = parser.parse_args(without_aliases(older.split()))
    assert accepted == parser.parse_args(present.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("guess", "invalid choice: 'guess' (choose from 'demo', 'train', 'score', 'validate', "),
        ("score -m a", "the following arguments are required: -o/--output"),
        ("score -m a -o b -bs 0", "argument -bs/--batch-size: '0' is not a whole number from 1"),
        ("score -m a -o b -nt 1.5", "argument -nt/--n-trials: '1.5' is not a whole number from 1"),
        ("score -m a -o b -nt +3", "argument -nt/--n-trials: '+3' is not a whole number from 1"),
        ("score -m a -o b --window 0", "--window: '0' is not last, all or a number of epochs"),
        ("train -m a -o b --window x", "--window: 'x' is not last, all or a number of epochs"),
        ("score -m a -o b --validation-rows 1,,2", "'1,,2' is not a list of row numbers such as"),
        ("score -m a -o b --validation-rows -1", "'-1' is not a list of row numbers"),
        ("score -m a -o b --jobs 2 --scheduler c", "not allowed with argument --jobs"),
        (
            "score -m a -o b --method best",
            "invalid choice: 'best' (choose from 'auto', 'exact', 'final')",
        ),
    ],
)
def test_wrong_usage(capsys, words: str, message: str):
    code, out, err = run(capsys, *words.split())
    assert (code, out) == (2, "")
    assert message in err[-1]


# --------------------------------------------------------------------- bad input


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path)


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path)


def assert_refused(capsys, net: Path, message: str, *more: object) -> None:
    """The score command gives one line with exit code 1, and leaves its folder as it was."""
    folder = net.parent / "out"
    folder.mkdir()
    kept = folder / "influence.csv"
    kept.write_text("influence,datasource_index\n")
    given = more or ("-p", net.parent / "net.h5")
    code, out, err = run(capsys, "score", "-m", net, *given, "-o", kept)
    assert (code, out, len(err)) == (1, "", 1), err
    assert re.search(f"^nnabla-influence score: {message}", err[0]), err[0]
    assert kept.read_text() == "influence,datasource_index\n"
    assert [entry.name for entry in folder.iterdir()] == ["influence.csv"]


def change_line(number: int, change):
    """Return what replaces a line of training.csv (from 0, the header) by a changed one."""

    def apply(folder: Path) -> None:
        path = folder / "training.csv"
        lines = path.read_text().splitlines()
        lines[number] = change(lines[number])
        path.write_text("\n".join(lines) + "\n")

    return apply


def with_cell(number: int, text: str):
    def change(line: str) -> str:
        cells = line.split(",")
        cells[number] = text
        return ",".join(cells)

    return change


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def truncate(name: str, size: int):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


ROW = r".*training\.csv, line 6, datasource_index 4"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "training.csv").unlink(),
            r".*training\.csv: the training dataset that .*net\.nntxt names does not exist; give"
            " the CSV with -t",
        ),
        (
            lambda folder: (folder / "validation.csv").unlink(),
            r".*validation\.csv: the validation dataset that .* does not exist; .* with -v",
        ),
        (write("training.csv", b""), r".*training\.csv: is empty; it needs a header line and rows"),
        (write("training.csv", b"x,y\n"), r".*training\.csv: has a header but no rows; add rows"),
        (
            change_line(0, lambda line: line.replace("x__", "z__")),
            r".*training\.csv, line 1: the network's input 'x' has no column; the file has 'z',"
            " 'y'; rename a column, or give another CSV",
        ),
        (change_line(5, lambda _: "1,2"), f"{ROW}: has 2 cells, the header has 6; correct the row"),
        (
            change_line(5, lambda line: line + ",9"),
            f"{ROW}: has 7 cells, the header has 6; correct",
        ),
        (
            change_line(5, with_cell(2, "nan")),
            f"{ROW}, column 'x__2': 'nan' is not a finite number;",
        ),
        (
            change_line(5, with_cell(2, "three")),
            f"{ROW}, column 'x__2': 'three' is neither a number nor an existing file; correct it",
        ),
        (
            change_line(5, with_cell(5, "3")),
            f"{ROW}, column 'y': '3' holds 3, which is no label: .* whole numbers from 0 to 2;"
            " correct it",
        ),
    ],
)
def test_bad_csv(capsys, table: Path, spoil, message: str):
    spoil(table.parent)
    assert_refused(capsys, table, message)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "training3.png").unlink(), "does not exist; restore the file"),
        (truncate("training3.png", 60), r"cannot be decoded \(.*\); restore the file"),
        (
            lambda folder: shutil.copy(write_larger(folder), folder / "training3.png"),
            "has shape 1x7x7, the rows before have 1x6x6; give all rows the same shape",
        ),
    ],
)
def test_bad_image(capsys, images: Path, spoil, message: str):
    spoil(images.parent)
    place = r".*training\.csv, line 5, datasource_index 3, column 'x:image': the file .*3\.png"
    assert_refused(capsys, images, f"{place} {message}")


def write_larger(folder: Path) -> Path:
    from PIL import Image

    Image.new("L", (7, 7)).save(folder / "larger.png")
    return folder / "larger.png"


def fix_batch_size(proto) -> None:
    """As nnabla.utils.save writes it with variable_batch_size=False."""
    for variable in proto.network[0].variable:
        if variable.shape.dim and variable.shape.dim[0] == -1:
            variable.shape.dim[0] = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda proto: proto.ClearField("optimizer"),
            r".*net\.nntxt: has no optimizer section, .*; give the file that was trained",
        ),
        (
            lambda proto: proto.optimizer[0].ClearField("loss_variable"),
            r".*net\.nntxt: the optimizer 'Optimizer' names no loss; add a loss layer",
        ),
        (
            fix_batch_size,
            r".*net\.nntxt: the input 'Input_x' has the fixed shape \(4, 5\), so .*; save the file"
            " with variable_batch_size=True",
        ),
        (
            lambda proto: proto.ClearField("dataset"),
            r".*net\.nntxt: names no training dataset; give the CSV with -t",
        ),
        (
            lambda proto: setattr(proto.optimizer[0].solver, "type", "Guess"),
            r".*net\.nntxt: the solver 'Guess' is unknown to nnabla_cli; use one of .*Sgd",
        ),
        (
            lambda proto: setattr(proto.optimizer[0].solver, "type", "AdaBelief"),
            "(.*: )?.*solver AdaBelief cannot be traced.*Sgd",
        ),
        (
            lambda proto: setattr(proto.network[0].function[1], "type", "Guess"),
            r".*net\.nntxt: nnabla cannot build the network 'Main' \(.*\"Guess\".*\); check that",
        ),
        (
            lambda proto: setattr(proto.network[0].function[1], "type", "Gather"),
            r".*net\.nntxt: the function Gather \(layer .*\) cannot be differentiated twice by"
            " nnabla; replace it",
        ),
    ],
)
def test_bad_model(capsys, table: Path, change, message: str):
    edit(table, change)
    assert_refused(capsys, table, message)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda file: file.__delitem__("h1/affine/W"),
            r".*: 1 of the network's 6 parameters are missing \(h1/affine/W\); give the trained",
        ),
        (
            lambda file: file["h1/affine/W"].__setitem__((0, 0), np.inf),
            ".*: the parameter 'h1/affine/W' holds values that are not finite, .*; train again",
        ),
    ],
)
def test_bad_parameters(capsys, table: Path, spoil, message: str):
    with h5py.File(table.parent / "net.h5", "a") as file:
        spoil(file)
    assert_refused(capsys, table, message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.h5", b"\x89HDF", r".*net\.h5: is no whole \.h5 of parameters \(.*\); write or copy"),
        ("net.nntxt", b"hello { world", r".*net\.nntxt: is no network definition .*; give the"),
        ("net.nntxt", b"", r".*net\.nntxt: holds no network; give the \.nnp, \.nntxt or"),
    ],
)
def test_damaged_files(capsys, table: Path, name: str, content: bytes, message: str):
    (table.parent / name).write_bytes(content)
    assert_refused(capsys, table, message)


@pytest.mark.parametrize(
    ("network", "row", "message"),
    [
        (
            "mlp-softmax",
            20,
            r".*steps\.csv, line 2, column rows: row 20 is not in the dataset, whose 20 rows are"
            " numbered from 0; give the CSV that the run was trained on",
        ),
        (
            "linear-squared",
            1,
            ".*run: does not fit the model; .* 4 of the network's 6 parameters are missing",
        ),
    ],
)
def test_run_that_does_not_fit(capsys, table: Path, network: str, row: int, message: str):
    write_run(
        table.parent / "run",
        parameters=BY_NAME[network].parameters(),
        steps=[Step(0, 0, 0.1, (np.array([0, row]),))],
        settings=None,
    )
    assert_refused(capsys, table, message, "--run", table.parent / "run")


def test_no_run(capsys, table: Path):
    message = r".*norun: no such folder; give the run folder that a training recorded"
    assert_refused(capsys, table, message, "--run", table.parent / "norun")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("none/x.csv", r"cannot be written \(No such file or directory\); make its folder first"),
        ("net.h5/x.csv", r"cannot be written \(Not a directory\); choose another output path"),
        ("", "is a folder; give the name of a file"),
        ("/dev/null", "is a device, which cannot be replaced; name a file"),
        ("/proc/x.csv", r"cannot be written \(.*\); .* another output path"),
    ],
)
def test_unwritable_output(capsys, table: Path, output: str, message: str):
    path = table.parent / output
    code, out, err = run(capsys, "score", "-m", table, "-p", table.parent / "net.h5", "-o", path)
    assert (code, out, len(err)) == (1, "", 1)
    assert re.search(f"^nnabla-influence score: {path}: {message}", err[0]), err[0]
    assert Path("/dev/null").is_char_device()


def test_training_that_fails_leaves_nothing(capsys, table: Path):
    (table.parent / "training.csv").write_text("x,y\n")
    (table.parent / "runs").mkdir()
    run_folder = table.parent / "runs" / "run"
    code, out, err = run(capsys, "train", "-c", table, "-o", run_folder)
    assert (code, out) == (1, "")
    assert re.search(r"^nnabla-influence train: .*training\.csv: has a header but no", err[-1])
    assert len(err) == 1
    assert list(run_folder.parent.iterdir()) == []


def test_an_unforeseen_failure_is_one_line_too(capsys, table: Path, monkeypatch):
    import nnabla_influence.scoring.scoring as scoring

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(scoring, "choose_device", fail)
    words = ("score", "-m", table, "-o", table.parent / "out.csv")
    code, out, err = run(capsys, *words)
    assert (code, out, len(err)) == (1, "", 1)
    assert re.fullmatch(
        r"nnabla-influence score: unexpected ZeroDivisionError: first second \(test_main\.py, line"
        r" \d+\); run again with --debug and report what it shows",
        err[0],
    )
    code, _, err = run(capsys, *words, "--debug")
    assert code == 1
    assert err[0] == "Traceback (most recent call last):"
    assert err[-1].startswith("nnabla-influence score: unexpected ZeroDivisionError")


def test_debug_shows_where_a_foreseen_failure_is_from(capsys, tmp_path):
    words = ("score", "-m", tmp_path / "none.nnp", "-o", tmp_path / "out.csv")
    _, _, err = run(capsys, *words)
    assert err == [
        f"nnabla-influence score: {tmp_path / 'none.nnp'}: does not exist; check the path"
    ]
    _, _, err = run(capsys, *words, "--debug")
    assert err[0] == "Traceback (most recent call last):"


# --------------------------------------------------------------------- signals


def started(line_begins: str, *arguments: object) -> subprocess.Popen:
    """Start a command and wait until it is at its work."""
    running = process(*arguments, start_new_session=True)
    assert running.stderr is not None
    while line := running.stderr.readline():
        if line.decode().startswith(line_begins):
            return running
    pytest.fail(f"{arguments} ended with {running.wait()}")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "terminated", "terminal closed"],
)
def test_a_stopped_scoring_leaves_nothing(trained: Trained, tmp_path, number, code: int):
    (tmp_path / "influence.csv").write_text("influence,datasource_index\n")
    # So many shuffled trials are surely not over when the signal comes.
    more = ("-bs", 3, "-nt", 1500)
    running = started(
        "Method", "score", "-m", trained.final, "-o", tmp_path / "influence.csv", *more
    )
    running.send_signal(number)
    _, err = running.communicate()
    assert running.returncode == code
    wanted = "nnabla-influence score: interrupted; nothing half-written is left\n"
    assert err.decode() == (wanted if number == signal.SIGINT else "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["influence.csv"]
    assert (tmp_path / "influence.csv").read_text() == "influence,datasource_index\n"


def test_an_interrupt_while_nnabla_is_imported_ends_well(trained: Trained, tmp_path):
    """Python with a half-imported nnabla crashes at its end, with a signal in place of a code."""
    code = (
        "import sys; from nnabla_influence.commands import main as c; print(1, flush=True);"
        " c.main(sys.argv[1:])"
    )
    # So many trials that the work is not done before.
    arguments = ["score", "-m", trained.final, "-o", tmp_path / "a.csv", "-bs", "3", "-nt", "1500"]
    for delay in (0.1, 0.3):
        running = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=environment(PYTHONPATH=str(REPOSITORY)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(delay)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate()
        assert running.returncode == 130
        assert err.decode().splitlines()[-1].startswith("nnabla-influence score: interrupted;")
