"""Redo Table 1 of Hara et al. (NeurIPS 2019): the agreement of scores with true leave-one-out.

Run ``uv run python reproductions/hara_table1/run.py``. Each cell (problem, model, seed) is written
as soon as it is finished, and not computed again while the settings and versions are the same.
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
from reproductions.hara_table1.cell import compute
from reproductions.hara_table1.settings import Settings, settings
from reproductions.hara_table1.table import write_facts, write_results, write_table

COLUMNS = [(problem, model) for model in ("logreg", "dnn") for problem in ("fair", "mnist")]
PACKAGES = ("nnabla", "numpy", "scipy", "scikit-learn", "mlxtend", "statsmodels")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the cells that are missing, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many (default: 20)")
    parser.add_argument(
        "--rows", type=int, default=200, help="rows of each part (the paper's 200 by default)"
    )
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: this one)")
    given = sys.argv[1:] if arguments is None else list(arguments)
    parsed = parser.parse_args(given)
    if parsed.seeds < 1:
        parser.error("--seeds: at least 1 is needed")
    if parsed.rows < 40 or parsed.rows % 20:
        parser.error("--rows: a multiple of 20, the larger batch size, from 40 is needed")
    (parsed.output / "cells").mkdir(parents=True, exist_ok=True)
    versions = {"nnabla-influence": __version__, **{name: version(name) for name in PACKAGES}}
    keys = [(*column, seed) for seed in range(parsed.seeds) for column in COLUMNS]
    cells = {}
    with TerminalProgress().stage("Table 1", len(keys), "cells") as stage:
        for problem, model, seed in keys:
            path = parsed.output / "cells" / f"{problem}-{model}-{seed}.json"
            chosen = settings(problem, model, parsed.rows)
            cells[problem, model, seed] = _cell(path, chosen, seed, versions)
            stage.update()
    write_results(parsed.output / "results.csv", cells)
    write_facts(parsed.output / "facts.csv", cells)
    write_table(parsed.output / "table.md", cells)
    described = {
        "command": shlex.join(["python", "reproductions/hara_table1/run.py", *given]),
        "python": sys.version.split()[0],
        "versions": versions,
        "seeds": list(range(parsed.seeds)),
        "settings": [dataclasses.asdict(settings(*column, parsed.rows)) for column in COLUMNS],
    }
    _write_json(parsed.output / "settings.json", described)


def _cell(path: Path, chosen: Settings, seed: int, versions: dict[str, str]) -> dict[str, Any]:
    """Return the cell in ``path``, computed anew unless it is of the same settings."""
    # Through JSON, which knows lists only.
    asked = json.loads(json.dumps([dataclasses.asdict(chosen), seed, versions]))
    if path.is_file():
        cell: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if cell["of"] == asked:
            return cell
    cell = {"of": asked, **compute(chosen, seed).as_json()}
    _write_json(path, cell)
    return cell


def _write_json(path: Path, value: object) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    logger.setLevel("WARNING")  # nnabla tells of every file that it reads
    main()
