"""What the user can choose: one class for each of `score`, `validate`, `curve` and `Recorder`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from nnabla_influence.errors import InfluenceError
from nnabla_influence.files import PathLike

RANDOM = "random"
RANKINGS = ("final", "exact-last", "exact", "influence-functions", "loss", RANDOM)
"""Of a removal curve, in the order of its tables and figures."""
PROTOCOLS = ("all", "last")
METHODS = ("auto", "exact", "final", "influence-function")
TARGETS = ("loss", "error", "q-loss", "margin")
CURVATURES = ("hessian", "gauss-newton")
ATTRIBUTION_NAMES = {"gradcam": "Grad-CAM", "lime": "LIME"}
ATTRIBUTIONS = ("auto", *ATTRIBUTION_NAMES)

Amount = Union[int, float]
"""Rows: a number from 1, or a fraction of all."""


@dataclass(frozen=True)
class Options:
    """What the user can choose when scoring; the values are checked.

    Attributes:
        method: ``final``: every step at the final parameters (Suzuki et al.); ``exact``: each step
            at its own, as the training had them (Hara et al., for any solver); ``auto``: exact
            where the run has checkpoints or the training can be replayed within
            ``replay_budget``, else final; ``influence-function``: of the optimum that the final
            parameters stand for (Koh and Liang), without window and steps.
        window: ``last`` epoch, ``all`` known epochs of the training, or a number of last epochs.
        validation_rows: Rows of the validation CSV whose mean loss is the target; None for all.
        target: What the mean over the validation rows is taken of, one of `TARGETS`
            (`nnabla_influence.influence.targets`): ``loss``, or a bounded part of it that a few
            hopeless rows do not decide. Or a function of losses (n,) that returns the value and the
            slope of each.
        target_class: Only the validation rows of this class; ``worst`` for the class with the
            highest mean loss.
        curvature: ``hessian`` or ``gauss-newton``, the matrix by which a row's effect spreads; None
            for the method's own: Gauss-Newton for ``influence-function``, else the Hessian, to
            which ``exact`` and ``auto`` are bound.
        batch_size: Of the training, if the model file does not give it.
        n_trials: Shuffled orders to average if the order of training is not known.
        running_statistics: For ``final``: batch normalisations with their running statistics, as
            in inference, instead of those of each mini-batch, as in training, which are closer to
            retraining. ``exact`` always uses those of each mini-batch.
        replay_budget: Minutes that ``auto`` may spend on replaying a training without checkpoints;
            0 for never.
        any_verdict: Call scores ``rough`` that would otherwise not be written; for experiments,
            such as removal curves, that measure what scores are worth.
        chunk_size: Examples per forward pass; trades memory for speed, and does not change the
            scores. None for one that suits the network.

    Raises:
        InfluenceError: A value is none of these.
    """

    method: str = "auto"
    window: str | int = "last"
    validation_rows: Sequence[int] | None = None
    target: str | Callable[[Any], Any] = "loss"
    target_class: int | str | None = None
    curvature: str | None = None
    batch_size: int | None = None
    n_trials: int | None = None
    running_statistics: bool = False
    replay_budget: float = 10
    any_verdict: bool = False
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("method", self.method, METHODS),
            ("target", TARGETS[0] if callable(self.target) else self.target, TARGETS),
            ("curvature", self.curvature or CURVATURES[0], CURVATURES),
        ):
            if value not in known:
                raise InfluenceError(f"{name} {value!r} is unknown; use one of {', '.join(known)}")
        if self.curvature is not None and self.method in ("auto", "exact"):
            raise InfluenceError(
                f"curvature {self.curvature!r} does not go with method {self.method}; use method"
                " final or influence-function"
            )
        if self.method == "influence-function" and self.window != "last":
            raise InfluenceError(
                f"window {self.window!r} does not go with method influence-function, which traces"
                " no steps; omit it, or use method final or exact"
            )
        if self.target_class not in (None, "worst"):
            check_count("target_class", self.target_class, 0)
        if not self.replay_budget >= 0:
            raise InfluenceError(f"replay_budget {self.replay_budget!r} is not a time in minutes")
        _check_target(self.window, self.validation_rows)
        for name in ("batch_size", "n_trials", "chunk_size"):
            value = getattr(self, name)
            if value is not None:
                check_count(name, value)

    @property
    def epochs(self) -> int | None:
        """The window as a number of last epochs; None for all."""
        return _epochs(self.window)

    @property
    def gauss_newton(self) -> bool:
        """Whether the Gauss-Newton matrix takes the Hessian's place."""
        own = "gauss-newton" if self.method == "influence-function" else "hessian"
        return (self.curvature or own) == "gauss-newton"


