"""Record a training loop: two lines around it leave a run, from which its rows are scored.

Run ``uv run python examples/record_a_loop.py FOLDER`` (about 10 seconds). A small network learns to
tell the digits of 8x8 pixels apart, a tenth of them with a wrong label.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
from nnabla.utils.data_iterator import data_iterator_csv_dataset

from nnabla_influence import Recorder, TerminalProgress, score
from nnabla_influence.commands.digits import load_digits

BATCH_SIZE, EPOCHS = 32, 5


def write_csv(path: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    """Write a dataset CSV in the Console's form: one column for each pixel, and the label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x__{i}" for i in range(pixels.shape[1])), "y:label"])
        writer.writerows([*row, label] for row, label in zip(pixels.tolist(), labels.tolist()))


def main(folder: Path) -> None:
    """Write the data, train, score, and print how many wrong labels are among the first rows."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = load_digits()
    order = np.random.RandomState(0).permutation(len(images))
    pixels = images[order, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4)).reshape(-1, 64) / 255
    labels = labels[order]
    given = labels.copy()
    given[:100] = (given[:100] + 1) % 10  # the wrong labels
    write_csv(folder / "train.csv", pixels[:1000], given[:1000])
    write_csv(folder / "valid.csv", pixels[1000:1500], labels[1000:1500])

    x, y = nn.Variable((BATCH_SIZE, 64)), nn.Variable((BATCH_SIZE, 1))
    h = F.relu(PF.affine(x, 32, name="hidden"))
    loss = F.mean(F.softmax_cross_entropy(PF.affine(h, 10, name="output"), y))
    solver = S.Adam(0.005)
    solver.set_parameters(nn.get_parameters())
    csv_file = str(folder / "train.csv")
    iterator = data_iterator_csv_dataset(csv_file, BATCH_SIZE, shuffle=True, normalize=False)

    with Recorder(
        folder / "run",
        solver=solver,
        iterator=iterator,
        inputs={"x": x, "y": y},
        loss=loss,
        dataset=csv_file,
    ) as recorder:
        for _ in range(EPOCHS * 1000 // BATCH_SIZE):
            x.d, y.d = recorder.iterator.next()
            loss.forward()
            recorder.solver.zero_grad()
            loss.backward()
            recorder.solver.update()

    ranking = score(
        folder / "run" / "network.nntxt",
        run=folder / "run",
        validation=folder / "valid.csv",
        output=folder / "influence.csv",
        progress=TerminalProgress(),
    )
    found = (ranking.order[:100] < 100).sum()
    print(f"{found} of the 100 most harmful rows have a wrong label")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
