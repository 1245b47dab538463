"""LDS and leave-one-out tau of exact and final scores, for a small CNN on MNIST digits.

Run ``uv run python reproductions/lds_small_cnn/run.py``. Each cell (training, seed) is written as
soon as it is finished, and not computed again while the settings and versions are the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # started as a script, it would see this folder only

from nnabla.logger import logger

from nnabla_influence import TerminalProgress, __version__
from nnabla_influence.files import replacing_file
from reproductions.lds_small_cnn.cell import Kind, Size, compute
from reproductions.lds_small_cnn.table import write_results, write_table

KINDS = {
    "sgd": Kind("Sgd .05", "Sgd", 0.05),
    "sgd_cosine": Kind("Sgd .05, cosine", "Sgd", 0.05, cosine=True),
    "adam": Kind("Adam .001", "Adam", 0.001),
    "batchnorm": Kind("BatchNormalization, Sgd .05", "Sgd", 0.05, normalized=True),
}
PACKAGES = ("nnabla", "numpy", "scipy", "mlxtend")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the cells that are missing, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: this one)")
    given = sys.argv[1:] if arguments is None else list(arguments)
    parsed = parser.parse_args(given)
    if parsed.seeds < 1:
        parser.error("--seeds: at least 1 is needed")
    run(
        {name: KINDS[name] for name in parsed.kinds},
        range(parsed.seeds),
        Size(),
        parsed.output,
        shlex.join(["python", "reproductions/lds_small_cnn/run.py", *given]),
    )


def run(kinds: dict[str, Kind], seeds: Sequence[int], size: Size, output: Path, said: str) -> None:
    """Compute what is missing in ``output``, and write the tables there.

    Args:
        kinds: By the names of the cells' files.
        seeds: Of data, flips and samples.
        size: Of everything.
        output: A folder, made if it is missing.
        said: What the user typed, for the reader of ``settings.json``.
    """
    (output / "cells").mkdir(parents=True, exist_ok=True)
    versions = {"nnabla-influence": __version__, **{name: version(name) for name in PACKAGES}}
    keys = [(name, seed) for seed in seeds for name in kinds]
    cells = {}
    with TerminalProgress().stage("LDS", len(keys), "trainings") as stage:
        for name, seed in keys:
            path = output / "cells" / f"{name}-{seed}.json"
            cells[name, seed] = _cell(path, kinds[name], seed, size, versions)
            stage.update()
    named = {(kinds[name].name, seed): cells[name, seed] for name in kinds for seed in seeds}
    write_results(output / "results.csv", named)
    write_table(output / "table.md", named)
    described = {
        "command": said,
        "python": sys.version.split()[0],
        "versions": versions,
        "seeds": list(seeds),
        "size": dataclasses.asdict(size),
        "trainings": [dataclasses.asdict(kind) for kind in kinds.values()],
    }
    _write_json(output / "settings.json", described)


def _cell(
    path: Path, kind: Kind, seed: int, size: Size, versions: dict[str, str]
) -> dict[str, Any]:
    """Return the cell in ``path``, computed anew unless it is of the same settings."""
    asked = [dataclasses.asdict(kind), seed, dataclasses.asdict(size), versions]
    if path.is_file():
        cell: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if cell["of"] == asked:
            return cell
    cell = {"of": asked, **compute(kind, seed, size)}
    _write_json(path, cell)
    return cell


def _write_json(path: Path, value: object) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    main()
