"""What is trained on what, for workers of any process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from nnabla_influence.errors import InfluenceError


@dataclass(frozen=True)
class Problem:
    """A training, all but its seed.

    Attributes:
        model: Network definition with its optimizer section. Absolute, as are all paths.
        training: CSV that is trained on and ranked.
        validation: CSV that the rankings look at.
        test: CSV that nothing but the result looks at.
        parameters: File of parameters that every seed starts from; those that it lacks, or all of
            them where there is none, are drawn for each seed from the definition's initialisers.
        batch_size: Examples of a mini-batch; None for the definition's.
        running_statistics: Whether the ranking ``final`` uses the running statistics of batch
            normalisations, in place of those of each mini-batch.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        hashes: `nnabla_influence.files.file_hash` of each of `files`, so that a worker notices
            what has changed since; None where that is not looked at.

    Raises:
        InfluenceError: The batch size is no whole number from 1.
    """

    model: str
    training: str
    validation: str
    test: str
    parameters: Optional[str] = None
    batch_size: Optional[int] = None
    running_statistics: bool = False
    device: str = "auto"
    hashes: Optional[tuple[str, ...]] = None

    def __post_init__(self) -> None:
        size = self.batch_size
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise InfluenceError(f"batch size {size!r} is not a whole number from 1")

    @property
    def files(self) -> tuple[str, ...]:
        """All that is read, but what the CSVs name."""
        files = (self.model, self.training, self.validation, self.test)
        return files if self.parameters is None else (*files, self.parameters)
