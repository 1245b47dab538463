"""A case's training: what it answers, what could have caused that, and trainings without it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import nnabla as nn
import numpy as np

from nnabla_influence import Options, explain, score
from nnabla_influence.definition import build_objective
from nnabla_influence.engine import Engine, build_engine
from nnabla_influence.explanation import causes
from nnabla_influence.influence import influence_functions
from nnabla_influence.retraining.inputs import Config, CurveInputs, open_inputs
from nnabla_influence.retraining.retraining import Parameters, Retraining
from nnabla_influence.retraining.seeded import Changes, seeded_training, train
from nnabla_influence.runs.run import read_run
from reproductions.explain.cases import Case, Written

N_ROWS = {"MLP": 16, "LeNet": 8}
"""Wrongly predicted test rows of a training."""
OTHERS = 2
"""Trainings from other seeds whose influence is averaged with the training's own."""
BLOCK = 250

OWN, LESS = causes.HOW.damping, 1.0
"""The damping that `explain` has, and the one that it had at first, in mean eigenvalues."""


class Trained:
    """The training of a case, from the case's seed, and a sample of its wrong answers.

    Attributes:
        rows: Test rows that it predicts wrongly, int64 (R,).
        given: Their labels, which are right, (R,).
        predicted: (R,).
        accuracy: On all test rows.
    """

    def __init__(self, case: Case, written: Written, folder: Path):
        self._case, self._written, self._folder = case, written, folder
        self._config = Config(
            model=str(written.model),
            training=str(written.training),
            validation=str(written.test),
            test=str(written.test),
            device="cpu",
        )
        self._inputs = open_inputs(self._config)
        test = self._inputs.test
        parameters = read_run(self._run(case.seed)).parameters()
        everything = np.arange(len(test))
        labels = test.batch(everything)["y"].reshape(-1).astype(np.int64)
        predicted = self._logits(parameters, "test").argmax(1)
        wrong = np.flatnonzero(predicted != labels)
        drawn = np.random.default_rng([case.seed, 1]).permutation(wrong)[: N_ROWS[case.network]]
        self.rows = np.sort(drawn)
        self.given, self.predicted = labels[self.rows], predicted[self.rows]
        self.accuracy = float((predicted == labels).mean())
        self._parameters = parameters
        self._known: dict[tuple[int, float], np.ndarray] = {}

    # Trainings

    def retrained(self, changes: Changes, seed: int | None = None) -> Parameters:
        """Return the parameters of a training on a CSV with changes, from the same seed."""
        seed = self._case.seed if seed is None else seed
        training = seeded_training(self._inputs, seed, changes)
        training.trainer.start(training.start)
        for step in training.steps:
            training.trainer.step(step, training.inputs)
        return training.trainer.checkpoint().parameters

    def without_gradients(self, removed: np.ndarray) -> Parameters:
        """Return those of the same training, mini-batch by mini-batch, without some rows."""
        training = seeded_training(self._inputs, self._case.seed)
        n_rows = len(self._inputs.training)
        return Retraining(
            training.trainer, training.start, training.steps, training.inputs, n_rows
        ).without(removed.tolist())

    def right(self, parameters: Parameters, rows: np.ndarray) -> np.ndarray:
        """Return whether each of some test rows is predicted rightly, bool."""
        _, right = self._inputs.evaluator.evaluate(parameters, self._inputs.test.batch, rows)
        assert right is not None
        return right

    # What a user would look at; the worst first

    def order(self, name: str) -> np.ndarray:
        """Return for each evaluated row all training rows by one of `ORDERS`, int64 (R, N)."""
        badness = np.broadcast_to(ORDERS[name](self), (len(self.rows), len(self._given)))
        return np.argsort(-badness, axis=1, kind="stable")

    def suggested(self) -> np.ndarray:
        """Return each training row's best other class by the network, int64 (N,)."""
        logits = self._logits(self._parameters, "training")
        np.put_along_axis(logits, self._given[:, None], -np.inf, axis=1)
        return logits.argmax(1)

    @property
    def _given(self) -> np.ndarray:
        return self._written.given

    def harm(self, damping: float = OWN) -> np.ndarray:
        """Order by `explain`, with its own damping or another one."""
        return -self._explained(self._case.seed, damping)

    def mean_harm(self, damping: float) -> np.ndarray:
        """Order by the mean of what `explain` says of several trainings."""
        first = self._case.seed + 50
        seeds = [self._case.seed, *range(first, first + OTHERS)]
        return -np.mean([self._explained(seed, damping) for seed in seeds], axis=0)

    def _explained(self, seed: int, damping: float) -> np.ndarray:
        if (seed, damping) not in self._known:
            model, rows, run = self._written.model, self.rows.tolist(), self._run(seed)
            how = causes.HOW if damping == OWN else influence_functions.GaussNewton(damping)
            with mock.patch.object(causes, "HOW", how):
                found = explain(model, rows=rows, run=run, device="cpu")
            self._known[seed, damping] = found.influence
        return self._known[seed, damping]

    def gradient(self) -> np.ndarray:
        """Order by the product of the gradients, without curvature."""
        return -self._along(self._gradients(self.given))

    def loss(self) -> np.ndarray:
        """Order by the row's own loss."""
        logits = self._logits(self._parameters, "training")
        logits -= logits.max(1, keepdims=True)
        given = np.take_along_axis(logits, self._given[:, None], axis=1)[:, 0]
        return np.asarray(np.log(np.exp(logits).sum(1)) - given)

    def loss_of_class(self) -> np.ndarray:
        """Order by the row's own loss, those of the predicted class first."""
        return self._only(self.loss(), self._given == self.predicted[:, None])

    def nearest_of_class(self) -> np.ndarray:
        """Order by nearness, those of the predicted class first."""
        return self._only(self._nearness(), self._given == self.predicted[:, None])

    def nearest_of_others(self) -> np.ndarray:
        """Order by nearness, those of another class than the right one first."""
        return self._only(self._nearness(), self._given != self.given[:, None])

    # Variants of the influence

    def harm_of_class(self, damping: float) -> np.ndarray:
        """Order by `explain`, those of the predicted class first."""
        return self._only(self.harm(damping), self._given == self.predicted[:, None])

    def harm_damped_as_trained(self) -> np.ndarray:
        """Order by `explain` with the damping that so many steps of Sgd amount to.

        On a quadratic loss T steps of rate r go as far in a direction of curvature c as
        (1 - (1 - r c)^T) / c, which is about 1 / (c + 1 / (T r)).
        """
        steps = read_run(self._run(self._case.seed)).steps
        rates = sum(step.learning_rate for step in steps)
        matrix = influence_functions._Matrix
        with mock.patch.object(matrix, "mean_eigenvalue", return_value=1 / rates):
            return self.harm(1.0)

    def harm_of_margin(self, damping: float) -> np.ndarray:
        """Order by the influence on the predicted class's logit less the right one's."""
        v = self._gradients(self.given) - self._gradients(self.predicted)
        found = influence_functions.solve(
            self._engine,
            self._inputs.training.batch,
            np.arange(len(self._given)),
            v,
            "gauss-newton",
            how=influence_functions.GaussNewton(damping),
            with_outputs=False,
        )
        return -found.influence

    def trace(self, method: str) -> np.ndarray:
        """Order by a trace of the whole training, exact or at the final parameters."""
        options = Options(method=method, window="all", any_verdict=True)
        return -np.stack([self._scored(options, int(row)) for row in self.rows])

    def _scored(self, options: Options, row: int) -> np.ndarray:
        return score(
            self._written.model,
            run=self._run(self._case.seed),
            options=dataclasses.replace(options, validation_rows=[row]),
            device="cpu",
        ).scores.influence

    # What these need

    def _run(self, seed: int) -> Path:
        run = self._folder / f"run-{seed}"
        if not run.exists():
            train(self._inputs, seed, run)
        return run

    @functools.cached_property
    def _engine(self) -> Engine:
        inputs = self._inputs
        objective = build_objective(
            inputs.definition, BLOCK, inputs.device.context, self._parameters
        )
        return build_engine(objective, inputs.device.context)

    def _logits(self, parameters: Parameters, part: str) -> np.ndarray:
        return self._forward(parameters, part, lambda outputs: outputs)

    def _nearness(self) -> np.ndarray:
        """Return the cosine of what the last layer reads, (R, N)."""
        training, test = (
            self._forward(self._parameters, part, lambda outputs: outputs.parent.inputs[0])
            for part in ("training", "test")
        )
        training, test = (
            features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-30)
            for features in (training, test[self.rows])
        )
        return np.asarray(test @ training.T)

    def _forward(
        self, parameters: Parameters, part: str, of: Callable[[nn.Variable], nn.Variable]
    ) -> np.ndarray:
        inputs: CurveInputs = self._inputs
        dataset = inputs.training if part == "training" else inputs.test
        context = inputs.device.context
        objective = build_objective(inputs.definition, BLOCK, context, parameters)
        assert objective.outputs is not None
        variable, found = of(objective.outputs), []
        for start in range(0, len(dataset), BLOCK):
            x = dataset.batch(np.arange(start, min(start + BLOCK, len(dataset))))["x"]
            with nn.context_scope(context):
                objective.inputs["x"].d = np.resize(x, (BLOCK, *x.shape[1:]))
                variable.forward()
            found.append(np.array(variable.d[: len(x)], np.float64).reshape(len(x), -1))
        return np.concatenate(found)

    def _gradients(self, labels: np.ndarray) -> np.ndarray:
        """Return the gradient of each evaluated row's loss if it had some label, (R, p)."""
        engine, gradients = self._engine, []
        for row, label in zip(self.rows, labels):
            batch: Mapping[str, np.ndarray] = self._inputs.test.batch(np.array([row]))
            batch = {**batch, "y": np.full_like(batch["y"], label)}
            v = engine.zeros()
            engine.add_gradient(batch, np.ones(1), v)
            gradients.append(v.data.astype(np.float64))
        return np.stack(gradients)

    def _along(self, v: np.ndarray) -> np.ndarray:
        """Return the product of each training row's gradient with each v, (R, N)."""
        engine, n_rows, found = self._engine, len(self._given), []
        a = nn.NdArray.from_numpy_array(v.astype(np.float32))
        h = nn.NdArray.from_numpy_array(np.zeros(v.shape, np.float32))
        for start in range(0, n_rows, BLOCK):
            rows = np.arange(start, min(start + BLOCK, n_rows))
            batch = self._inputs.training.batch(rows)
            found.append(engine.add_products(batch, np.zeros(len(rows)), a, h).losses)
        return np.concatenate(found, axis=1)

    @staticmethod
    def _only(badness: np.ndarray, some: np.ndarray) -> np.ndarray:
        return np.where(some, badness, -np.inf)


ORDERS: Mapping[str, Callable[[Trained], np.ndarray]] = {
    "influence": Trained.harm,
    "gradients": Trained.gradient,
    "nearest, predicted class": Trained.nearest_of_class,
    "nearest, other class": Trained.nearest_of_others,
    "loss, predicted class": Trained.loss_of_class,
    "loss": Trained.loss,
    "less damped": lambda trained: trained.harm(LESS),
    "less damped, mean of 3 trainings": lambda trained: trained.mean_harm(LESS),
    "less damped, predicted class": lambda trained: trained.harm_of_class(LESS),
    "less damped, on the margin": lambda trained: trained.harm_of_margin(LESS),
    "still less damped": lambda trained: trained.harm(0.1),
    "more damped": lambda trained: trained.harm(100.0),
    "damped by 1 / sum of rates": Trained.harm_damped_as_trained,
    "final, all steps": lambda trained: trained.trace("final"),
    "exact, all steps": lambda trained: trained.trace("exact"),
}
"""By name, how bad each training row is for each evaluated row, (R, N) or (N,)."""
