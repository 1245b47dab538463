"""Small trainings by nnabla_cli, for the tests of exact traces: recorded, and watched by nnabla."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np

from nnabla_influence.definition import SolverSettings, load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.runs.checkpoint import Checkpoint, write_checkpoints
from nnabla_influence.runs.run import read_run, write_run
from nnabla_influence.runs.steps import Step
from nnabla_influence.scoring.replay import replay_training
from nnabla_influence.solvers import STATE_NAMES, SolverState
from tests.definition.definitions import python_proto, write_text
from tests.training_data import _step_schedule, arrays_of, linear_data, run_nnabla_cli, write_csv

N, N_VALIDATION, EPOCHS = 23, 9, 3
"""In batches of 5: the fifth of an epoch straddles into the next one."""


def _hidden(v: Any) -> Any:
    return F.tanh(PF.affine(v["x"], 4, name="h"))


def mlp(v: Any) -> Any:
    """A smooth network, one squared error an example."""
    return F.squared_error(PF.affine(_hidden(v), 1, name="out"), v["t"])


def mlp_normalized(v: Any, batch_stat: bool = True) -> Any:
    h = PF.affine(v["x"], 4, name="h")
    h = F.tanh(PF.batch_normalization(h, batch_stat=batch_stat, name="n"))
    return F.squared_error(PF.affine(h, 1, name="out"), v["t"])


def mlp_two_losses(v: Any) -> Any:
    """Of different shapes, so that each has a mean of its own."""
    o = PF.affine(_hidden(v), 2, name="out")
    return {"fit": F.squared_error(o, F.broadcast(v["t"], o.shape)), "size": F.sum(o**2, axis=1)}


def mlp_scalar(v: Any) -> Any:
    """As a script saves it, which takes the mean itself."""
    return F.mean(mlp(v))


def adamw(proto: Any) -> None:
    solver = proto.optimizer[0].solver
    parameter = solver.adamw_param  # nnabla.utils.save writes none of these
    parameter.alpha, parameter.beta1, parameter.beta2 = 0.05, 0.75, 0.875
    parameter.eps, parameter.wd = 1e-4, 0.01
    solver.lr_scheduler_type = "Exponential"
    solver.exponential_scheduler_param.gamma = 0.8
    solver.exponential_scheduler_param.iter_interval = 2


@dataclass(frozen=True)
class Kind:
    """What to train, and how."""

    solver: Callable[[], Any]
    network: Callable[[Any], Any] = mlp
    validation: Callable[[Any], Any] | None = None
    edit: Callable[[Any], None] | None = None
    optimizer: dict[str, Any] = field(default_factory=dict)
    epochs: int = EPOCHS


KINDS = {
    "sgd": Kind(lambda: S.Sgd(0.2), optimizer={"weight_decay": 0.02}),
    "momentum": Kind(lambda: S.Momentum(0.05), optimizer={"lr_decay": 0.9, "lr_decay_interval": 2}),
    "adam": Kind(lambda: S.Adam(0.05, eps=1e-4), optimizer={"update_interval": 2}),
    # nnabla_cli puts the solver's states into the .nnp of every fifth epoch.
    "adam, five epochs": Kind(lambda: S.Adam(0.05, eps=1e-4), epochs=5),
    "adamw": Kind(lambda: S.AdamW(), edit=adamw),
    "batchnorm": Kind(
        lambda: S.Momentum(0.05),
        mlp_normalized,
        lambda v: mlp_normalized(v, batch_stat=False),  # else the monitor moves the statistics
        optimizer={"weight_decay": 0.01},
    ),
    "schedule": Kind(lambda: S.Sgd(0.2), edit=_step_schedule),
    "two losses": Kind(lambda: S.Sgd(0.05), mlp_two_losses),
    "scalar": Kind(lambda: S.Sgd(0.2), mlp_scalar),
}
RECORDED = ("sgd", "momentum", "adam", "batchnorm")


@dataclass(frozen=True)
class Watched:
    """One training.

    ``states`` holds nnabla's own files of parameters and solver states after each mini-batch of the
    training without our callback, ``0`` being before the first; ``plain`` its output folder.
    """

    folder: Path
    batches_per_update: int
    epochs: int

    @property
    def definition(self) -> Path:
        return self.folder / "net.nntxt"

    @property
    def plain(self) -> Path:
        return self.folder / "plain"

    @property
    def final(self) -> Path:
        return self.plain / f"results_current_{self.epochs}.nnp"

    @property
    def n_steps(self) -> int:
        return self.epochs * (N // 5) // self.batches_per_update

    @property
    def training(self) -> Path:
        return self.folder / "train.csv"

    def run(self, keep: str) -> Path:
        return self.folder / keep / "run"

    def seen_by_nnabla(self, step: int) -> Checkpoint:
        """The state before an update, as nnabla saved it."""
        path = self.folder / "states"
        i = step * self.batches_per_update
        parameters = arrays_of(path / f"{i}.h5")
        values: dict[str, dict[str, np.ndarray]] = {}
        counts = set()
        for key, value in arrays_of(path / f"{i}.states.h5").items():
            name, _, kind = key.rpartition("/")
            if kind == "t":
                counts.add(int(value))
            else:
                values.setdefault(kind, {})[name] = value
        (t,) = counts
        return Checkpoint(step, parameters, SolverState(t, values))


@functools.cache
def watched_trainings(base: Path) -> dict[str, Watched]:
    """Train every kind, once for all tests, in one process.

    Args:
        base: The session's temporary folder.
    """
    base = base / "watched"
    trainings, jobs = {}, []
    for number, (name, kind) in enumerate(KINDS.items()):
        folder = base / f"{number}"
        folder.mkdir(parents=True)
        write_project(folder, kind)
        trainings[name] = Watched(folder, kind.optimizer.get("update_interval", 1), kind.epochs)
        (folder / "states").mkdir()
        job = {"config": str(folder / "net.nntxt")}
        jobs.append(
            {
                **job,
                "outdir": str(folder / "plain"),
                "recorded": False,
                "noted": str(folder / "states"),
            }
        )
        for keep in ("all", "sqrt", "final") if name in RECORDED else ("all",):
            variables = {"NNABLA_INFLUENCE_KEEP": keep, "NNABLA_INFLUENCE_WINDOW": "all"}
            jobs.append({**job, "outdir": str(folder / keep), "variables": variables})
    run_nnabla_cli(base, jobs)
    return trainings


@functools.cache
def done_again(base: Path) -> Path:
    """Return what a command leaves that is killed behind doing the Adam training again."""
    training = watched_trainings(base)["adam"]
    folder = base / "done again"
    folder.mkdir()
    definition = load_definition(training.final)
    replay_training(
        *(definition, definition.parameters, training.training, training.training),
        folder / "run",
        device="cpu",
        window=None,
        progress=Said(),
    )
    return folder


def write_project(folder: Path, kind: Kind) -> Path:
    """Write net.nntxt, train.csv and valid.csv."""
    x, y = linear_data(N + N_VALIDATION)
    write_csv(folder / "train.csv", x[:N], y[:N])
    write_csv(folder / "valid.csv", x[N:], y[N:])
    proto, _ = python_proto(
        kind.network, solver=kind.solver(), validation=kind.validation, **kind.optimizer
    )
    proto.training_config.max_epoch = kind.epochs
    proto.training_config.iter_per_epoch = N // 5
    proto.global_config.default_context.backends.append("cpu:float")
    proto.global_config.default_context.array_class = "CpuCachedArray"
    for dataset in proto.dataset:
        dataset.uri = str(folder / dataset.uri)
    for variable in proto.network[0].variable:
        if variable.type != "Parameter":
            continue
        if variable.name.endswith("/W"):  # nnabla.utils.save names no initial values
            variable.initializer.type, variable.initializer.multiplier = "Normal", 0.5
        else:
            one = variable.name.endswith(("gamma", "var"))
            variable.initializer.type, variable.initializer.multiplier = "Constant", int(one)
    (optimizer,) = proto.optimizer
    proto.monitor.add(
        name="valid_error",
        network_name=proto.network[-1].name,
        dataset_name=["Validation"],
        data_variable=optimizer.data_variable,
        monitor_variable=[{"variable_name": optimizer.loss_variable[0].variable_name}],
    )
    if kind.edit is not None:
        kind.edit(proto)
    return write_text(folder / "net.nntxt", proto)


def equal(got: Checkpoint, wanted: Checkpoint) -> None:
    """Assert that two states are the same, to the bit."""
    assert (got.step, got.solver.t) == (wanted.step, wanted.solver.t)
    assert set(got.parameters) == set(wanted.parameters)
    for name, value in wanted.parameters.items():
        np.testing.assert_array_equal(got.parameters[name], value, name, strict=True)
    assert set(got.solver.values) == set(wanted.solver.values)
    for state, values in wanted.solver.values.items():
        assert set(got.solver.values[state]) == set(values)
        for name, value in values.items():
            np.testing.assert_array_equal(got.solver.values[state][name], value, strict=True)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Read one of the CSVs, by column."""
    values = np.loadtxt(path, delimiter=",", skiprows=1)
    return {"x": values[:, :3], "y": values[:, 3:]}


