"""Scores that are the mean over several trainings; read `score_trainings` first.

The order of a single training's scores is partly luck: of its initial values, and of the order of
its mini-batches. Their mean over trainings is steadier, and their scatter says how steady.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np

from nnabla_influence import __version__
from nnabla_influence.advice.trainings import read, write
from nnabla_influence.advice.work import run_missing
from nnabla_influence.definition import Definition, find_label, load_definition
from nnabla_influence.definition.training_network import check_start
from nnabla_influence.errors import RunError, ScoreError
from nnabla_influence.execution import Task, open_executor
from nnabla_influence.files import PathLike, file_hash, locked_folder
from nnabla_influence.influence.relabelling import classes_of, suggest
from nnabla_influence.influence.trace_file import fingerprint
from nnabla_influence.options import Options, check_count
from nnabla_influence.progress import Progress, SilentProgress
from nnabla_influence.ranking import RELIABLE, ROUGH, Orders, Ranking, Scores, Verdict
from nnabla_influence.retraining.inputs import Config, CurveInputs, open_inputs
from nnabla_influence.retraining.seeded import seeded_training, train, training_seconds
from nnabla_influence.scoring.inputs import (
    Inputs,
    Request,
    check_output,
    check_request,
    read_inputs,
)
from nnabla_influence.scoring.scoring import ScoredTraining, score_training, with_suggestions
from nnabla_influence.scoring.window import Order
from nnabla_influence.text import seconds_text

_NO_START = "score one training, or save the file from Neural Network Console"


def score_trainings(
    model: PathLike,
    *,
    trainings: int,
    run: PathLike | None = None,
    train: PathLike | None = None,
    validation: PathLike | None = None,
    output: PathLike | None = None,
    parameters: PathLike | None = None,
    options: Options | None = None,
    seed: int = 0,
    device: str = "auto",
    jobs: int | str = 1,
    progress: Progress | None = None,
) -> Ranking:
    r"""Rank the rows of a training CSV by their mean influence over K trainings.

    One of them is the training that is given, if one is: a run, parameters, or a model file that
    holds trained ones. The others are new ones of the same definition, each with the initial values
    and the order of a seed. The standard error of a row's influence :math:`I_k` is
    :math:`\mathrm{sd}_k(I_k)/\sqrt{K}`: how far another K trainings would move it.

    Args:
        model: As for `nnabla_influence.score`, and so are all arguments but two.
        trainings: K, at least 2.
        run: Run folder of one of the trainings.
        train: The training CSV.
        validation: The validation CSV.
        output: The ranking CSV to write. Finished trainings' scores are kept beside it, so that the
            same call resumes.
        parameters: An .h5 with the parameters of one of the trainings.
        options: What each of them is scored by. With the method ``auto`` the one that is given
            chooses, so that all have the same.
        seed: Of the first new training; the others have the following ones.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        jobs: Worker processes, or the address of a Dask scheduler whose workers are used.
        progress: Where to report progress.

    Raises:
        InfluenceError: Something that the user can fix; see `nnabla_influence.errors`.
    """
    options, progress = options or Options(), progress or SilentProgress()
    check_count("trainings", trainings, 2)
    check_count("seed", seed, 0)
    request = Request(model, run, train, validation, output, parameters, Options(), device)
    check_request(request)
    past = run is not None or bool(load_definition(model, parameters).parameters)
    # What the scoring of a past training says need not be said twice.
    inputs = read_inputs(request, SilentProgress() if past else progress)
    check_output(inputs)
    seeds = range(seed, seed + trainings - past)
    with _results_folder(output) as folder, open_executor(jobs) as executor:
        config = _config(inputs, options)
        new = open_inputs(config)
        _check_same(inputs, new, seed)
        each = training_seconds(new, seed)
        progress.say(
            f"New trainings: {len(seeds)}, of about {seconds_text(each)} each, in all about"
            f" {seconds_text(each * len(seeds) / min(executor.places, len(seeds)))}, and their"
            " scores"
        )
        found = []
        if past:
            path = folder / f"{fingerprint(_past_of(inputs, options))}.npz"
            if not path.exists():
                request = dataclasses.replace(
                    inputs.with_paths(),
                    output=folder / "past.csv",  # beside which a killed trace resumes
                    options=options,
                )
                _write(path, score_training(request, jobs, progress, of_several=True))
            found.append(_read(path))
            options = dataclasses.replace(options, method=found[0].method.split()[0])
        tasks = {}
        for one in seeds:
            path = folder / f"{fingerprint(__version__, nn.__version__, config, one, options)}.npz"
            given = (config, one, options, str(path))
            tasks[path] = Task(f"seed {one}: train and score", train_and_score, given)
        run_missing(executor, tasks, "Train and score", progress)
        found += map(_read, tasks)
        ranking = _mean(inputs, found)
        if output is not None:
            ranking.write(output)
    return ranking


def train_and_score(config: Config, seed: int, options: Options, output: str) -> None:
    """Train from a seed, and write the scores of that training; its run is removed."""
    run = Path(output).with_suffix(".run")
    if not run.exists():
        train(open_inputs(config), seed, run)
    request = Request(
        config.model,
        run,
        config.training,
        config.validation,
        output=None,
        parameters=None,
        options=options,
        device=config.device,
    )
    _write(Path(output), score_training(request, 1, SilentProgress(), of_several=True))
    shutil.rmtree(run, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class _Scored:
    """The scores of one training, (N,) each, and what `Orders` says of them.

    Attributes:
        class_scores: As in `ScoredTraining`, and so are the gains, (N, C).
    """

    influence: np.ndarray
    times_seen: np.ndarray
    loss: np.ndarray
    predicted: np.ndarray | None
    class_scores: np.ndarray | None
    gains: np.ndarray | None
    method: str
    why: str
    word: str


def _write(path: Path, scored: ScoredTraining) -> None:
    scores, orders = scored.ranking.scores, scored.ranking.orders
    assert orders is not None
    assert orders.verdict is not None
    words = orders.origin.split()
    if words[0] in {order.value for order in Order}:
        del words[0]
    record = {
        "influence": scores.influence,
        "times_seen": scores.times_seen,
        "loss": scores.loss,
        "predicted": scores.predicted,
        "class_scores": scored.class_scores,
        "gains": scored.gains,
        "method": " ".join(words),
        "why": orders.why,
        "word": orders.verdict.word,
    }
    write(str(path), record)


def _read(path: Path) -> _Scored:
    found = read(path)
    return _Scored(
        influence=found["influence"],
        times_seen=found["times_seen"],
        loss=found["loss"],
        predicted=found.get("predicted"),
        class_scores=found.get("class_scores"),
        gains=found.get("gains"),
        method=str(found["method"]),
        why=str(found["why"]),
        word=str(found["word"]),
    )


def _mean(inputs: Inputs, found: Sequence[_Scored]) -> Ranking:
    methods = sorted({one.method for one in found})
    if len(methods) > 1:
        raise ScoreError(
            f"no ranking is written: some trainings were scored by {methods[0]}, others by"
            f" {methods[1]}, whose mean means nothing; name the method, or the target's class"
        )
    k = len(found)
    influence = np.stack([one.influence for one in found])
    predicted = [one.predicted for one in found if one.predicted is not None]
    rough = sum(one.word == ROUGH for one in found)
    verdict = Verdict(ROUGH, f"{rough} of {k} trainings") if rough else Verdict(RELIABLE)
    scores = Scores(
        influence=influence.mean(axis=0),
        influence_se=influence.std(axis=0, ddof=1) / np.sqrt(k),
        harmful_in=(influence < 0).sum(axis=0),
        times_seen=np.sum([one.times_seen for one in found], axis=0),
        loss=np.mean([one.loss for one in found], axis=0),
        predicted=together(inputs.definition, np.stack(predicted)) if predicted else None,
    )
    label = find_label(inputs.definition)
    gains = [one.gains for one in found if one.gains is not None]
    of_classes = [one.class_scores for one in found if one.class_scores is not None]
    if label is not None and len(gains) == len(of_classes) == k:
        means, given = np.mean(of_classes, axis=0), classes_of(inputs.train, label)
        scores = with_suggestions(scores, suggest(means, np.mean(gains, axis=0), given))
    orders = Orders(f"{k} trainings {methods[0]}", k, found[0].why, verdict)
    return Ranking(inputs.train, scores, orders=orders)


def together(definition: Definition, predicted: np.ndarray) -> np.ndarray:
    """Return what trainings predict together, (N,), of what each predicts, (K, N).

    A class is that of most of them, of the first of them where several are level; a value is their
    mean.
    """
    if find_label(definition) is None:
        return np.asarray(predicted.mean(axis=0))
    votes = (predicted[:, None] == predicted).sum(axis=0)
    return np.asarray(predicted[votes.argmax(axis=0), np.arange(predicted.shape[1])])


def _config(inputs: Inputs, options: Options) -> Config:
    check_start(inputs.definition, {}, _NO_START)
    config = Config(
        model=os.path.abspath(inputs.request.model),
        training=str(inputs.train.path),
        validation=str(inputs.validation.path),
        test=str(inputs.validation.path),
        batch_size=options.batch_size,
        device=inputs.request.device,
    )
    return dataclasses.replace(config, hashes=tuple(map(file_hash, config.files)))


def _check_same(inputs: Inputs, new: CurveInputs, seed: int) -> None:
    """Refuse a run of which the definition does not give another one."""
    if inputs.run is None or inputs.run.settings is None:
        return
    settings, steps = inputs.run.settings, seeded_training(new, seed).steps
    rate, own_rate = inputs.run.steps[-1].learning_rate, steps[-1].learning_rate
    for what, one, other in (
        ("solver", settings.solver, new.definition.solver.name),
        ("number of steps", settings.total_steps, len(steps)),
        ("last learning rate", rate, rate if math.isclose(rate, own_rate) else own_rate),
    ):
        if one is not None and one != other:
            raise RunError(
                f"{inputs.run.folder}: its {what} is {one}, but {other} by {new.definition.path},"
                " so new trainings would not be like it; give the file that it was trained with"
            )


def _past_of(inputs: Inputs, options: Options) -> list[object]:
    """Return what the scores of the given training depend on."""
    request, run = inputs.request, inputs.run
    paths = [request.model, inputs.train.path, inputs.validation.path]
    paths += [] if request.parameters is None else [request.parameters]
    if run is not None:
        paths += sorted(path for path in run.folder.iterdir() if path.is_file())
    return [__version__, nn.__version__, [*map(file_hash, paths)], request.device, options]


@contextlib.contextmanager
def _results_folder(output: PathLike | None) -> Iterator[Path]:
    """Yield where the trainings' scores are kept; it is removed when the block succeeds."""
    if output is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    target = Path(os.path.realpath(output))
    folder = target.with_name(f".{target.name}.trainings")
    with locked_folder(folder):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)
