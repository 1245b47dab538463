"""The trajectory: which parameters, statistics and solver state stand for each step of a trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import nnabla as nn
import numpy as np

from nnabla_influence.errors import RunError
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import Step


class NotReproducibleError(RunError):
    """This device or nnabla cannot replay the steps of a run, though the run is sound."""


OTHERWISE = (
    "the training did something that the definition file does not say (weight decay, changed"
    " gradients, another loss, a forward of random layers or batch normalisations between the"
    " steps), or files of the run or of the dataset were changed"
)

CHECKED_STEPS = 16
"""How many steps are replayed before the trace where every checkpoint was kept."""

STEP_TOLERANCE = 0.001
"""Of a step's length; right ones are off by rounding only."""

ROUNDING = 1e-6
"""Of the parameters' length: what float32 leaves of a very short step."""

Parameters = Mapping[str, np.ndarray]


def distance(one: Parameters, other: Parameters, names: Iterable[str]) -> float:
    """Return the Euclidean distance of two sets of parameters."""
    return math.sqrt(sum(float(np.sum((one[n] - other[n]) ** 2.0)) for n in names))


def relative_distance(
    got: Parameters, wanted: Parameters, start: Parameters, names: Sequence[str]
) -> float:
    """Return how far ``got`` is from ``wanted``, over the distance that a training went to it."""
    off, way = distance(got, wanted, names), distance(start, wanted, names)
    return off / way if way else float(off > 0)


class Trajectory(Protocol):
    """The checkpoints of a training.

    Attributes:
        exact: Whether each step has its own.
    """

    exact: bool

    def before(self, step: Step) -> Checkpoint:
        """Return the checkpoint that stands for the start of ``step``."""


class FinalTrajectory:
    """Every step at the final checkpoint (Suzuki et al.)."""

    exact = False

    def __init__(self, final: Checkpoint):
        self._final = final

    def before(self, step: Step) -> Checkpoint:
        """Return the final checkpoint."""
        return self._final


class RecordedTrajectory:
    """Every step at its own checkpoint, as the run kept it (Hara et al.)."""

    exact = True

    def __init__(self, run: Run, steps: Sequence[Step]):
        self._run, self._steps = run, steps

    def before(self, step: Step) -> Checkpoint:
        """Read the checkpoint."""
        return self._run.checkpoint(step.step)

    def check(self, trainer: Trainer, inputs: StepInputs) -> None:
        """Replay some steps, the first and the last among them, and compare with the run.

        To `STEP_TOLERANCE`, since no replay stands on them and not every device gives the same
        bits twice.

        Raises:
            RunError: One gives other parameters: the training was not the definition's.
        """
        which = np.unique(np.linspace(0, len(self._steps) - 1, CHECKED_STEPS).astype(int))
        for step in (self._steps[i] for i in which):
            before = self._run.checkpoint(step.step)
            kept = step.step + 1 in self._run.checkpoints
            after = self._run.checkpoint(step.step + 1) if kept else self._run.final_checkpoint()
            trainer.start(before)
            trainer.step(step, inputs)
            got = trainer.checkpoint().parameters
            trained = set(trainer.trainable)
            for names in (trained, set(got) - trained):  # running statistics by themselves
                off = distance(got, after.parameters, names)
                moved = distance(after.parameters, before.parameters, names)
                length = distance(after.parameters, dict.fromkeys(names, np.zeros(())), names)
                if not off <= STEP_TOLERANCE * moved + ROUNDING * length:  # NaN too
                    raise RunError(
                        f"{self._run.folder}: replaying step {step.step} gives other parameters"
                        f" (relative error {off / max(moved, 1e-30):.2g}); {OTHERWISE}. Its scores"
                        " would be wrong"
                    )


