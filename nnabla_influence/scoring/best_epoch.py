"""Notice a model file that holds the best epoch's parameters instead of the last step's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nnabla_influence.definition import Definition, load_definition
from nnabla_influence.errors import InfluenceError


def note_on_best_epoch(definition: Definition) -> str | None:
    """Return a line for the user if the final parameters lie beside the given model file.

    nnabla_cli and the Console save the best epoch as ``results.nnp`` (or ``results_best_N.nnp``)
    and the end of the training as ``results_current_N.nnp``. A trace of the last epoch belongs to
    the latter.
    """
    path = definition.path
    if not re.fullmatch(r"results(_best_\d+)?\.nnp", path.name):
        return None
    finals = sorted(path.parent.glob("results_current_*.nnp"), key=_epoch)
    if not finals or _same_parameters(definition, finals[-1]):
        return None
    return (
        f"Note: {path.name} holds the parameters of the best epoch; those after the last step, to"
        f" which the traced steps belong, are in {finals[-1].name} beside it"
    )


def _epoch(path: Path) -> int:
    digits = re.search(r"(\d+)\.nnp$", path.name)
    return int(digits.group(1)) if digits else -1


def _same_parameters(definition: Definition, other: Path) -> bool:
    try:
        parameters = load_definition(other).parameters
    except InfluenceError:
        return True  # nothing better to offer
    return all(
        name in parameters and np.array_equal(value, parameters[name])
        for name, value in definition.parameters.items()
    )
