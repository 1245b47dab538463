"""The demo: real digits, some with flipped labels, and how many of these the ranking finds."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from nnabla_influence.commands.digits import SampleData, make_folder, write_digits
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
    ``influence.csv`` and its review page ``review.html``. A folder of an earlier demo is reused.
    """
    started = time.monotonic()
    folder = make_folder(folder)
    _check_folder(folder)
    data = write_digits(folder / "digits", flipped=FLIPPED)
    network = _write_network(folder / "lenet.nntxt", data)
    yield (
        f"Data: {data.n_training} digits to train on, {len(data.flipped)} of them with a wrong"
        f" label, {data.n_validation} right ones to validate on (in {folder})"
    )
    train(network, folder / "run", device=device, progress=progress)
    output = folder / "influence.csv"
    ranking = score(network, run=folder / "run", output=output, device=device, progress=progress)
    yield from summary(ranking, output)
    yield from _findings(ranking, data)
    page = folder / "review.html"
    write_page(read_reviewed(output), page, progress=progress)
    yield f"To review the rows, open {page} in a browser"
    yield f"Done in {time.monotonic() - started:.0f} s. The same for your own project:"
    model = shlex.quote(str(network))
    yield f"  nnabla-influence train -m {model} -o RUN"
    yield f"  nnabla-influence score -m {model} --run RUN -o influence.csv"
    yield "  nnabla-influence review -i influence.csv -o review.html"
    yield "  nnabla-influence cleanse -i influence.csv -o clean.csv --decisions decisions.csv"
    yield "To see beforehand whether removal helps, use `nnabla-influence curve` (docs/curve.md)."


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files that are not a demo's."""
    known = {"digits", "lenet.nntxt", "run", "influence.csv", "review.html"}
    # Hidden files are the system's, or left by a demo that was killed.
    for name in sorted({entry.name for entry in folder.iterdir()} - known):
        if not name.startswith("."):
            raise OutputError(
                f"{folder}: holds {name}, which is not the demo's; choose another folder with -o"
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
    """Count the flipped labels among the most harmful rows, and among the largest losses."""
    is_flipped = np.zeros(data.n_training, bool)
    is_flipped[data.flipped] = True
    yield (
        "Flipped labels among the most harmful rows (chance:"
        f" {is_flipped.mean():.0%}; by loss: among the rows with the largest loss):"
    )
    assert ranking.scores.loss is not None
    by_loss = np.argsort(-ranking.scores.loss, kind="stable")
    for count in (50, 100, len(data.flipped)):
        found, with_loss = (is_flipped[order[:count]].sum() for order in (ranking.order, by_loss))
        yield f"  {found:4d} of the first {count:4d}  {found / count:4.0%}   (by loss: {with_loss})"
    yield (
        "A wrong label is only one reason why a row raises the validation loss (docs/meaning.md)"
    )