@dataclass(frozen=True)
class Sample:
    """What `validate` leaves out.

    Attributes:
        rows: How many rows to leave out one at a time; 0 for none, None for 50, or as many as the
            window uses.
        subsets: How many subsets to leave out; 0 for none.
        leave: Rows of a subset: a number of rows, or a fraction of those that the window uses.
        seed: Draws them. More rows, or more subsets, with the same seed contain the fewer.
        retest: Whether everything is retrained again with nine tenths of the gradients left out, to
            see how reliable the true changes are.

    Raises:
        InfluenceError: A value is not one of these.
    """

    rows: int | None = None
    subsets: int = 50
    leave: Amount = 0.1
    seed: int = 0
    retest: bool = True

    def __post_init__(self) -> None:
        for name, value in (("rows", self.rows), ("subsets", self.subsets), ("seed", self.seed)):
            if value is not None:
                check_count(name, value, 0)
        if not (is_count(self.leave) or (isinstance(self.leave, float) and 0 < self.leave < 1)):
            raise InfluenceError(
                f"leave {self.leave!r} is neither a number of rows from 1 nor a fraction between 0"
                " and 1"
            )
        if self.rows == 0 and self.subsets == 0:
            raise InfluenceError(
                "0 rows and 0 subsets leave nothing to validate; use some of either"
            )
        for name, value in (("rows", self.rows), ("subsets", self.subsets)):
            if value == 1:
                raise InfluenceError(f"{name} 1: one of them has no order; use more, or 0")


@dataclass(frozen=True)
class ValidationOptions:
    """What the user can choose when validating scores; the values are checked.

    Attributes:
        window: Steps to retrain: of the ``last`` epoch, of ``all`` epochs that the run holds, or
            of a number of last epochs.
        validation_rows: Rows of the validation CSV whose mean loss is used; None for all.
        sample: How many rows and subsets to leave out.
        command: What the user typed, for the reader of ``result.json``.

    Raises:
        InfluenceError: A value is none of these.
    """

    window: str | int = "last"
    validation_rows: Sequence[int] | None = None
    sample: Sample = dataclasses.field(default_factory=Sample)
    command: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check_target(self.window, self.validation_rows)

    @property
    def epochs(self) -> int | None:
        """The window as a number of last epochs; None for all."""
        return _epochs(self.window)


@dataclass(frozen=True)
class CurveOptions:
    """What the user can choose of a removal curve; the values are checked.

    Attributes:
        seeds: Each draws its own initial parameters and order of the mini-batches.
        rankings: Names out of `RANKINGS`.
        removed: How many rows to remove: numbers, or fractions of all.
        protocols: ``all``: retrain from the start, same seed and order, without the rows'
            gradients; ``last``: retrain the last epoch without them.
        batch_sizes: Of the trainings; None for the definition's.
        parameters: An .h5 that every seed starts from; None where each draws its own.
        true_label: Header of the training CSV's column of true labels, where flips are known; None
            for ``#true_label``, if it exists.
        running_statistics: For the ranking ``final``: batch normalisations with their running
            statistics instead of those of each mini-batch.
        title: Of the figures; None for the name of the model file.
        command: What the user typed, for the reader of ``settings.json``.

    Raises:
        InfluenceError: No seed, ranking or protocol is chosen, or one is unknown.
    """

    seeds: Sequence[int] = range(5)
    rankings: Sequence[str] = ("final", "exact-last", "loss", RANDOM)
    removed: Sequence[Amount] = (0.01, 0.02, 0.05, 0.1, 0.2)
    protocols: Sequence[str] = ("all",)
    batch_sizes: Sequence[int] | None = None
    parameters: PathLike | None = None
    true_label: str | None = None
    running_statistics: bool = False
    title: str | None = None
    command: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for what, chosen, known in (
            ("seed", self.seeds, None),
            ("ranking", self.rankings, RANKINGS),
            ("protocol", self.protocols, PROTOCOLS),
        ):
            if not chosen:
                raise InfluenceError(f"no {what} is chosen; choose at least one")
            for value in chosen:
                if known is None:
                    check_count(what, value, 0)
                elif value not in known:
                    raise InfluenceError(
                        f"{what} {value!r} is unknown; choose from {', '.join(known)}"
                    )


