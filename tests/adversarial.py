"""A project of which somebody sent parts, and what is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnabla_influence.nnabla_cli import training
from tests.retraining.projects import Project
from tests.small_projects import edit


def train_it(project: Project, folder: Path) -> None:
    training.train(project.model, folder / "run", device="cpu")


def add_column(csv: Path, cell: str, row: int = 0) -> str:
    """Add a column that the network does not use; all but one of its cells are numbers.

    Returns:
        How a message names the cell.
    """
    header, *lines = csv.read_text().splitlines()
    lines = [f"{line},{cell if number == row else 0}" for number, line in enumerate(lines)]
    csv.write_text("\n".join([f"{header},unused", *lines]) + "\n")
    return f"{csv.name}, line {row + 2}, datasource_index {row}, column 'unused'"


def add_monitored(model: Path, csv: Path, **settings: Any) -> None:
    """Let a monitor look at another dataset."""

    def change(proto: Any) -> None:
        proto.dataset.add().CopyFrom(proto.dataset[0])
        proto.dataset[-1].name, proto.dataset[-1].uri = "Other", str(csv)
        for name, value in settings.items():
            setattr(proto.dataset[-1], name, value)
        proto.monitor.add().CopyFrom(proto.monitor[0])
        proto.monitor[-1].name = "other"
        del proto.monitor[-1].dataset_name[:]
        proto.monitor[-1].dataset_name.append("Other")

    edit(model, change)
