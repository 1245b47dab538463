r"""Which label a row should have: what the trainings predict, and what the target says.

With the solution s of the influence function (`nnabla_influence.influence.influence_functions`),
logits z and probabilities p of row j, the influence of the row with the label c is

.. math:: I_j(c) = \frac1N \langle p - e_c, J_z s \rangle,

:math:`J_z s` the tangent of the logits along s. So if its label y becomes c, the target changes by
:math:`I_j(y) - I_j(c)`, and falls by the *relabel gain*

.. math:: g_j(c) = I_j(c) - I_j(y) = \frac1N \left[ (J_z s)_y - (J_z s)_c \right].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnabla_influence.definition import Definition
from nnabla_influence.definition.losses import OutputKind, kind_of_outputs

PATTERN = 3.0
"""How many times as many rows as by chance make a pair of classes a pattern."""
_LEAST_ROWS = 4
_HALF = 0.5


def class_scores(definition: Definition, values: np.ndarray | None) -> np.ndarray | None:
    """Return a score of each class for each row, (n, C), which may be averaged over trainings.

    Probabilities where the outputs are logits or probabilities; else the outputs.

    Args:
        definition: The network.
        values: What its loss compares with the target, (n, ...); None where that is not known.

    Returns:
        None where the network predicts no class from ``values``.
    """
    kind = kind_of_outputs(definition)
    if values is None or kind is None:
        return None
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    if kind is OutputKind.LOGITS:
        e = np.exp(flat - flat.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))
    if kind is OutputKind.LOGIT:
        p = 0.5 * (1 + np.tanh(flat[:, :1] / 2))
        return np.hstack([1 - p, p])
    if kind is OutputKind.PROBABILITY:
        return np.hstack([1 - flat[:, :1], flat[:, :1]])
    return flat


def relabel_gains(
    definition: Definition, tangents: np.ndarray, given: np.ndarray
) -> np.ndarray | None:
    """Return the relabel gain of each class, (k, N, C); 0 for the given one.

    It is 0 for all classes of a row that the loss ignores, since its label is below 0.

    Args:
        definition: The network.
        tangents: Of the outputs along the solutions for k targets, (k, N, ...).
        given: The rows' classes, (N,).

    Returns:
        None where the loss is no cross entropy of logits, for which the formula holds.
    """
    kind = kind_of_outputs(definition)
    if kind not in (OutputKind.LOGITS, OutputKind.LOGIT):
        return None
    k, n = tangents.shape[:2]
    flat = np.asarray(tangents, np.float64).reshape(k, n, -1)
    if kind is OutputKind.LOGIT:  # a second logit that is always 0
        flat = np.concatenate([np.zeros_like(flat[..., :1]), flat[..., :1]], axis=2)
    own = np.take_along_axis(flat, given[None, :, None], axis=2)
    return np.asarray((own - flat) / n * (given >= 0)[:, None])


@dataclass(frozen=True, eq=False)
class Suggestions:
    """The label that each row should rather have.

    Attributes:
        labels: The best class other than the given one, by the mean of the trainings, (N,). A
            label below 0 is no class.
        gains: Its relabel gain, (N,); None where there is none.
        firm: Where the class of the largest gain is the same one, and the gain positive, (N,).
    """

    labels: np.ndarray
    gains: np.ndarray | None
    firm: np.ndarray


def suggest(scores: np.ndarray, gains: np.ndarray | None, given: np.ndarray) -> Suggestions:
    """Suggest a label for each row.

    Args:
        scores: Of each class, the mean over the trainings, (N, C).
        gains: The relabel gain of each class, likewise, (N, C), or None.
        given: The rows' classes, (N,).
    """
    rows = np.arange(len(given))
    labels = _best_other(scores, given)
    if gains is None:
        return Suggestions(labels, None, np.zeros(len(given), bool))
    gain = gains[rows, labels]
    return Suggestions(labels, gain, (_best_other(gains, given) == labels) & (gain > 0))


def has_pattern(given: np.ndarray, suggested: np.ndarray, n_classes: int) -> bool:
    """Whether at least half of some rows belong to pairs of classes that are mixed up.

    Errors at random spread over all C (C - 1) pairs (given, suggested); a pair with at least
    `PATTERN` times its share of them, and four rows, is mixed up.
    """
    if n_classes < 2 or not len(given):
        return False
    _, counts = np.unique(given * n_classes + suggested, return_counts=True)
    by_chance = len(given) / (n_classes * (n_classes - 1))
    mixed_up = counts[counts >= max(PATTERN * by_chance, _LEAST_ROWS)]
    return bool(mixed_up.sum() >= _HALF * len(given))


def _best_other(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    others, rows = values.copy(), np.flatnonzero(given >= 0)
    others[rows, given[rows]] = -np.inf
    return others.argmax(axis=1)
