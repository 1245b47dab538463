r"""The trajectory: which parameters, statistics and solver state stand for each step of a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Protocol

import nnabla as nn
import numpy as np

from nnabla_influence.errors import RunError
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import Step


class NotReproducibleError(RunError):
    """The steps of a run do not come out again here, though nothing is wrong with it."""


OTHERWISE = (
    "the training did something that the definition file does not say (weight decay, changed"
    " gradients, another loss, a forward of random layers or batch normalisations between the"
    " steps), or files of the run or of the dataset were changed"
)

CHECKED_STEPS = 16
"""Of a training whose every state was kept: so many are done again before the trace."""

STEP_TOLERANCE = 0.001
"""Of a step's length; right ones are off by rounding only."""

ROUNDING = 1e-6
"""Of the parameters' length: what float32 leaves of a very short step."""


class Trajectory(Protocol):
    """The states of a training.

    Attributes:
        exact: Whether each step has its own.
    """

    exact: bool

    def before(self, step: Step) -> Checkpoint:
        """Return the state that ``step`` is taken to have started from."""


class FinalTrajectory:
    """Every step at the final state (Suzuki et al.)."""

    exact = False

    def __init__(self, final: Checkpoint):
        self._final = final

    def before(self, step: Step) -> Checkpoint:
        """Return the final state."""
        return self._final


class RecordedTrajectory:
    """Every step at its own state, as the run kept it (Hara et al.).

    Raises:
        RunError: The run does not keep the state of each step.
    """

    exact = True

    def __init__(self, run: Run, steps: Sequence[Step]):
        missing = {step.step for step in steps} - set(run.checkpoints)
        if missing:
            raise RunError(
                f"{run.folder}: keeps no parameters of step {max(missing)}; train again with"
                " --keep all"
            )
        self._run, self._steps = run, steps

    def before(self, step: Step) -> Checkpoint:
        """Read the state."""
        return self._run.checkpoint(step.step)

    def check(self, trainer: Trainer, inputs: StepInputs) -> None:
        """Do some steps again, the first and the last among them: do they lead where the run says?

        To `STEP_TOLERANCE`, since no replay stands on them and not every device gives the same
        bits twice.

        Raises:
            RunError: One leads elsewhere, so the training was another than the definition says.
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
                off, moved, length = (
                    float(np.sqrt(sum(np.sum((a[n] - b[n]) ** 2.0) for n in names)))
                    for a, b in (
                        (got, after.parameters),
                        (after.parameters, before.parameters),
                        (after.parameters, dict.fromkeys(names, 0.0)),
                    )
                )
                if not off <= STEP_TOLERANCE * moved + ROUNDING * length:  # NaN too
                    raise RunError(
                        f"{self._run.folder}: step {step.step} done again leads elsewhere than it"
                        f" did (off by {off / max(moved, 1e-30):.2g} of its length); {OTHERWISE}."
                        " Scores of it would be wrong"
                    )


class ReplayedTrajectory:
    """Every step at its own state, trained again from the last one that the run keeps before it.

    The states of one segment, between two kept ones, are in memory at a time. At the end of each
    segment the replay must arrive at what the run keeps there, byte for byte; the segment that the
    trace begins with ends at the final parameters, so that this is proved before any score.

    Args:
        run: Keeps the state before the window's first step at least.
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
        """How many steps lie between two kept states at most, all of which are held in memory."""
        ends = (*self._run.checkpoints, max(self._steps) + 1)
        return max(end - start for start, end in zip(ends, ends[1:]))

    def before(self, step: Step) -> Checkpoint:
        """Return the state, replaying the segment that holds the step where it is not at hand."""
        if step.step not in self._segment:
            self._segment = self._replay(step.step)
        return self._segment[step.step]

    def _replay(self, number: int) -> dict[int, Checkpoint]:
        earlier = [kept for kept in self._run.checkpoints if kept <= number]
        if not earlier:
            raise RunError(
                f"{self._run.folder}: keeps no parameters at or before step {number}; record a"
                " longer window, with --keep sqrt"
            )
        self._segment = {}  # Let the old one go first, since memory holds only one.
        first = earlier[-1]
        later = [kept for kept in self._run.checkpoints if kept > number]
        end = later[0] if later else max(self._steps) + 1
        checkpoint = self._run.checkpoint(first)
        segment = {first: checkpoint}
        self._trainer.start(checkpoint)
        for at in range(first, end):
            self._trainer.step(self._steps[at], self._inputs)
            checkpoint = self._trainer.checkpoint()
            segment[at + 1] = checkpoint
        expected = self._run.checkpoint(end) if later else self._run.final_checkpoint()
        difference = describe_difference(checkpoint, expected)
        if difference is not None:
            raise self._error(first, end, difference)
        return segment

    def _error(self, first: int, end: int, difference: str) -> RunError:
        message = (
            f"{self._run.folder}: the training from step {first} to {end} cannot be replayed"
            f" ({difference}); "
        )
        again = []
        for _ in range(2):
            self._trainer.start(self._run.checkpoint(first))
            for at in range(first, min(first + 2, end)):
                self._trainer.step(self._steps[at], self._inputs)
            again.append(self._trainer.checkpoint())
        if describe_difference(*again) is not None:
            return NotReproducibleError(
                f"{message}this device does not give the same result twice. Record with --keep all,"
                " which replays nothing, or use method final"
            )
        settings = self._run.settings
        if settings is not None and settings.nnabla_version != nn.__version__:
            return NotReproducibleError(
                f"{message}it was done by nnabla {settings.nnabla_version}, and this is"
                f" {nn.__version__}. Record with --keep all, which replays nothing, or use"
                " method final"
            )
        if settings is not None and _on_gpu(settings.context) != _on_gpu(self._trainer.context):
            return NotReproducibleError(
                f"{message}it was done on another device. Choose that with --device, or record with"
                " --keep all, which replays nothing, or use method final"
            )
        return RunError(f"{message}{OTHERWISE}")


def _on_gpu(context: object) -> bool:
    return "cud" in str(context).lower()


def describe_difference(got: Checkpoint, expected: Checkpoint) -> Optional[str]:
    """Return None where two states are equal byte for byte, else the largest difference."""
    pairs = [(name, value, expected.parameters[name]) for name, value in got.parameters.items()]
    for state, values in got.solver.values.items():
        pairs += [
            (f"{name} ({state})", value, expected.solver.values[state][name])
            for name, value in values.items()
        ]
    unequal = [(n, a, b) for n, a, b in pairs if not np.array_equal(a, b)]
    if not unequal:
        return None
    distance, name = max((_relative(a, b), n) for n, a, b in unequal)
    return f"{name} is off by a relative {distance:.1e}"


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / max(float(np.linalg.norm(expected)), 1e-30))
