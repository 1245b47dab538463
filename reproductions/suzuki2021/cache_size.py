"""Table 1 of Suzuki et al. (arXiv 2103.11807): what keeping a training takes on disk.

Run ``python reproductions/suzuki2021/cache_size.py``. Trainings of two steps are recorded with
all their states, so the sizes of one set of parameters are those of real files; how many sets a
training of the paper's length keeps is counted, and the sizes are multiplied by it.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # started as a script, it would see this folder only

from nnabla.logger import logger

from network_defs.samples import Training, write_definition
from nnabla_influence.commands.digits import Labels, write_images
from nnabla_influence.files import replacing_file
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.runs.checkpoint_plan import WindowPlan
from nnabla_influence.runs.run import CHECKPOINTS, PARAMETERS
from reproductions.suzuki2021.experiments import NETWORKS, PAPER, Experiment

STEPS = 2
"""Of the trainings whose files are weighed."""

PAPER_BYTES: Mapping[str, Mapping[str, float]] = {
    "mnist": {"all": 38.64e9, "last epoch": 1.932e9, "final": 1.236e6},
    "cifar10": {"all": 30.90e9, "last epoch": 1.545e9, "final": 1.236e6},
}
"""Table 1 of the paper."""


@dataclass(frozen=True)
class Measured:
    """Bytes on disk of one set of parameters.

    Attributes:
        h5: As nnabla saves it: ``final.h5`` of a run.
        kept: As a run keeps a state: a file of ``checkpoints``.
    """

    h5: int
    kept: int


@dataclass(frozen=True)
class Line:
    """What one way to keep a training takes, for one data set.

    Attributes:
        data: ``mnist`` or ``cifar10``.
        cache: What is kept.
        sets: How many sets of parameters, the last one included.
        as_h5: Bytes of these, each as nnabla saves it.
        as_kept: Bytes as a run has them: ``final.h5``, and the others in ``checkpoints``.
        paper: Bytes in the paper's table; None where it has none.
    """

    data: str
    cache: str
    sets: int
    as_h5: int
    as_kept: int
    paper: float | None


def measure(experiment: Experiment, folder: Path) -> Measured:
    """Record a training of `STEPS` steps on noise, and weigh its files."""
    network = NETWORKS[experiment.network]
    channels, *side = network.input_shape
    n_rows = STEPS * experiment.batch_sizes[0]
    rng = np.random.RandomState(0)
    shape = (n_rows, *side, 3) if channels == 3 else (n_rows, *side)
    images = rng.randint(0, 256, size=shape).astype(np.uint8)
    labels = Labels.right(np.arange(n_rows) % 10)
    csv_path = write_images(folder, "training", images, labels, np.arange(n_rows))
    training = Training(
        n_rows, str(csv_path), str(csv_path), batch_size=experiment.batch_sizes[0], epochs=1
    )
    write_definition(folder / "net.nntxt", network, training)
    run = train(folder / "net.nntxt", folder / "run", keep="all", window="all", device="cpu")
    sizes = {path.stat().st_size for path in (run.folder / CHECKPOINTS).glob("*.npy")}
    if len(sizes) != 1 or len(run.checkpoints) != STEPS:
        raise RuntimeError(f"{run.folder}: {STEPS} sets of one size are expected, not {sizes}")
    return Measured((run.folder / PARAMETERS).stat().st_size, sizes.pop())


def lines(experiment: Experiment, measured: Measured) -> Iterator[Line]:
    """Yield what each way to keep the paper's training takes.

    The steps are nnabla_cli's, floor(N / B) an epoch; the paper counts ceil(N / B).
    """
    steps = experiment.n_training // experiment.batch_sizes[0]
    end = experiment.epochs * steps
    whole, last = WindowPlan(0, end), WindowPlan(end - steps, end)
    paper = PAPER_BYTES[experiment.data]
    for cache, before, said in (
        ("all parameters, 20 epochs", whole.n_checkpoints("all"), paper["all"]),
        (
            "all parameters, last epoch (Hara et al.)",
            last.n_checkpoints("all"),
            paper["last epoch"],
        ),
        ("sqrt, 20 epochs (exact)", whole.n_checkpoints("sqrt"), None),
        ("sqrt, last epoch (exact)", last.n_checkpoints("sqrt"), None),
        ("final (Suzuki et al.)", 0, paper["final"]),
    ):
        # The paper counts the sets before the T steps; the one after them is there too.
        yield Line(
            experiment.data,
            cache,
            sets=before + 1,
            as_h5=(before + 1) * measured.h5,
            as_kept=measured.h5 + before * measured.kept,
            paper=said,
        )


def write_csv_file(path: Path, table: Sequence[Line]) -> None:
    """Write one line for each data set and way to keep it."""
    with (
        replacing_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["data", "cache", "sets", "bytes_as_h5", "bytes_as_kept", "bytes_paper"])
        for line in table:
            said = "" if line.paper is None else round(line.paper)
            writer.writerow([line.data, line.cache, line.sets, line.as_h5, line.as_kept, said])


def write_table(path: Path, measured: Mapping[str, Measured], table: Sequence[Line]) -> None:
    """Write the Markdown table."""
    titles = {"mnist": "MNIST", "cifar10": "CIFAR10"}
    sets = "\n".join(
        f"| {titles[name]} | {m.h5:,} | {m.kept:,} | 1,236,000 |" for name, m in measured.items()
    )
    tables = []
    for name in measured:
        rows = [_row(line) for line in table if line.data == name]
        head = f"| {titles[name]}: what is kept | sets | as .h5 | as a run keeps it | paper |"
        tables.append("\n".join([head, "|---|---|---|---|---|", *rows]))
    multiplied = "\n\n".join(tables)
    text = f"""Written by `cache_size.py`.

**Measured**, bytes on disk of one set of parameters of the six-convolution network, with the
running statistics of BatchNormalization: the files of a real training of {STEPS} steps.

| data | `final.h5`, as nnabla saves it | a file of `checkpoints`, as a run keeps it | paper |
|---|---|---|---|
{sets}

**Multiplied** by the sets that a training of 20 epochs at batch size 32 keeps (Sgd has no state of
its own beside the parameters):

{multiplied}

MB and GB are 10^6 and 10^9 bytes. Steps of an epoch: floor(50,000 / 32) = 1,562 and
40,000 / 32 = 1,250, as nnabla_cli trains; the paper counts 1,563 for MNIST. "sets" counts the
parameters before each step that is kept, and those after the last.
"""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _row(line: Line) -> str:
    said = "-" if line.paper is None else _size(line.paper)
    cells = [line.cache, f"{line.sets:,}", _size(line.as_h5), _size(line.as_kept), said]
    return f"| {' | '.join(cells)} |"


def _size(n_bytes: float) -> str:
    unit, name = (1e9, "GB") if n_bytes >= 1e9 else (1e6, "MB")
    return f"{n_bytes / unit:.4g} {name}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, multiply and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: this one)")
    output = parser.parse_args(arguments).output
    output.mkdir(parents=True, exist_ok=True)
    measured = {}
    for experiment in PAPER:
        with tempfile.TemporaryDirectory() as folder:
            measured[experiment.data] = measure(experiment, Path(folder))
    table = [line for e in PAPER for line in lines(e, measured[e.data])]
    write_csv_file(output / "table1.csv", table)
    write_table(output / "table1.md", measured, table)
    print((output / "table1.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    main()
