"""A small project for the tests of whole removal curves: a table with flipped labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from network_defs.samples import Training, mlp, write_definition


@dataclass(frozen=True)
class Project:
    model: Path
    training: Path
    validation: Path
    test: Path
    flipped: np.ndarray

    @property
    def csvs(self) -> dict[str, Path]:
        return {"train": self.training, "validation": self.validation, "test": self.test}


def write_project(folder: Path, *, n_training: int = 60, flips: int = 9) -> Project:
    """Write three Gaussian classes in the plane; some training labels are wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    centres = np.array([[1.5, 0.0], [-1.0, 1.2], [-1.0, -1.2]])
    paths, flipped = {}, np.zeros(n_training, bool)
    for part, n in (("training", n_training), ("validation", 45), ("test", 90)):
        true = np.arange(n) % 3
        x = centres[true] + 0.6 * rng.normal(size=(n, 2))
        given = true.copy()
        if part == "training":
            rows = rng.permutation(n)[:flips]
            flipped[rows] = True
            given[rows] = (given[rows] + 1) % 3
        truth = part == "training" and flips > 0
        lines = [f"x__0,x__1,y:label{',#true_label' if truth else ''}"]
        lines += [
            f"{a!r},{b!r},{label}{f',{right}' if truth else ''}"
            for (a, b), label, right in zip(x.tolist(), given, true)
        ]
        paths[part] = folder / f"{part}.csv"
        paths[part].write_text("\n".join(lines) + "\n")
    model = folder / "net.nntxt"
    settings = Training(
        n_rows=n_training,
        training_csv="training.csv",
        validation_csv="validation.csv",
        batch_size=6,
        epochs=3,
        learning_rate=0.2,
    )
    write_definition(model, mlp((2,), 3, hidden=(4,)), settings)
    return Project(model, paths["training"], paths["validation"], paths["test"], flipped)