class ReplayedTrajectory:
    """Every step at its own checkpoint, replayed from the last one that the run keeps before it.

    The checkpoints of one segment, between two kept ones, are in memory at a time. At the end of
    each segment the replay must equal the run's checkpoint, byte for byte. The segment that the
    trace begins with ends at the final parameters, so that this is proved before any score.

    Args:
        run: Keeps the checkpoint before the window's first step at least.
        trainer: Of the same definition, solver and context.
        inputs: Gives the training data of each step.
    """

    exact = True

    def __init__(self, run: Run, trainer: Trainer, inputs: StepInputs):
        self._run, self._trainer, self._inputs = run, trainer, inputs
        self._steps = {step.step: step for step in run.steps}
        self._segment: dict[int, Checkpoint] = {}

    @property
    def longest_segment(self) -> int:
        """The most steps between two kept checkpoints, all of which are held in memory."""
        ends = (*self._run.checkpoints, max(self._steps) + 1)
        return max(end - start for start, end in zip(ends, ends[1:]))

    def before(self, step: Step) -> Checkpoint:
        """Return the checkpoint; replays the segment of the step unless it is in memory."""
        if step.step not in self._segment:
            self._segment = self._replay(step.step)
        return self._segment[step.step]

    def _replay(self, number: int) -> dict[int, Checkpoint]:
        earlier = [kept for kept in self._run.checkpoints if kept <= number]
        if not earlier:
            raise RunError(
                f"{self._run.folder}: has no checkpoint at or before step {number}; record a"
                " longer window, with --keep sqrt"
            )
        self._segment = {}  # First free the old one, since memory holds only one.
        first = earlier[-1]
        later = [kept for kept in self._run.checkpoints if kept > number]
        end = later[0] if later else max(self._steps) + 1
        segment = self._trained(first, end)
        expected = self._run.checkpoint(end) if later else self._run.final_checkpoint()
        difference = describe_difference(segment[end], expected)
        if difference is not None:
            raise self._error(first, end, difference)
        return segment

    def _trained(self, first: int, end: int) -> dict[int, Checkpoint]:
        """Return the checkpoints of a replay from ``first`` to ``end``, both included."""
        segment = {first: self._run.checkpoint(first)}
        self._trainer.start(segment[first])
        for step in range(first, end):
            self._trainer.step(self._steps[step], self._inputs)
            segment[step + 1] = self._trainer.checkpoint()
        return segment

    def _error(self, first: int, end: int, difference: str) -> RunError:
        message = (
            f"{self._run.folder}: the training from step {first} to {end} cannot be replayed"
            f" ({difference})"
        )
        settings, reason = self._run.settings, None
        soon = min(first + 2, end)
        if describe_difference(*(self._trained(first, soon)[soon] for _ in range(2))) is not None:
            reason = "this device does not give the same result twice"
        elif settings is not None and settings.nnabla_version != nn.__version__:
            trained_by = settings.nnabla_version
            reason = f"it was trained by nnabla {trained_by}, and this is {nn.__version__}"
        elif settings is not None and _on_gpu(settings.context) != _on_gpu(self._trainer.context):
            reason = "it was trained on another device; choose that with --device"
        if reason is None:
            return RunError(f"{message}; {OTHERWISE}")
        return NotReproducibleError(
            f"{message}; {reason}. Record with --keep all, which replays nothing, or use method"
            " final"
        )


def _on_gpu(context: object) -> bool:
    return "cud" in str(context).lower()


def describe_difference(got: Checkpoint, expected: Checkpoint) -> str | None:
    """Return None where two checkpoints are equal byte for byte, else the largest difference."""
    pairs = [(name, value, expected.parameters[name]) for name, value in got.parameters.items()]
    for state, values in got.solver.values.items():
        pairs += [
            (f"{name} ({state})", value, expected.solver.values[state][name])
            for name, value in values.items()
        ]
    unequal = [(n, a, b) for n, a, b in pairs if not np.array_equal(a, b)]
    if not unequal:
        return None
    norm = np.linalg.norm
    error, name = max((float(norm(a - b) / max(float(norm(b)), 1e-30)), n) for n, a, b in unequal)
    return f"{name} has the relative error {error:.1e}"
