"""How much faster two worker processes compute a removal curve, and whether the tables agree.

Run ``uv run python benchmarks/curve_jobs.py [--epochs 9] [--rounds 3]``: the same curve of LeNet on
digits in this process, then in two, in turns, so that a noisy machine disturbs both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from nnabla.logger import logger

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network_defs.samples import Training, lenet, write_definition, write_digits
from nnabla_influence import CurveOptions, curve

N_ROWS = 1000


def compute(folder: Path, data: Path, jobs: int) -> tuple[float, list[str]]:
    """Return the seconds that the curve took, and its table without the column of seconds."""
    started = time.perf_counter()
    curve(
        data / "net.nntxt",
        train=data / "training.csv",
        validation=data / "validation.csv",
        test=data / "test.csv",
        output=folder,
        options=CurveOptions(
            seeds=range(4), rankings=("final", "random"), removed=(20, 50, 100, 200)
        ),
        device="cpu",
        jobs=jobs,
    )
    seconds = time.perf_counter() - started
    lines = (folder / "results.csv").read_text(encoding="utf-8").splitlines()
    return seconds, [line.rpartition(",")[0] for line in lines]


def prepare(folder: Path, epochs: int) -> None:
    """Write the data and the definition."""
    data = write_digits(folder, n_training=N_ROWS, n_validation=500, n_test=1000, flipped=0.1)
    settings = Training(
        n_rows=N_ROWS,
        training_csv=str(data.training_csv),
        validation_csv=str(data.validation_csv),
        epochs=epochs,
        learning_rate=0.02,
    )
    write_definition(folder / "net.nntxt", lenet(), settings)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3, help="of each training")
    parser.add_argument("--rounds", type=int, default=3)
    parsed = parser.parse_args()
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, parsed.epochs)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        tables = []
        for number in range(parsed.rounds):
            for jobs, times in seconds.items():
                took, table = compute(folder / f"out-{number}-{jobs}", folder, jobs)
                times.append(took)
                tables.append(table)
                print(f"jobs {jobs}: {took:.1f} s", flush=True)
    ratios = [two / one for one, two in zip(seconds[1], seconds[2])]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"two processes / one: {statistics.median(ratios):.2f} (of {len(ratios)} rounds: {each})")
    if any(table != tables[0] for table in tables):
        sys.exit("the tables differ")
    print(f"the tables agree ({len(tables[0]) - 1} lines, all columns but the seconds)")


if __name__ == "__main__":
    main()
