from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from nnabla_influence.cleansing import Cleansed, cleanse
from tests.cleansing.common import write_ranking, write_table


@dataclass(frozen=True)
class Table:
    """A table of numbers and its ranking, in a folder of their own."""

    folder: Path

    @property
    def train(self) -> Path:
        return self.folder / "train.csv"

    @property
    def ranking(self) -> Path:
        return self.folder / "ranking.csv"

    @property
    def output(self) -> Path:
        return self.folder / "clean.csv"

    @property
    def removed(self) -> Path:
        return self.folder / "clean.removed.csv"

    def decisions(self, text: str | bytes) -> Path:
        path = self.folder / "decisions.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def cleanse(self, **arguments) -> Cleansed:
        return cleanse(self.ranking, **{"output": self.output, **arguments})

    def decide(self, text: str | bytes, **arguments) -> Cleansed:
        return self.cleanse(decisions=self.decisions(text), **arguments)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    made = Table(tmp_path / "my データ")
    made.folder.mkdir()
    write_ranking(write_table(made.train), made.ranking)
    return made
