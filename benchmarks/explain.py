"""CPU seconds and peak memory of explaining 1, 16 and 50 digits by an MLP 784-100-10.

Run ``uv run python benchmarks/explain.py MNIST.npz [N]``, with ``x_train``, ``x_test`` and their
labels, and N training rows (default: 6000), of which 5 % have a wrong label. Each has a process of
its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from speed import own_peak_megabytes

from network_defs.samples import Training, mlp, write_definition
from nnabla_influence import explain, train
from nnabla_influence.commands.digits import Labels, flip_labels, write_images

NUMBERS = (1, 16, 50)


def prepare(folder: Path, mnist: str, n: int) -> None:
    """Write digits, train on them, and explain one, so that all are in the cache."""
    rng = np.random.RandomState(0)
    with np.load(mnist) as file:
        rows = rng.permutation(len(file["y_train"]))[:n]
        images, labels = file["x_train"][rows], file["y_train"][rows].astype(np.int64)
        evaluated = np.arange(max(NUMBERS))
        of_evaluated = Labels.right(file["y_test"][evaluated].astype(np.int64))
        others = file["x_test"][evaluated]
    flipped = flip_labels(labels, 0.05, 10, rng)
    training = write_images(folder, "training", images, flipped, rows)
    validation = write_images(folder, "validation", others, of_evaluated, evaluated)
    settings = Training(n, str(training), str(validation), 32, epochs=3)
    write_definition(folder / "net.nntxt", mlp((1, 28, 28), 10, hidden=(100,)), settings)
    train(folder / "net.nntxt", folder / "run", device="cpu")
    explain(folder / "net.nntxt", run=folder / "run", rows=[0], device="cpu")


def measure(folder: Path, k: int) -> None:
    """Print a line of the table."""
    began, began_cpu = time.perf_counter(), time.process_time()
    explain(folder / "net.nntxt", run=folder / "run", rows=range(k), device="cpu")
    cpu, wall = time.process_time() - began_cpu, time.perf_counter() - began
    print(f"| {k} | {cpu:.1f} | {wall:.1f} | {own_peak_megabytes():.0f} |", flush=True)


def main() -> None:
    """Prepare, and measure each number of rows."""
    if sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]), int(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 6000)
        print("| rows explained | CPU s | s | peak MB |\n|---|---|---|---|", flush=True)
        for k in NUMBERS:
            subprocess.run([sys.executable, __file__, "--measure", name, str(k)], check=True)


if __name__ == "__main__":
    main()
