"""One training of the experiment, a kind and a seed: its scores against retraining."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nnabla as nn
import numpy as np

from network_defs.samples import Network, Scheduler, Training, write_definition, write_digits
from network_defs.samples.sheet import Layer, Sheet
from nnabla_influence import Options, Sample, ValidationOptions
from nnabla_influence.definition import build_objective, load_definition
from nnabla_influence.device import choose_device
from nnabla_influence.errors import ScoreError
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.progress import SilentProgress
from nnabla_influence.retraining.agreement import (
    RowAgreement,
    SubsetAgreement,
    subset_agreement,
    subset_sums,
)
from nnabla_influence.retraining.validation import validate
from nnabla_influence.retraining.validation_result import Validation
from nnabla_influence.runs.run import Run
from nnabla_influence.scoring import score
from nnabla_influence.scoring.inputs import open_validation
from reproductions.lds_small_cnn.half import half_changes

RETEST = "retest"
METHODS: Mapping[str, Options] = {
    "exact": Options(method="exact", any_verdict=True),
    "final": Options(method="final", running_statistics=True, any_verdict=True),
    "final, batch statistics": Options(method="final", any_verdict=True),
}


@dataclass(frozen=True)
class Kind:
    """How the network is trained.

    Attributes:
        name: For the table.
        solver: Of nnabla.
        learning_rate: At the beginning.
        cosine: Whether it falls to 0 along a cosine; otherwise it stays.
        normalized: Whether a BatchNormalization follows each convolution.
    """

    name: str
    solver: str
    learning_rate: float
    cosine: bool = False
    normalized: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """The scores that are compared."""
        return tuple(METHODS) if self.normalized else tuple(METHODS)[:2]


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        n_training: Rows, a tenth of them with a wrong label.
        n_validation: Rows, whose mean loss is asked about.
        epochs: Of the training; the last is redone.
        batch_size: Of the training.
        rows: Left out one at a time.
        subsets: Of a tenth of the rows that the last epoch saw, left out together.
    """

    n_training: int = 1000
    n_validation: int = 500
    epochs: int = 20
    batch_size: int = 32
    rows: int = 20
    subsets: int = 50


def network(kind: Kind, maps: tuple[int, ...] = (4, 8)) -> Network:
    """Return two convolutions 5x5, each with ReLU and max pooling, and an affine layer."""

    def body(sheet: Sheet, x: Layer) -> Layer:
        for n_maps in maps:
            x = sheet.convolution(x, n_maps, 5)
            if kind.normalized:
                x = sheet.batch_normalization(x)
            x = sheet.max_pooling(sheet.relu(x), 2)
        return sheet.affine(x, 10)

    return Network((1, 28, 28), body)


def compute(kind: Kind, seed: int, size: Size) -> dict[str, Any]:
    """Train, score and retrain; return all figures, as JSON can hold them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_digits(
            folder / "data",
            n_training=size.n_training,
            n_validation=size.n_validation,
            flipped=0.1,
            seed=seed,
        )
        steps = size.epochs * (size.n_training // size.batch_size)
        settings = Training(
            n_rows=size.n_training,
            training_csv=str(data.training_csv),
            validation_csv=str(data.validation_csv),
            batch_size=size.batch_size,
            epochs=size.epochs,
            solver=kind.solver,
            learning_rate=kind.learning_rate,
            scheduler=Scheduler("Cosine", {"max_iter": steps}) if kind.cosine else Scheduler(),
        )
        definition = folder / "net.nntxt"
        write_definition(definition, network(kind), settings)
        run = train(definition, folder / "run", keep="sqrt", device="cpu")
        scores, failed = {}, {}
        for name in kind.methods:
            try:
                ranking = score(definition, run=run.folder, options=METHODS[name], device="cpu")
            except ScoreError as error:
                failed[name] = str(error).split(";")[0]
                continue
            scores[name] = ranking.scores.influence
        found = validate(
            definition,
            run=run.folder,
            scores=scores,
            options=ValidationOptions(
                sample=Sample(rows=size.rows, subsets=size.subsets, leave=0.1, seed=seed)
            ),
            device="cpu",
        )
        changes = half_changes(definition, run, found.subsets)
        return {
            "accuracy": accuracy(definition, run),
            "loss": found.base.loss,
            "difference": found.base.difference,
            "steps": found.window.n_steps,
            "failed": failed,
            "agreement": agreement(found),
            "half": {
                **{k: _lds(subset_sums(v, found.subsets), changes) for k, v in scores.items()},
                RETEST: _lds(found.subset_changes, changes),
            },
        }


def agreement(found: Validation) -> dict[str, dict[str, float | None]]:
    """Return the figures of each score, and of the retest."""
    subsets: dict[str, SubsetAgreement | None]
    rows: dict[str, RowAgreement | None]
    subsets = {**found.subset_agreements, RETEST: found.subset_retest}
    rows = {**found.row_agreements, RETEST: found.row_retest}
    of_all = {}
    for name, of_subsets in subsets.items():
        of_rows, retest = rows[name], subsets[RETEST]
        assert of_subsets is not None
        assert of_rows is not None
        assert retest is not None
        figures = {
            **asdict(of_subsets),
            "lds_over_retest": of_subsets.lds / retest.lds,
            "tau": of_rows.kendall_tau,
            "slope": of_rows.slope,
        }
        of_all[name] = {k: v if math.isfinite(v) else None for k, v in figures.items()}
    return of_all


def _lds(sums: np.ndarray, changes: np.ndarray) -> float:
    return subset_agreement(sums, changes).lds


def accuracy(definition_path: Path, run: Run) -> float:
    """Return the share of the validation rows that the run's final parameters get right."""
    definition, context = load_definition(definition_path), choose_device("cpu").context
    data = open_validation(definition, None, SilentProgress())
    objective = build_objective(definition, len(data), context, run.parameters())
    batch = data.batch(np.arange(len(data)))
    with nn.context_scope(context):
        for column, variable in objective.inputs.items():
            variable.d = batch[column]
        assert objective.prediction is not None
        objective.prediction.forward()
        return float(np.mean(objective.prediction.d == batch["y"][:, 0]))
