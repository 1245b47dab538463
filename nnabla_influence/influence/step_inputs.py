"""What goes into the network in each step: the rows' data and the draws of random layers."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import nnabla as nn
import numpy as np

from nnabla_influence.definition import Definition, Mode, RandomLayers
from nnabla_influence.engine import check_differentiable
from nnabla_influence.errors import UnsupportedError
from nnabla_influence.runs.run import Run
from nnabla_influence.runs.steps import FetchRows, Step

BatchInputs = Mapping[str, np.ndarray]
"""By name, arrays of shape (n, ...)."""

_BLOCKS_KEPT = 2
"""A replay and the trace of the same steps can be in different blocks."""


class StepInputs:
    """The inputs of any step, in any order.

    Random layers draw forward only. So draws are made for a block of steps at a time, about the
    square root of all of them; for an earlier block the layers start anew and skip what came
    before.

    Args:
        fetch: Gives the rows of the training data.
        random: The training's random layers, at its beginning; None if it has none.
        steps: All steps, in the order of training; needed with ``random`` only.
    """

    def __init__(
        self, fetch: FetchRows, random: RandomLayers | None = None, steps: Sequence[Step] = ()
    ):
        self._fetch = fetch
        self._random = random if random is not None and random.names else None
        self._steps = steps
        self._index = {step.step: i for i, step in enumerate(steps)}
        self._blocks: OrderedDict[int, list[list[BatchInputs]]] = OrderedDict()

    @property
    def random(self) -> bool:
        """Whether random layers draw anything."""
        return self._random is not None

    def of(self, step: Step) -> list[BatchInputs]:
        """Return the inputs of the step's mini-batches."""
        inputs = [self._fetch(rows) for rows in step.batches]
        if self._random is None:
            return inputs
        size = math.isqrt(len(self._steps) - 1) + 1
        number, within = divmod(self._index[step.step], size)
        if number not in self._blocks:
            if len(self._blocks) == _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
            self._blocks[number] = self._draw(self._steps[number * size : (number + 1) * size])
        drawn = self._blocks[number][within]
        return [{**data, **draws} for data, draws in zip(inputs, drawn)]

    def _draw(self, steps: Sequence[Step]) -> list[list[BatchInputs]]:
        random = self._random
        assert random is not None
        first = steps[0].step * len(steps[0].batches)
        if random.position > first:
            random.reset()
        random.skip(first - random.position)
        return [[random.draw(self._fetch(rows)) for rows in step.batches] for step in steps]


def step_inputs(
    definition: Definition, recorded: Run, fetch: FetchRows, context: nn.Context
) -> StepInputs:
    """Return the inputs of a run's steps, the draws of its random layers included.

    Raises:
        UnsupportedError: What the network does in training cannot be replayed; it is named.
    """
    check_differentiable(definition, Mode.TRAINING)
    sizes = {len(batch) for step in recorded.steps for batch in step.batches}
    random = RandomLayers(definition, max(sizes), context)
    if random.names and (len(sizes) > 1 or len({len(s.batches) for s in recorded.steps}) > 1):
        layers = ", ".join(name[1:] for name in random.names)
        raise UnsupportedError(
            f"{recorded.folder}: its mini-batches have {min(sizes)} to {max(sizes)} examples, and"
            f" the draws of random layers ({layers}) cannot be replayed where the size changes;"
            " train with mini-batches of one size, or use method final"
        )
    return StepInputs(fetch, random, recorded.steps)
