"""The demo: real digits, some with wrong labels; a ranking, advice, and the proof that it helps."""

from __future__ import annotations

import csv
import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence.advice import Advice, advise
from nnabla_influence.advice.choice import Gain, gain_of
from nnabla_influence.advice.trainings import Judged
from nnabla_influence.advice.work import Work
from nnabla_influence.commands.digits import SampleData, make_folder, write_digits
from nnabla_influence.errors import OutputError
from nnabla_influence.execution import open_executor
from nnabla_influence.files import replacing_file
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.options import AdviceOptions
from nnabla_influence.progress import Progress
from nnabla_influence.report import summary
from nnabla_influence.resources import network_defs_folder
from nnabla_influence.retraining.inputs import TRUE_LABEL, Config
from nnabla_influence.retraining.seeded import NO_CHANGES, Changes
from nnabla_influence.review.page import write_page
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.scoring import score

ROWS = {"n_training": 1500, "n_validation": 1000, "n_test": 2500}
FLIPPED, CONFUSED = 0.05, 0.4
EPOCHS, RATE = 8, 0.1
OPTIONS = AdviceOptions(trainings=3, retrainings=3)
JOBS = 2

FRESH = range(100, 104)
"""Seeds of the proof; those of the advice are smaller."""
UNCHANGED, ADVICE, LOSS, RANDOM = (
    "all rows, as they are",
    "the advice followed",
    "as many removed, of largest loss",
    "as many removed, at random",
)


def run_demo(folder: str | os.PathLike[str], *, device: str, progress: Progress) -> Iterator[str]:
    """Write digits with wrong labels, rank the rows, follow the advice, and yield what it gains.

    Everything is written into ``folder``: the data, ``lenet.nntxt``, the run, the ranking
    ``influence.csv`` and its review page ``review.html``, and the folder ``advice``. A folder of an
    earlier demo is reused.
    """
    started = time.monotonic()
    folder = make_folder(folder)
    _check_folder(folder)
    data = write_digits(folder / "digits", flipped=FLIPPED, confused=CONFUSED, **ROWS)
    network = _write_network(folder / "lenet.nntxt", data)
    yield (
        f"Data: {data.n_training} digits to train on, {len(data.flipped)} of them with a wrong"
        f" label (some at random, and many a 3 called 5, a 4 called 9, a 7 called 1);"
        f" {data.n_validation} right ones to validate on, and others to test on (in {folder})"
    )
    train(network, folder / "run", device=device, progress=progress)
    output, page = folder / "influence.csv", folder / "review.html"
    ranking = score(network, run=folder / "run", output=output, device=device, progress=progress)
    yield from summary(ranking, output)
    write_page(read_reviewed(output), page, progress=progress)
    yield f"To review the rows, open {page} in a browser"
    advice = advise(
        network,
        train=data.training_csv,
        validation=data.validation_csv,
        output=folder / "advice",
        options=OPTIONS,
        device=device,
        jobs=JOBS,
        progress=progress,
    )
    yield from advice.lines()
    yield from _findings(advice, data)
    if not advice.is_none:
        yield from proof(_judged(network, data, advice, device, progress))
    model, csvs = shlex.quote(str(network)), "-t TRAIN.csv -v VALIDATION.csv"
    yield f"Done in {time.monotonic() - started:.0f} s. The same for your own project:"
    yield f"  nnabla-influence advise -m {model} {csvs} -o advice --jobs {JOBS}"
    yield "  nnabla-influence cleanse --advice advice -o clean.csv"
    yield "Or by the ranking of one training, as it is in the paper:"
    yield f"  nnabla-influence train -m {model} -o RUN"
    yield f"  nnabla-influence score -m {model} --run RUN -o influence.csv"
    yield "  nnabla-influence review -i influence.csv -o review.html"
    yield "  nnabla-influence cleanse -i influence.csv -o clean.csv --decisions decisions.csv"


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files that are not a demo's."""
    known = {"digits", "lenet.nntxt", "run", "influence.csv", "review.html"}
    known |= {"advice", "advice.partial"}
    # Hidden files are the system's, or left by a demo that was killed.
    for name in sorted({entry.name for entry in folder.iterdir()} - known):
        if not name.startswith("."):
            raise OutputError(
                f"{folder}: holds {name}, which is not the demo's; choose another folder with -o"
            )