def fetch_from(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    data = arrays(path)
    return lambda rows: {column: values[rows] for column, values in data.items()}


class Said:
    """A progress that notes what is said and how many steps are traced; it may fail in one."""

    def __init__(self, fail_at: int | None = None, error: type[BaseException] = RuntimeError):
        self.lines: list[str] = []
        self.stages: list[str] = []
        self.n_traced, self._fail_at, self._error = 0, fail_at, error

    def say(self, message: str) -> None:
        self.lines.append(message)

    def stage(self, description: str, total: int, unit: str = "it") -> Any:
        said = self
        self.stages.append(description)

        class Stage:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                pass

            def update(self, n: int = 1) -> None:
                if description == "Trace back":
                    said.n_traced += n
                    if said.n_traced == said._fail_at:
                        raise said._error("the end")

        return Stage()


def trained_otherwise(
    training: Watched, folder: Path, solver: SolverSettings, steps: Sequence[Step]
) -> Path:
    """Train from the same beginning by another solver or other steps, with every state kept."""
    run = read_run(training.run("all"))
    definition = load_definition(training.definition)
    start = run.checkpoint(0)
    zeros = {
        state: {name: np.zeros_like(start.parameters[name]) for name in definition.trainable}
        for state in STATE_NAMES[solver.name]
    }
    trainer = Trainer(definition, solver, cpu_device("tests").context)
    trainer.start(Checkpoint(0, start.parameters, SolverState(0, zeros)))
    checkpoints = []
    for step in steps:
        checkpoints.append(trainer.checkpoint())
        trainer.step(step, StepInputs(fetch_from(training.training)))
    assert run.settings is not None
    write_run(
        folder,
        parameters=trainer.checkpoint().parameters,
        steps=steps,
        settings=dataclasses.replace(
            run.settings, solver=solver.name, hyperparameters=solver.hyperparameters
        ),
        solver_state=trainer.checkpoint().solver,
        checkpoints=lambda kept: (kept.mkdir(), write_checkpoints(kept, checkpoints)),
    )
    return folder
