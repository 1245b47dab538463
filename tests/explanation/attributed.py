"""What the tests of attributions share: networks opened as `explain` opens them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import nnabla as nn
import numpy as np

from nnabla_influence.dataset import Dataset, open_dataset
from nnabla_influence.definition import build_objective, load_definition
from nnabla_influence.device import choose_device
from nnabla_influence.engine import Engine, NnablaEngine, build_engine
from nnabla_influence.explanation.attribution import Attribution, attribute
from nnabla_influence.nnabla_cli.training import column_specs
from nnabla_influence.options import AttributionOptions
from nnabla_influence.progress import SilentProgress
from tests.cases import Case, write_csv


class Opened(NamedTuple):
    """A network of a case, and rows."""

    engine: Engine
    context: nn.Context
    dataset: Dataset

    def attribute(self, rows, classes, **options) -> list[tuple[Attribution, ...]]:
        chosen = AttributionOptions(**options)
        return attribute(*self, np.array(rows), classes, chosen, SilentProgress())


def write_rows(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write rows.csv, its pictures as .npy files."""
    x, y = arrays["x"], arrays["y"]
    if x.ndim == 2:
        return write_csv(folder / "rows.csv", arrays)
    lines = ["x:picture,y:label"]
    for row, (picture, label) in enumerate(zip(x, y)):
        np.save(folder / f"{row}.npy", picture)
        lines.append(f"{row}.npy,{int(label[0])}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder / "rows.csv"


def open_case(
    folder: Path, case: Case, n: int = 5, chunk: int = 2, device: str = "cpu", spoil=None
) -> Opened:
    net = case.save_definition(folder)
    if spoil is not None:
        spoil(net)
    csv = write_rows(folder, case.inputs(n))
    definition = load_definition(net, folder / "net.h5")
    context = choose_device(device).context
    objective = build_objective(definition, chunk, context)
    build = build_engine if device == "cpu" else NnablaEngine
    engine = build(objective, context)
    return Opened(engine, context, open_dataset(csv, column_specs(definition)))
