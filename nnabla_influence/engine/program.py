"""nnabla's graph as a program for NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import nnabla as nn

from nnabla_influence.definition.normalization import Normalization
from nnabla_influence.engine.functions import named
from nnabla_influence.engine.graph import Function, functions_of, key
from nnabla_influence.engine.numpy_functions import NP
from nnabla_influence.engine.numpy_functions.layers import Pair
from nnabla_influence.engine.numpy_functions.pairs import PAIRS, STACKED
from nnabla_influence.engine.numpy_functions.tape import Tape, values
from nnabla_influence.engine.tangents import tangents_of


@dataclass(frozen=True, eq=False)
class Several:
    """The number k of targets whose tangents, of shape (k, ...), are carried at once."""

    k: int
    tape: Tape


@dataclass(frozen=True, eq=False)
class _Step:
    """A function of the network, and what computes it: its value or, at once, its pair.

    Attributes:
        function: In nnabla's graph.
        value: From values to the value, or a list of them.
        pair: From pairs to a pair, or a list of them; None where a rule gives the tangent.
        last: What no later step needs.
    """

    function: Function
    value: Callable[..., Any]
    pair: Callable[..., Pair | list[Pair]] | None
    last: Sequence[Any]


class Program:
    """The functions that some variables of a graph need, in order, to compute with NumPy."""

    def __init__(
        self, targets: Sequence[nn.Variable], normalizations: Sequence[Normalization] = ()
    ):
        functions = functions_of(targets, normalizations)
        self._targets = {key(target) for target in targets}
        self._constants = {key(leaf): leaf for f in functions for leaf in f.leaves}
        last: dict[Any, int] = {}
        for number, f in enumerate(functions):
            last.update(dict.fromkeys((*f.inputs, *f.outputs), number))
        ends: dict[int, list[Any]] = {}
        for k, number in last.items():
            if k not in self._targets:
                ends.setdefault(number, []).append(k)
        self._steps = [
            _Step(f, named(NP, f.type), PAIRS.get(f.type), ends.get(number, ()))
            for number, f in enumerate(functions)
        ]

    def run(
        self,
        leaves: Mapping[Any, Any],
        tangents: Mapping[Any, Any],
        cut: Set[Any] = frozenset(),
        several: Several | None = None,
    ) -> dict[Any, Pair]:
        """Return the pairs of the targets, by `key`.

        Args:
            leaves: The values of the graph's inputs by `key`; of others, their variables'.
            tangents: Of the leaves, by `key`.
            cut: The `key` of variables whose tangents are taken as constants.
            several: Where the tangents are of several targets.
        """
        slots = {k: Pair(value, tangents.get(k)) for k, value in leaves.items()}
        for k, leaf in self._constants.items():
            if k not in slots:
                slots[k] = Pair(leaf.d)
        for step in self._steps:
            inputs = [slots[k] for k in step.function.inputs]
            for k, output in zip(step.function.outputs, _computed(step, inputs, several)):
                slots[k] = output._replace(tangent=values(output.tangent)) if k in cut else output
            for k in step.last:
                del slots[k]
        return {k: slots[k] for k in self._targets}


def _computed(step: _Step, inputs: Sequence[Pair], several: Several | None) -> list[Pair]:
    f = step.function
    if step.pair is not None and (several is None or f.type in STACKED):
        pairs = step.pair(*inputs, **f.args)
        return pairs if isinstance(pairs, list) else [pairs]
    x, dx = [pair.value for pair in inputs], [pair.tangent for pair in inputs]
    found = step.value(*x, **f.args)
    y = list(found) if isinstance(found, (list, tuple)) else [found]
    if all(d is None for d in dx):
        return [Pair(each) for each in y]
    if several is not None:
        return [Pair(*both) for both in zip(y, _of_each(f, x, dx, y, several))]
    return [Pair(*both) for both in zip(y, tangents_of(NP, f.type, f.args, x, dx, y))]


def _of_each(
    f: Function, x: Sequence[Any], dx: Sequence[Any], y: Sequence[Any], several: Several
) -> list[Any]:
    """Return the outputs' tangents, by the rule for each target."""
    tape, found = several.tape, []
    for target in range(several.k):
        tape.target = target
        found.append(tangents_of(NP, f.type, f.args, x, [tape.taken(d, target) for d in dx], y))
    tape.target = None
    return [tape.stacked(parts) for parts in zip(*found)]
