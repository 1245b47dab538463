r"""Which label a row should rather have: what the trainings predict, and what the target says.

Let z be the logits of row j, p their probabilities and a the vector that a step of a trace takes
its influence along (`nnabla_influence.influence.trace`). With the label c the row's gradient has
the influence :math:`\langle p - e_c, J_z a \rangle / |S_t|`, :math:`J_z a` being the tangent of the
logits. So if its label y becomes c, the target falls, to first order, by the *relabel gain*

.. math:: g_j(c) = \left( M_j \right)_y - \left( M_j \right)_c, \qquad
    M_j = \sum_{t: j \in S_t} \frac{1}{|S_t|} J_z a_t .

The influence function has one such step, of all N rows, in which its solution s takes the place of
a. A loss that multiplies its cross entropy by a factor multiplies the gain by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnabla_influence.dataset import Dataset
from nnabla_influence.definition import Definition, Label
from nnabla_influence.definition.losses import OutputKind, comparison_factor, kind_of_outputs
from nnabla_influence.errors import DatasetError


def classes_of(dataset: Dataset, label: Label, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the class of each row, or of some, (N,) int64."""
    rows = np.arange(len(dataset)) if rows is None else rows
    return label.of(dataset.values(label.column, rows)).astype(np.int64)


def evaluated_classes(dataset: Dataset, label: Label, rows: np.ndarray) -> np.ndarray:
    """Return `classes_of` evaluated rows, after a check of labels that are probabilities.

    Raises:
        DatasetError: One is not between 0 and 1, which nnabla itself does not refuse.
    """
    if label.binary:
        values = dataset.values(label.column, rows).reshape(len(rows))
        for row, value in zip(rows, values):
            if not 0 <= value <= 1:
                raise DatasetError(
                    f"{dataset.place(row, label.column)}: holds {value:g}, but labels are from 0"
                    " to 1; correct it, or remove the row"
                )
    return classes_of(dataset, label, rows)


def has_relabel_gains(definition: Definition) -> bool:
    """Whether the loss is a cross entropy of logits, for which the formula holds."""
    return kind_of_outputs(definition) in (OutputKind.LOGITS, OutputKind.LOGIT)


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


def relabel_gains(definition: Definition, moves: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the relabel gain of each class, (k, N, C); 0 for the given one.

    A row that the loss ignores has the gain 0 for every class.

    Args:
        definition: The network, which `has_relabel_gains`.
        moves: M of the rows, of k targets, (k, N, ...).
        given: The rows' classes, (N,); below 0 where the loss ignores the row.
    """
    k, n = moves.shape[:2]
    flat = np.asarray(moves, np.float64).reshape(k, n, -1)
    if kind_of_outputs(definition) is OutputKind.LOGIT:  # a second logit that is always 0
        flat = np.concatenate([np.zeros_like(flat), flat], axis=2)
    own = np.take_along_axis(flat, given[None, :, None], axis=2)
    gains = comparison_factor(definition) * (own - flat)
    gains[:, given < 0] = 0
    return np.asarray(gains)


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
        given: The rows' classes, (N,); below 0 where a row has none.
    """
    rows = np.arange(len(given))
    labels = _best_other(scores, given)
    if gains is None:
        return Suggestions(labels, None, np.zeros(len(given), bool))
    gain = gains[rows, labels]
    return Suggestions(labels, gain, (_best_other(gains, given) == labels) & (gain > 0))


def _best_other(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    others, known = values.copy(), np.flatnonzero(given >= 0)
    others[known, given[known]] = -np.inf
    return others.argmax(axis=1)