@dataclass(frozen=True)
class AttributionOptions:
    """How the parts of a row are weighed; the values are checked.

    Attributes:
        method: ``gradcam``, ``lime`` or ``auto``: gradcam where the network classifies pictures
            with convolutions, else nothing.
        layer: For gradcam, the layer's name; None for what the last convolution leads to.
        samples: For lime, how many changed rows the network is given.
        seed: For lime, of the changes.

    Raises:
        InfluenceError: A value is none of these.
    """

    method: str = "gradcam"
    layer: str | None = None
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ATTRIBUTIONS:
            known = ", ".join(ATTRIBUTIONS)
            raise InfluenceError(f"explain {self.method!r} is unknown; use one of {known}")
        check_count("samples", self.samples)
        check_count("seed", self.seed, 0)
        if self.layer is not None and self.method == "lime":
            raise InfluenceError(f"layer {self.layer!r} does not go with lime; use gradcam")


@dataclass(frozen=True)
class AdviceOptions:
    """What the user can choose of an advice; the values are checked.

    Attributes:
        trainings: K, that rank the rows.
        retrainings: That confirm a change, each with and without it.
        target: Of the ranking: ``loss``, ``error``, ``q-loss`` or ``margin``.
        seed: Of the first training; the others have the following ones.

    Raises:
        InfluenceError: A value is none of these.
    """

    trainings: int = 5
    retrainings: int = 5
    target: str = "q-loss"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trainings", 2), ("retrainings", 2), ("seed", 0)):
            check_count(name, getattr(self, name), least)
        if self.target not in TARGETS:
            raise InfluenceError(
                f"target {self.target!r} is unknown; choose from {', '.join(TARGETS)}"
            )


@dataclass(frozen=True)
class RecorderOptions:
    """What a `Recorder` keeps of the training, and what the training loop does not show it.

    Attributes:
        window: Epochs to keep, counted from the end; ``"last"`` for one, ``"all"`` for every step.
        keep: Checkpoints to keep beside the final state: none (``"final"``), about the square root
            of the steps (``"sqrt"``), or one before every step (``"all"``).
        steps_per_epoch: Solver updates per epoch. By default epochs are counted back from the end:
            the last one is the last updates that hold no more than ``n_rows`` rows.
        total_steps: Solver updates of the whole training, so that ``keep="sqrt"`` spaces the
            checkpoints exactly; by default they thin out during the training. A window of a number
            of epochs needs ``steps_per_epoch`` too.
        parameters: All parameters that the network reads, by the names of the network definition;
            by default those of the current parameter scope.
        definition: Path of a network definition of your own, in place of inputs and loss.
        network: Name of the network in it.
        keep_on_error: Write the run also where the block ends with an exception, such as the
            KeyboardInterrupt of Ctrl-C.
    """

    window: str | int = 2
    keep: str = "sqrt"
    steps_per_epoch: int | None = None
    total_steps: int | None = None
    parameters: Mapping[str, Any] | None = None
    definition: str | None = None
    network: str | None = None
    keep_on_error: bool = False


def _check_target(window: str | int, validation_rows: Sequence[int] | None) -> None:
    if window not in ("last", "all") and not is_count(window):
        raise InfluenceError(f"window {window!r} is not last, all or a number of epochs from 1")
    if validation_rows is not None and not len(validation_rows):
        raise InfluenceError("validation_rows is empty; give some rows or omit it")


def _epochs(window: str | int) -> int | None:
    return {"last": 1, "all": None}.get(window, window)  # type: ignore[arg-type]


def is_count(value: object, least: int = 1) -> bool:
    """Whether a value is a whole number from ``least``; True is not the number 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse a value that is not a whole number from ``least``.

    Raises:
        InfluenceError: It names the value and ``name``.
    """
    if not is_count(value, least):
        raise InfluenceError(f"{name} {value!r} is not a whole number from {least}")
