"""How steady LIME's weights are: what two seeds share, by the number of samples.

Run ``uv run python benchmarks/lime.py MODEL RUN VALIDATION``, such as the demo's
``lenet.nntxt run digits/validation.csv``. Of up to 40 validation rows, half of them wrong where
there are so many, and their predicted class.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from nnabla_influence import AttributionOptions, Options
from nnabla_influence.explanation.attribution import Attribution, attribute
from nnabla_influence.progress import SilentProgress
from nnabla_influence.scoring.inputs import Request, read_inputs
from nnabla_influence.scoring.scoring import method_without_steps
from nnabla_influence.scoring.target import evaluate

SAMPLES = (250, 500, 1000, 2000)
ROWS, STRONGEST = 40, 5


def main() -> None:
    """Print a line for each number of samples."""
    model, run, validation = sys.argv[1:4]
    options = Options("influence-function")
    request = Request(model, run, None, validation, None, None, options, "cpu")
    silent = SilentProgress()
    inputs = read_inputs(request, silent)
    engine, data = method_without_steps(inputs, silent).at_end, inputs.validation
    found = evaluate(engine, data, np.arange(len(data)), silent)
    order = np.argsort(-found.losses, kind="stable")
    rows = np.concatenate([order[: ROWS // 2], order[-(ROWS // 2) :]])
    predicted = found.predictions
    assert predicted is not None
    classes = [[int(c)] for c in predicted[rows]]
    print("| samples | R², median | of the 5 strongest in common | warned | CPU ms a row |")
    print("|---|---|---|---|---|")
    for samples in SAMPLES:
        began, both = time.process_time(), []
        for seed in (0, 1):
            how = AttributionOptions("lime", samples=samples, seed=seed)
            of_rows = attribute(
                engine, inputs.device.context, data, rows, classes, how, silent, inputs.train
            )
            both.append([one for (one,) in of_rows])
        milliseconds = 1000 * (time.process_time() - began) / 2 / len(rows)
        shared = np.mean([len(_strongest(a) & _strongest(b)) for a, b in zip(*both)]) / STRONGEST
        r2 = np.median([float(one.detail.rsplit(" ", 1)[1]) for one in both[0]])
        warned = np.mean([bool(one.warning) for one in both[0]])
        print(f"| {samples} | {r2:.2f} | {shared:.0%} | {warned:.0%} | {milliseconds:.1f} |")


def _strongest(one: Attribution) -> set[object]:
    if one.values is None:
        return {name for name, _ in one.features[:STRONGEST]}
    weights, first_pixel = np.unique(one.values, return_index=True)  # of each superpixel
    return set(first_pixel[np.argsort(-np.abs(weights))][:STRONGEST].tolist())


if __name__ == "__main__":
    main()
