"""Score 60,000 PNGs with an MLP: where the time goes, and how much memory it takes.

Run ``uv run python benchmarks/whole_dataset.py [FOLDER]``; it needs Debian's package
dataset-fashion-mnist. FOLDER keeps the PNGs for the next time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network_defs.samples import Training, mlp, write_definition, write_fashion_mnist
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.progress import Stage

BATCH_SIZE = 32


class Stopwatch:
    """A progress that prints how long each stage took."""

    def say(self, message: str) -> None:
        """Print the line."""
        print(message, flush=True)

    @contextmanager
    def stage(self, description: str, total: int, unit: str = "it") -> Iterator[Stage]:
        """Time the stage."""
        started = time.perf_counter()
        yield _Uncounted()
        seconds = time.perf_counter() - started
        print(f"| {description}, {total} {unit} | {seconds:.1f} s |", flush=True)


class _Uncounted:
    def update(self, n: int = 1) -> None:
        """Count nothing."""


def score_and_measure(folder: Path) -> None:
    """Score in this process and print its peak memory."""
    from nnabla_influence.scoring import score

    for cache in ("empty", "filled by the run before"):
        print(f"Cache {cache}:", flush=True)
        started = time.perf_counter()
        score(
            folder / "mlp.nntxt",
            run=folder / "run",
            output=folder / "influence.csv",
            progress=Stopwatch(),
        )
        print(f"| all | {time.perf_counter() - started:.1f} s |")
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM:"))
    print(f"Peak memory: {int(peak.split()[1]) / 1024:.0f} MB")


def prepare(folder: Path) -> None:
    """Write the data and train one epoch, unless an earlier call did."""
    if (folder / "run").is_dir():
        return
    data = write_fashion_mnist(folder / "data")
    write_definition(
        folder / "mlp.nntxt",
        mlp((1, 28, 28), 10, hidden=(128, 128)),
        Training(
            n_rows=data.n_training,
            training_csv=str(data.training_csv),
            validation_csv=str(data.validation_csv),
            batch_size=BATCH_SIZE,
            epochs=1,
        ),
    )
    train(folder / "mlp.nntxt", folder / "run")


def main() -> None:
    """Prepare, then measure in a process of its own, so that only scoring counts."""
    if len(sys.argv) > 2 and sys.argv[1] == "--score":
        score_and_measure(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        environment = {**os.environ, "NNABLA_INFLUENCE_CACHE": os.path.join(temporary, "cache")}
        command = [sys.executable, __file__, "--score", str(folder)]
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
