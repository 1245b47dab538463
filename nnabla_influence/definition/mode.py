"""Which of a definition's losses an objective computes."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    """How the layers act that differ between training and use.

    Attributes:
        TEST: As in use: running statistics, nothing random. An example's loss is its own.
        TRAINING: As in training: batch normalisations use the mini-batch's statistics, so a loss
            depends on the whole mini-batch.
        BATCH: As TRAINING, without the random layers.
        VALIDATION: As TEST, with the running statistics that training moves among the parameters,
            so that the gradient reaches them too.
    """

    TEST = "test"
    TRAINING = "training"
    BATCH = "batch"
    VALIDATION = "validation"

    @property
    def batch_statistics(self) -> bool:
        """Whether batch normalisations use the statistics of the mini-batch."""
        return self in (Mode.TRAINING, Mode.BATCH)
