"""A fingerprint of what a network computes, to recognise it in another file."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnabla_influence.definition.unrolled import expand


def network_fingerprint(path: Path, network: Any, optimizer: Any) -> tuple[str, ...]:
    """Return a text such as ``Tanh 0f3c...`` for each function that the loss needs, in order.

    It depends on the function's type and arguments and on what its inputs are: a parameter by name
    and shape, a column of the dataset, or an output of an earlier function. It does not depend on
    the names of functions and other variables, on the batch size, on values of parameters, or on
    whether loops are unrolled in the file.
    """
    unrolled = expand(path, network)
    known: dict[str, tuple[object, ...]] = {
        d.variable_name: ("data", d.data_name) for d in optimizer.data_variable
    }
    known.update(
        (g.variable_name, ("generated", g.type, g.multiplier)) for g in optimizer.generator_variable
    )
    losses = [loss.variable_name for loss in optimizer.loss_variable]
    functions = unrolled.order(losses)
    made = {
        output: ("output", position, number)
        for position, function in enumerate(functions)
        for number, output in enumerate(function.outputs)
    }

    def source(name: str) -> tuple[object, ...]:
        if name in made:
            return made[name]
        if name in unrolled.parameters:
            return ("parameter", name, *unrolled.shapes[name])
        # The first axis is the batch.
        return (*known.get(name, ("variable",)), *unrolled.shapes[name][1:])

    entries = [_entry(f.type, sorted(f.args.items()), *map(source, f.inputs)) for f in functions]
    return (*entries, _entry("Loss", *map(source, losses)))


def describe_other_network(recorded: Sequence[str], current: Sequence[str]) -> str | None:
    """Return the first difference of two fingerprints in words, None where they are equal."""
    if tuple(recorded) == tuple(current):
        return None
    pairs = enumerate(itertools.zip_longest(recorded, current, fillvalue="nothing"), 1)
    position, (before, now) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    was, became = before.partition(" ")[0], now.partition(" ")[0]
    if was == became:
        return f"function {position}, {was}, has other arguments or inputs"
    return f"function {position} was {was} and is {became}"


def _entry(kind: str, *what: object) -> str:
    return f"{kind} {hashlib.blake2b(repr(what).encode('utf-8'), digest_size=8).hexdigest()}"
