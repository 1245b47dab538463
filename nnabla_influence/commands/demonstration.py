"""The demo: real digits, some labels flipped, and how many of these the ranking finds."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence.commands.digits import SampleData, write_digits
from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_file
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.progress import Progress
from nnabla_influence.ranking import Ranking
from nnabla_influence.report import summary
from nnabla_influence.resources import network_defs_folder
from nnabla_influence.review.page import write_page
from nnabla_influence.review.reviewed import read_reviewed
from nnabla_influence.scoring import score

FLIPPED = 0.1


def run_demo(folder: str | os.PathLike[str], *, device: str, progress: Progress) -> Iterator[str]:
    """Flip a tenth of 3,000 digits' labels, train LeNet, rank the rows; yield the findings.

    Everything is written into ``folder``: the data, ``lenet.nntxt``, the run, the ranking
    ``influence.csv`` and its review page ``review.html``. The same commands work on anybody's data.

    Args:
        folder: Where to; made if it is missing, and used again if it is this demo's.
        device: As for `nnabla_influence.score`.
        progress: Where to tell how far it is.

    Yields:
        Lines for the user; every figure in them is computed here and now.

    Raises:
        InfluenceError: A package is missing, or the folder cannot be written.
    """
    folder = Path(folder)
    started = time.monotonic()
    _claim(folder)
    data = write_digits(folder / "digits", flipped=FLIPPED)
    network = _write_network(folder / "lenet.nntxt", data)
    yield (
        f"Data: {data.n_training} digits to train on, {len(data.flipped)} of them with a wrong"
        f" label, {data.n_validation} right ones to validate on (in {folder})"
    )
    train(network, folder / "run", device=device, progress=progress)
    output = folder / "influence.csv"
    ranking = score(
        network,
        run=folder / "run",
        output=output,
        device=device,
        progress=progress,
    )
    yield from summary(ranking, output)
    yield from _findings(ranking, data)
    page = write_page(read_reviewed(output), folder / "review.html", progress=progress)
    yield f"Look at the rows, and decide what to do with each: open {page.path} in a browser"
    yield f"Done in {time.monotonic() - started:.0f} s. The same on your own project:"
    given = shlex.quote(str(network))
    yield f"  nnabla-influence train -m {given} -o RUN"
    yield f"  nnabla-influence score -m {given} --run RUN -o influence.csv"
    yield "  nnabla-influence review -i influence.csv -o review.html"
    yield "  nnabla-influence cleanse -i influence.csv -o clean.csv --decisions decisions.csv"
    yield "Whether removal helps, `nnabla-influence curve` shows beforehand (docs/curve.md)."


def _claim(folder: Path) -> None:
    """Make the folder; refuse one that holds somebody else's things."""
    known = {"digits", "lenet.nntxt", "run", "influence.csv", "review.html"}
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give the name of a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); name another folder with -o"
        ) from error
    # Hidden ones are of the system, or left by a demo that was killed.
    foreign = sorted(name for name in names - known if not name.startswith("."))
    if foreign:
        raise OutputError(
            f"{folder}: holds {foreign[0]}, which is not the demo's; name another folder with -o"
        )


def _write_network(path: Path, data: SampleData) -> Path:
    """Write network_defs/lenet.nntxt with the data's CSVs in it."""
    proto = nnabla_pb2.NNablaProtoBuf()
    text_format.Parse((network_defs_folder() / path.name).read_text(encoding="utf-8"), proto)
    csvs = {"Training": data.training_csv, "Validation": data.validation_csv}
    for dataset in proto.dataset:
        # A name relative to the definition: the folder can be moved as a whole.
        dataset.uri = os.path.relpath(csvs[dataset.name], path.parent)
    with replacing_file(path) as temporary:
        temporary.write_text(text_format.MessageToString(proto), encoding="utf-8")
    return path


def _findings(ranking: Ranking, data: SampleData) -> Iterator[str]:
    """Say how many flipped labels the head of the ranking holds, with two yardsticks beside it."""
    is_flipped = np.zeros(data.n_training, bool)
    is_flipped[data.flipped] = True
    yield (
        "Of the most harmful rows, this many had a flipped label (chance:"
        f" {is_flipped.mean():.0%}; beside it, of the rows with the largest loss of their own):"
    )
    assert ranking.scores.loss is not None
    by_loss = np.argsort(-ranking.scores.loss, kind="stable")
    for count in (50, 100, len(data.flipped)):
        found, with_loss = (is_flipped[order[:count]].sum() for order in (ranking.order, by_loss))
        yield f"  {found:4d} of the first {count:4d}  {found / count:4.0%}   (by loss: {with_loss})"
    yield (
        "A wrong label is one way to harm; the influence is about the validation loss, whatever"
        " the reason (docs/meaning.md)"
    )
