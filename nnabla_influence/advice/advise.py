"""From a definition and two CSVs to advice; read `advise` first."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnabla_influence.advice.choice import FRACTIONS, Gain, amounts, gain_of, has_pattern
from nnabla_influence.advice.comparison import compare, folds_of
from nnabla_influence.advice.report import FILES, MARK, write_report
from nnabla_influence.advice.result import PARTLY, RELABEL, REMOVE, Advice, Change, Cost
from nnabla_influence.advice.trainings import Judged, Scored, scoring_seconds
from nnabla_influence.advice.work import Work
from nnabla_influence.definition import find_label, load_definition
from nnabla_influence.definition.training_network import check_start
from nnabla_influence.device import choose_device
from nnabla_influence.errors import DatasetError
from nnabla_influence.execution import open_executor
from nnabla_influence.files import PathLike, check_output_folder, file_hash, locked_folder
from nnabla_influence.influence.relabelling import Suggestions, suggest
from nnabla_influence.options import AdviceOptions
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.ranking import RELIABLE, ROUGH, Orders, Ranking, Scores, Verdict
from nnabla_influence.retraining.inputs import Config, CurveInputs, open_inputs
from nnabla_influence.retraining.seeded import NO_CHANGES, Changes, training_seconds
from nnabla_influence.solvers import check_solver
from nnabla_influence.text import seconds_text

LEAST_JUDGING = 20
"""Validation rows: half of them rank, and half judge."""

_TRIED = 2
"""Trainings with each number of rows, before the best one is confirmed."""


def advise(
    model: PathLike,
    *,
    train: PathLike,
    validation: PathLike,
    output: PathLike | None = None,
    options: AdviceOptions | None = None,
    device: str = "auto",
    jobs: int | str = 1,
    progress: Progress | None = None,
) -> Advice:
    """Find out which training rows to remove or relabel, or that none is worth it.

    The definition is trained several times, from other initial values and in other orders. Each row
    is scored by the influence function with the Gauss-Newton matrix, for the options' target, at
    the epoch with the least validation loss; the mean over the trainings ranks the rows. How many
    to change, and whether to remove or to relabel them, is tried out: the network is trained again
    on the changed rows, and judged on validation rows that had no part in the ranking (each half of
    them judges the ranking of the other). Only what is better with a certainty of 90 % is advised.

    Args:
        model: Network definition with its optimizer section.
        train: The CSV to advise on.
        validation: The CSV that says what is good.
        output: Folder to write: the ranking, a review page, decisions, and a page of plain words.
            What is finished is kept in ``OUTPUT.partial``, so that the same call resumes.
        options: See `AdviceOptions`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        jobs: Worker processes, or the address of a Dask scheduler whose workers are used instead.
        progress: Where to report progress.

    Raises:
        InfluenceError: Something that the user can fix; see `nnabla_influence.errors`.
    """
    options, progress = options or AdviceOptions(), progress or SilentProgress()
    began = time.monotonic()
    folder = None if output is None else check_output_folder(output, "an advice", FILES, MARK)
    definition = load_definition(model)
    check_solver(definition.solver.name, definition.path)
    check_start(definition, {})
    config = Config(
        model=os.path.abspath(model),
        training=os.path.abspath(train),
        validation=os.path.abspath(validation),
        test=os.path.abspath(validation),
        device=device,
    )
    progress.say(f"Computing on {choose_device(device).description}")
    inputs = open_inputs(config)
    config = dataclasses.replace(config, hashes=tuple(map(file_hash, config.files)))
    label = find_label(definition)
    comparison = compare(inputs)
    for line in comparison.lines():
        progress.say(f"Note: {line}")
    if len(comparison.judging) < LEAST_JUDGING:
        raise DatasetError(
            f"{inputs.validation.path}: has {len(comparison.judging)} rows to judge by, too few;"
            f" give at least {LEAST_JUDGING} that are not in the training CSV and not alike"
        )
    _ = inputs.evaluator  # refuses a network that mixes the examples of a mini-batch
    with _partial_folder(folder) as partial, open_executor(jobs) as executor:
        work = Work(config, options.target, folds_of(comparison, options.seed), partial, executor)
        progress.say(_cost(options, inputs, executor.places))
        found = _found(work, options, comparison.classes, progress)
        advice = Advice(
            ranking=_ranking(inputs, found),
            removed=np.array(found.changes.removed, np.int64),
            relabelled=dict(found.changes.relabelled),
            confirmed=found.confirmed,
            tried=found.tried,
            agreement=found.agreement,
            comparison=comparison,
            is_accuracy=comparison.classes is not None,
            label_column=None if label is None else label.column,
            cost=Cost(found.n_trainings, time.monotonic() - began),
        )
        if folder is not None:
            write_report(folder, advice, progress)
            work.remove()
    return advice


@dataclass(frozen=True, eq=False)
class _Rankings:
    """The rows' influence and suggested labels, by the halves of the validation rows.

    Attributes:
        influence: By training, for all validation rows (K, N).
        predicted: The class that the trainings predict together, (N,); None without classes.
        suggestions: For all validation rows; None where there are no classes.
        of_half: Both, for each half alone.
    """

    influence: np.ndarray
    predicted: np.ndarray | None
    suggestions: Suggestions | None
    of_half: tuple[tuple[np.ndarray, Suggestions | None], ...]


@dataclass(frozen=True, eq=False)
class _Found:
    scored: Sequence[Scored]
    rankings: _Rankings
    tried: dict[int, float]
    confirmed: dict[Change, Gain]
    agreement: float | None
    changes: Changes
    n_trainings: int


def _found(
    work: Work, options: AdviceOptions, classes: np.ndarray | None, progress: Progress
) -> _Found:
    first = range(options.seed, options.seed + options.trainings)
    fresh = range(first.stop, first.stop + options.retrainings)
    scored, judged = work.scored(first, progress)
    rankings = _rankings(scored, work.folds, classes)
    tries = min(_TRIED, options.trainings)
    one, other = work.folds  # each judges the ranking of the other
    judging = [*other, *one]

    def trained(change: Change, seeds: Sequence[int]) -> list[Judged]:
        both = [changes_of(change, *half) for half in rankings.of_half]
        found = work.judged(list(dict.fromkeys(both)), seeds, f"Train: {change}", progress)
        return [a.joined(other, b, one) for a, b in zip(found[both[0]], found[both[1]])]

    unchanged = [each.at(judging) for each in judged[:tries]]
    numbers = amounts(rankings.influence)
    tried = {n: _gain(trained(Change(n), first[:tries]), unchanged).mean for n in numbers}
    n_trainings = options.trainings + 2 * len(tried) * tries
    confirmed: dict[Change, Gain] = {}
    changes, agreement = NO_CHANGES, None
    if tried and max(tried.values()) > 0:
        n = max(tried, key=lambda n: tried[n])
        found = work.judged([NO_CHANGES], fresh, "Train: unchanged", progress)[NO_CHANGES]
        unchanged = [each.at(judging) for each in found]
        for change in _ways(n, rankings, classes):
            changed = trained(change, fresh)
            confirmed[change] = _gain(changed, unchanged)
            if change.action == REMOVE:
                both = [changes_of(change, *half) for half in rankings.of_half]
                moves = work.foreseen(list(dict.fromkeys(both)), first[0], progress)
                foreseen = np.hstack([moves[both[0]][[*other]], moves[both[1]][[*one]]])
                agreement = agreement_of(foreseen, changed, unchanged)
        n_trainings += (1 + 2 * len(confirmed)) * options.retrainings
        best = max(confirmed, key=lambda change: confirmed[change].mean)
        if confirmed[best].is_sure:
            mean = rankings.influence.mean(axis=0)
            changes = changes_of(best, mean, rankings.suggestions)
    return _Found(scored, rankings, tried, confirmed, agreement, changes, n_trainings)


def agreement_of(
    foreseen: np.ndarray, changed: Sequence[Judged], unchanged: Sequence[Judged]
) -> float:
    """Return the correlation over the validation rows of foreseen and real moves of the target."""
    real = np.mean([a.targets - b.targets for a, b in zip(changed, unchanged)], axis=0)
    if not real.any() or not foreseen.any():
        return 0.0
    return float(np.corrcoef(foreseen, real)[0, 1])


def changes_of(change: Change, influence: np.ndarray, suggested: Suggestions | None) -> Changes:
    """Return a change to the most harmful rows.

    Args:
        change: How many of them, and its kind.
        influence: Of all rows, (N,).
        suggested: Their suggested labels; None where they have no classes.
    """
    rows = np.argsort(influence, kind="stable")[: change.n]
    if change.action == REMOVE or suggested is None:
        return Changes(removed=tuple(rows.tolist()))
    firm = suggested.firm[rows]
    return Changes(
        removed=tuple(rows[~firm].tolist()),
        relabelled=tuple((int(row), int(suggested.labels[row])) for row in rows[firm]),
    )


def _ways(n: int, rankings: _Rankings, classes: np.ndarray | None) -> list[Change]:
    """Return what may be done with the n most harmful rows."""
    suggestions = rankings.suggestions
    if suggestions is None or classes is None:
        return [Change(n)]
    rows = np.argsort(rankings.influence.mean(axis=0), kind="stable")[:n]
    n_classes = int(max(classes.max(), suggestions.labels.max())) + 1
    pattern = has_pattern(classes[rows], suggestions.labels[rows], n_classes)
    is_offered = pattern and suggestions.firm[rows].any()
    return [Change(n), Change(n, RELABEL)] if is_offered else [Change(n)]


def _rankings(
    scored: Sequence[Scored], folds: Sequence[Sequence[int]], classes: np.ndarray | None
) -> _Rankings:
    by_half = np.stack([one.influence for one in scored], axis=1)  # (2, K, N)
    part = np.array([len(fold) for fold in folds]) / sum(map(len, folds))
    of_gains = [one.gains for one in scored if one.gains is not None]
    of_scores = [one.scores for one in scored if one.scores is not None]
    gains = np.mean(of_gains, axis=0) if of_gains else None  # (2, N, C)
    scores = np.mean(of_scores, axis=0) if of_scores else None

    def suggestions(weights: np.ndarray) -> Suggestions | None:
        if classes is None or scores is None:
            return None
        of_half = None if gains is None else np.tensordot(weights, gains, axes=1)
        return suggest(scores, of_half, classes)

    return _Rankings(
        influence=np.tensordot(part, by_half, axes=1),
        predicted=None if scores is None else scores.argmax(axis=1),
        suggestions=suggestions(part),
        of_half=tuple(
            (by_half[half].mean(axis=0), suggestions(np.eye(2)[half])) for half in (0, 1)
        ),
    )


def _ranking(inputs: CurveInputs, found: _Found) -> Ranking:
    scored, influence = found.scored, found.rankings.influence
    suggestions, k = found.rankings.suggestions, len(found.scored)
    scores = Scores(
        influence=influence.mean(axis=0),
        influence_se=influence.std(axis=0, ddof=1) / np.sqrt(k),
        harmful_in=(influence < 0).sum(axis=0),
        loss=np.mean([one.losses for one in scored], axis=0),
        predicted=found.rankings.predicted,
        suggested_label=None if suggestions is None else suggestions.labels,
        relabel_gain=None if suggestions is None else suggestions.gains,
    )
    verdict = _verdict(found)
    return Ranking(
        inputs.training,
        scores,
        orders=Orders(f"{k} trainings influence-function", k, "advise", verdict),
    )


def _verdict(found: _Found) -> Verdict:
    if found.changes == NO_CHANGES:
        return Verdict(ROUGH, "no change was confirmed by retraining")
    if found.agreement is not None and found.agreement < PARTLY:
        return Verdict(ROUGH, "retraining moved the validation rows otherwise than foreseen")
    return Verdict(RELIABLE)


def _cost(options: AdviceOptions, inputs: CurveInputs, places: int) -> str:
    """Say beforehand what it costs."""
    each, scoring = training_seconds(inputs, options.seed), scoring_seconds(inputs)
    least = options.trainings + 2 * _TRIED * (len(FRACTIONS) + 1)
    most = least + 5 * options.retrainings
    return (
        f"This takes {least} to {most} trainings of about {seconds_text(each)}, and"
        f" {seconds_text(scoring)} to score after each of the first {options.trainings}: up to"
        f" {seconds_text((most * each + (options.trainings + 1) * scoring) / places)} in all"
    )


@contextlib.contextmanager
def _partial_folder(folder: Path | None) -> Iterator[Path]:
    """Yield where finished trainings are kept: beside the output, or for this call only."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        with locked_folder(partial):
            yield partial
    finally:
        with contextlib.suppress(OSError):  # It holds something.
            partial.rmdir()


def _gain(changed: Sequence[Judged], unchanged: Sequence[Judged]) -> Gain:
    return gain_of(*(np.stack([one.values for one in of]) for of in (changed, unchanged)))
