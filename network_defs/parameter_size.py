"""Print how large the parameters of the six-convolution network are, in every likely reading.

Table 1 of Suzuki et al. (arXiv 2103.11807) gives 1.236 MB, for MNIST and for CIFAR10 alike. The
paper leaves open which convolutions have a bias, how many are normalised, and in what form the
parameters are kept. (Zeros must be padded: without, nothing is left to pool in the third block.)
`README.md` says what comes out.
"""

from __future__ import annotations

import itertools
import pickle
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network_defs.samples.sheet import Layer, Sheet

MB = 1e6


@dataclass(frozen=True)
class Reading:
    """One reading of the paper's "6 conventional convolution layers"."""

    input_shape: tuple[int, int, int]
    bias: bool
    normalized_per_block: int

    def draw(self) -> Sheet:
        """Draw it, to have its parameters."""
        sheet = Sheet("Main", batch_size=32, test=False)
        x: Layer = sheet.input(self.input_shape)
        for n_maps in (32, 64, 128):
            for number in (1, 2):
                x = sheet.convolution(x, n_maps, 3, pad=1, bias=self.bias)
                if number <= self.normalized_per_block:
                    x = sheet.batch_normalization(x)
                x = sheet.relu(x)
            x = sheet.max_pooling(x, 2)
        sheet.affine(x, 10)
        return sheet


def sizes(sheet: Sheet) -> list[float]:
    """Return sizes in 10^6 bytes: trained numbers, all numbers, as pickle, as .protobuf, as .h5."""
    arrays = {
        variable.name: np.zeros(variable.shape.dim, np.float32)
        for variable in sheet.network.variable
        if variable.type == "Parameter"
    }
    trained = sum(arrays[name].nbytes for name in sheet.trainable)
    everything = sum(array.nbytes for array in arrays.values())
    pickled = len(pickle.dumps(arrays, protocol=3))
    saved = []
    variables = {name: nn.Variable.from_numpy_array(array) for name, array in arrays.items()}
    with tempfile.TemporaryDirectory() as folder:
        for extension in ("protobuf", "h5"):
            path = Path(folder) / f"parameters.{extension}"
            nn.save_parameters(str(path), variables)
            saved.append(path.stat().st_size)
    return [size / MB for size in (trained, everything, pickled, *saved)]


def main() -> None:
    """Print one line for each reading."""
    print("| input | bias | BN a block | trained | all | pickle | .protobuf | .h5 |")
    print("|---|---|---|---|---|---|---|---|")
    inputs = [(1, 28, 28), (1, 32, 32), (3, 32, 32)]
    for reading in itertools.starmap(Reading, itertools.product(inputs, (True, False), (1, 2))):
        columns = [
            "x".join(map(str, reading.input_shape)),
            "yes" if reading.bias else "no",
            str(reading.normalized_per_block),
            *(f"{size:.4f}" for size in sizes(reading.draw())),
        ]
        print(f"| {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