def _write_network(path: Path, data: SampleData) -> Path:
    """Write network_defs/lenet.nntxt with the data's CSVs in it, and a shorter training."""
    proto = nnabla_pb2.NNablaProtoBuf()
    text_format.Parse((network_defs_folder() / path.name).read_text(encoding="utf-8"), proto)
    csvs = {"Training": data.training_csv, "Validation": data.validation_csv}
    for dataset in proto.dataset:
        # A name relative to the definition: the folder can be moved as a whole.
        dataset.uri = os.path.relpath(csvs[dataset.name], path.parent)
    training, solver = proto.training_config, proto.optimizer[0].solver
    training.max_epoch = EPOCHS
    training.iter_per_epoch = data.n_training // proto.dataset[0].batch_size
    # The rate falls to 0, and trainings from different starts end alike: a few show what is gained.
    solver.sgd_param.lr, solver.lr_scheduler_type = RATE, "Cosine"
    solver.cosine_scheduler_param.max_iter = EPOCHS * training.iter_per_epoch
    with replacing_file(path) as temporary:
        temporary.write_text(text_format.MessageToString(proto), encoding="utf-8")
    return path


def _findings(advice: Advice, data: SampleData) -> Iterator[str]:
    """Say how many of the rows that the advice changes have a wrong label."""
    with data.training_csv.open(newline="", encoding="utf-8") as file:
        true = [int(row[TRUE_LABEL]) for row in csv.DictReader(file)]
    wrong = set(data.flipped.tolist())
    if len(advice.removed):
        found = len(wrong.intersection(advice.removed.tolist()))
        yield f"Of the {len(advice.removed)} rows to remove, {found} have a wrong label."
    if relabelled := advice.relabelled:
        right = sum(true[row] == label for row, label in relabelled.items())
        yield f"Of the {len(relabelled)} to relabel, {right} get the right one."


def _judged(
    network: Path, data: SampleData, advice: Advice, device: str, progress: Progress
) -> dict[str, list[Judged]]:
    """Train from fresh seeds on the rows of each way to clean them, and judge by the test rows."""
    config = Config(
        model=os.path.abspath(network),
        training=os.path.abspath(data.training_csv),
        validation=os.path.abspath(data.test_csv or ""),
        test=os.path.abspath(data.test_csv or ""),
        device=device,
    )
    followed = Changes(tuple(advice.removed.tolist()), tuple(advice.relabelled.items()))
    n, losses = len(followed.removed) + len(followed.relabelled), advice.ranking.scores.loss
    assert losses is not None
    drawn = np.random.default_rng(0).permutation(data.n_training)
    ways = {UNCHANGED: NO_CHANGES, ADVICE: followed}
    for name, order in ((LOSS, np.argsort(-losses, kind="stable")), (RANDOM, drawn)):
        ways[name] = Changes(removed=tuple(order[:n].tolist()))
    with tempfile.TemporaryDirectory() as results, open_executor(JOBS) as executor:
        work = Work(config, OPTIONS.target, ((), ()), Path(results), executor)
        judged = work.judged(list(ways.values()), FRESH, "Train to compare", progress)
    return {name: judged[changes] for name, changes in ways.items()}


def proof(judged: Mapping[str, list[Judged]]) -> Iterator[str]:
    """Compare the ways by their accuracy on the test rows."""
    values = {name: np.stack([one.values for one in of]) for name, of in judged.items()}
    n_seeds, n_rows = values[UNCHANGED].shape
    yield (
        f"Trained again from {n_seeds} fresh starts, accuracy on {n_rows} test rows that no ranking"
        " has seen:"
    )
    for name, of_way in values.items():
        line = f"  {name:34} {of_way.mean():6.1%}"
        if name != UNCHANGED:
            line += f"   {_amount(gain_of(of_way, values[UNCHANGED]))}"
        yield line
    best = max((LOSS, RANDOM, UNCHANGED), key=lambda name: values[name].mean())
    ahead = gain_of(values[ADVICE], values[best])
    low, high = ahead.interval()
    verdict = "ahead of" if low > 0 else "behind" if high < 0 else "not clearly different from"
    yield f"The advice is {verdict} the best of the others ({best}): {_amount(ahead)}."


def _amount(gain: Gain) -> str:
    low, high = (100 * limit for limit in gain.interval())
    return f"{100 * gain.mean:+.1f} points (95 %: {low:+.1f} to {high:+.1f})"
