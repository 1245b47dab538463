"""Small projects on disk, for the tests of what a user meets: commands, plugins and the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from nnabla.utils import nnabla_pb2
from PIL import Image

from network_defs.samples import Training, mlp, write_definition
from tests.cases import CASES, write_csv

REPOSITORY = Path(__file__).resolve().parents[1]
NNABLA_CLI = (sys.executable, "-m", "nnabla.utils.cli.cli")
BY_NAME = {case.name: case for case in CASES}


def environment(**more: str) -> dict[str, str]:
    """Return an environment for a process of a user, who has no NNABLA settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NNABLA_CONFIG", "PYTHON"))}
    return {**kept, **more}


# --------------------------------------------------------------- not trained: random parameters


def write_table(folder: Path, **settings: Any) -> Path:
    """Write net.nntxt, net.h5 and two CSVs of 20 rows, five columns and three classes."""
    for part, seed in (("training", 1), ("validation", 2)):
        write_csv(folder / f"{part}.csv", BY_NAME["mlp-softmax"].inputs(20, seed=seed))
    return _write_definition(folder, "mlp-softmax", **settings)


def write_images(folder: Path, **settings: Any) -> Path:
    """Write net.nntxt, net.h5 and two CSVs of twelve grey 6x6 PNG files."""
    case = BY_NAME["cnn-batchnorm-dropout"]
    for part, seed in (("training", 1), ("validation", 2)):
        arrays = case.inputs(12, seed=seed)
        lines = ["x:image,y:label"]
        for number, (image, label) in enumerate(zip(arrays["x"], arrays["y"])):
            pixels = np.clip(128 + 60 * image[0], 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{part}{number}.png")
            lines.append(f"{part}{number}.png,{int(label[0])}")
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return _write_definition(folder, case.name, **settings)


def _write_definition(folder: Path, name: str, **settings: Any) -> Path:
    settings = {"batch_size": 4, "iter_per_epoch": 3, **settings}
    path = BY_NAME[name].save_definition(folder, **settings)
    edit(path, _relative_uris)
    return path


def _relative_uris(proto: Any) -> None:
    for dataset in proto.dataset:
        dataset.uri = os.path.basename(dataset.uri)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a definition file's proto in place."""
    proto = nnabla_pb2.NNablaProtoBuf()
    text_format.Parse(path.read_text(encoding="utf-8"), proto)
    change(proto)
    path.write_text(text_format.MessageToString(proto), encoding="utf-8")


# --------------------------------------------------------------- trained by nnabla_cli


@dataclass(frozen=True)
class Trained:
    """A table that an unmodified nnabla_cli trained."""

    definition: Path
    training: Path
    validation: Path
    result: Path
    """The folder of results.nnp, as the Console has it."""

    @property
    def model(self) -> Path:
        return self.result / "results.nnp"

    @property
    def final(self) -> Path:
        return self.result / "results_current_4.nnp"


_trained: dict[Path, Trained] = {}


def trained_table(base: Path) -> Trained:
    """Return the session's trained table; its folder has a space and Japanese characters.

    Args:
        base: The session's temporary folder.
    """
    if base not in _trained:
        _trained[base] = _train_table(base / "猫と犬 project")
    return _trained[base]


def _train_table(folder: Path) -> Trained:
    result = folder / "結果 1"
    result.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("training", 40), ("validation", 20)):
        features = rng.normal(size=(n, 3))
        labels = (features[:, 0] + features[:, 1] > 0).astype(int)
        if part == "training":
            labels[:4] = 1 - labels[:4]
        lines = ["x__0:長さ,x__1:幅,x__2,# name,y:class"]
        for (a, b, c), label in zip(features, labels):
            lines.append(f"{a:.4f},{b:.4f},{c:.4f},{'犬猫'[label]},{label}")
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    training = Training(
        n_rows=40,
        batch_size=8,
        epochs=4,  # of which the third gives the best parameters
        learning_rate=0.2,
        training_csv=str(folder / "training.csv"),
        validation_csv=str(folder / "validation.csv"),
    )
    write_definition(folder / "net.nntxt", mlp((3,), 2), training)
    subprocess.run(
        [*NNABLA_CLI, "train", "-c", "net.nntxt", "-o", str(result), "-C", "cpu"],
        cwd=folder,
        # nnabla_cli reads the file in the locale's encoding.
        env=environment(PYTHONUTF8="1", LC_ALL="C.UTF-8"),
        check=True,
        capture_output=True,
    )
    return Trained(folder / "net.nntxt", folder / "training.csv", folder / "validation.csv", result)
