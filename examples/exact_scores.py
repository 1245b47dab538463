"""Exact scores: train with checkpoints, and trace the last epoch at each step's own parameters.

Run ``uv run python examples/exact_scores.py FOLDER`` (about 20 seconds). The network is the
repository's LeNet; the data are 3,000 of MNIST's digits, a tenth of them with a wrong label.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from nnabla_influence import Options, TerminalProgress, score, train
from nnabla_influence.commands.digits import write_digits
from nnabla_influence.resources import network_defs_folder


def main(folder: Path) -> None:
    """Train, score, and print how many of the wrong labels are among the most harmful rows."""
    digits = write_digits(folder / "digits", flipped=0.1)
    model = shutil.copy(network_defs_folder() / "lenet.nntxt", folder / "digits")

    # keep="sqrt": a checkpoint before about every sqrt(T)-th of T steps; the others are replayed.
    train(model, folder / "run", keep="sqrt", progress=TerminalProgress())

    ranking = score(
        model,
        run=folder / "run",
        train=digits.training_csv,
        validation=digits.validation_csv,
        output=folder / "influence.csv",
        options=Options(method="exact"),
        progress=TerminalProgress(),
    )
    if ranking.verdict is not None:
        print(ranking.verdict.sentence)
    most_harmful = ranking.order[:100]  # datasource_index, the most harmful first
    found = np.isin(most_harmful, digits.flipped).sum()
    print(f"{found} of the 100 most harmful rows have a wrong label")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
