"""A linear regression, small enough to be trained by hand, for the tests of recorded trainings.

Run as a program, it does many trainings of nnabla_cli in one process, as a start costs two seconds.
"""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import sys
import zipfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import h5py
import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
from google.protobuf import text_format
from nnabla.ext_utils import get_extension_context
from nnabla.utils.save import create_proto


def linear_data(n, seed=0):
    """Rows whose first value tells the row's number: ``round(1000 * x[row, 0]) == row``."""
    rng = np.random.RandomState(seed)
    x = rng.randn(n, 3).round(3)
    x[:, 0] = np.arange(n) / 1000
    y = (x @ [[1.0], [-2.0], [0.5]] + 0.1 * rng.randn(n, 1)).round(3)
    return x, y


def rows_of(x):
    """Tell the row numbers of rows of ``linear_data``."""
    return np.rint(np.asarray(x)[:, 0] * 1000).astype(int).tolist()


def train_by_hand(steps, x, y, weights, bias, decay):
    """SGD on the squared error in float64, from nothing but the recorded steps."""
    weights, bias = weights.astype(np.float64), bias.astype(np.float64)
    for step in steps:
        gradient_w, gradient_b = decay * weights, decay * bias
        for rows in step.batches:
            error = x[rows] @ weights + bias - y[rows]
            gradient_w = gradient_w + 2 * x[rows].T @ error / len(rows)
            gradient_b = gradient_b + 2 * error.mean(axis=0)
        weights = weights - step.learning_rate * gradient_w
        bias = bias - step.learning_rate * gradient_b
    return weights, bias


def check_by_hand(run, x, y, first, name):
    """Assert that the recorded steps lead from the first to the final parameters, by hand too."""
    weights, bias = (first[f"{name}/{kind}"] for kind in "Wb")
    weights, bias = train_by_hand(run.steps, x, y, weights, bias, run.settings.weight_decay)
    final = run.parameters()
    np.testing.assert_allclose(final[f"{name}/W"], weights, rtol=0, atol=5e-6)
    np.testing.assert_allclose(final[f"{name}/b"], bias, rtol=0, atol=5e-6)
    assert np.abs(weights - first[f"{name}/W"]).max() > 0.05


@dataclass(frozen=True)
class Project:
    """A definition file, its two CSVs, and the training data as arrays."""

    definition: Path
    csv: Path
    x: np.ndarray
    y: np.ndarray


def write_csv(path, x, y):
    lines = ["x__0:number,x__1,x__2,y"]
    lines += [",".join(f"{value:.3f}" for value in (*a, *b)) for a, b in zip(x, y)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def saved_contents(inputs, loss, solver, batch_size, uri="train.csv", **optimizer):
    """The network, dataset and optimizer that `nnabla.utils.save` writes."""
    network = {"name": "Main", "outputs": {"loss": loss}, "names": inputs}
    dataset = {
        "name": "Training",
        "uri": str(uri),
        "variables": list(inputs),
        "cache_dir": "",
        "shuffle": True,
        "batch_size": batch_size,
        "no_image_normalization": False,
    }
    optimizer = {
        "name": "Optimizer",
        "network": "Main",
        "dataset": "Training",
        "solver": solver,
        "weight_decay": 0.0,
        "lr_decay": 1.0,
        "lr_decay_interval": 1,
        "update_interval": 1,
        "data_variables": {name: name for name in inputs},
        "loss_variables": ["loss"],
        **optimizer,
    }
    networks = [{**network, "batch_size": batch_size}]
    return {"networks": networks, "datasets": [dataset], "optimizers": [optimizer]}


def write_project(
    folder,
    n=20,
    batch_size=4,
    max_epoch=3,
    shuffle=True,
    dataset_index=0,
    iter_per_epoch=None,
    solver=None,
    batch_norm=False,
    edit=None,
    **optimizer,
):
    """Write a project that nnabla_cli trains: the linear regression, with a validation set.

    ``optimizer`` overrides entries of `nnabla.utils.save`'s optimizer; ``edit`` gets the proto.
    """
    folder.mkdir(parents=True, exist_ok=True)
    x, y = linear_data(n)
    write_csv(folder / "train.csv", x, y)
    write_csv(folder / "valid.csv", -1 - x[:5], y[:5])
    names = ["Training", "Validation"] if dataset_index == 0 else ["Validation", "Training"]
    uris = {"Training": folder / "train.csv", "Validation": folder / "valid.csv"}
    solver = S.Sgd(0.1) if solver is None else solver
    with nn.parameter_scope("", scope={}):
        vx, vy = nn.Variable((batch_size, 3)), nn.Variable((batch_size, 1))
        h = PF.batch_normalization(vx, name="bn") if batch_norm else vx
        loss = F.squared_error(PF.affine(h, 1, name="affine"), vy)
        solver.set_parameters(nn.get_parameters())
        contents = saved_contents({"x": vx, "y": vy}, loss, solver, batch_size, **optimizer)
        (dataset,) = contents["datasets"]
        dataset["shuffle"] = shuffle
        contents["datasets"] = [{**dataset, "name": name, "uri": str(uris[name])} for name in names]
        proto = create_proto(
            {
                **contents,
                "global_config": {"default_context": get_extension_context("cpu")},
                "training_config": {
                    "max_epoch": max_epoch,
                    "iter_per_epoch": n // batch_size if iter_per_epoch is None else iter_per_epoch,
                    "save_best": True,
                },
                "monitors": [
                    {
                        "name": "valid_error",
                        "network": "Main",
                        "dataset": "Validation",
                        "data_variables": {"x": "x", "y": "y"},
                        "monitor_variables": ["loss"],
                    }
                ],
            }
        )
    for variable in proto.network[0].variable:
        if variable.type == "Parameter":
            # What nnabla_cli does without a word where nnabla.utils.save has named nothing.
            variable.initializer.type, variable.initializer.multiplier = "Constant", 0
    if edit is not None:
        edit(proto)
    definition = folder / "net.nntxt"
    definition.write_text(text_format.MessageToString(proto), encoding="utf-8")
    return Project(definition, folder / "train.csv", x, y)


CALLBACK = "nnabla_influence.nnabla_cli_callback"


def environment(folder, **more):
    """Return an environment in which nnabla_cli is recorded."""
    conf = folder / "nnabla.conf"
    conf.write_text(f"[CALLBACK]\nutil_callback_module = {CALLBACK}\n")
    root = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "NNABLA_CONFIG_FILE_PATH": str(conf), **more}


def _explicit_cache(folder):
    def edit(proto):
        proto.dataset[0].cache_dir = str(folder / "cache")
        proto.dataset[0].create_cache_explicitly = True

    return edit


def _step_schedule(proto):
    solver = proto.optimizer[0].solver
    solver.lr_scheduler_type = "Step"
    solver.step_scheduler_param.gamma = 0.5
    solver.step_scheduler_param.iter_steps.extend([4, 9])
    solver.lr_warmup_scheduler_type = "Linear"
    solver.linear_warmup_scheduler_param.warmup_iter = 3


CASES = {
    "plain": {"max_epoch": 4},
    "across epochs, second dataset": {"n": 23, "batch_size": 5, "max_epoch": 5, "dataset_index": 1},
    "in order": {"n": 23, "batch_size": 5, "max_epoch": 4, "shuffle": False},
    "several cache files": {"n": 250, "batch_size": 32, "max_epoch": 4},
    "not in memory": {"n": 250, "batch_size": 32, "max_epoch": 3},
    "explicit cache": {"n": 250, "batch_size": 32, "max_epoch": 4, "edit": _explicit_cache},
    "explicit cache in order": {
        "n": 250,
        "batch_size": 32,
        "shuffle": False,
        "edit": _explicit_cache,
    },
    "sums of three": {
        "n": 20,
        "batch_size": 4,
        "max_epoch": 4,
        "update_interval": 3,
        "weight_decay": 0.01,
    },
    "sums of four, the last not full": {
        "n": 22,
        "batch_size": 4,
        "max_epoch": 3,
        "update_interval": 4,
    },
    "falling rate": {"lr_decay": 0.9, "lr_decay_interval": 2, "weight_decay": 0.02},
    "step schedule after a warm-up": {"edit": lambda folder: _step_schedule},
    "one batch": {"n": 6, "batch_size": 6, "max_epoch": 4},
    "own count of iterations": {"n": 20, "batch_size": 4, "iter_per_epoch": 7, "max_epoch": 3},
}


@dataclass(frozen=True)
class Trained:
    """A training of nnabla_cli: its project, its output folder, the rows it was fed in order.

    In ``plain`` lies what the same training leaves without the callback; ``first`` are the
    parameters that nnabla_cli starts from.
    """

    project: Project
    outdir: Path
    plain: Path
    fed: list
    first: dict


@functools.cache
def trained_cases(base):
    """Train every case by nnabla_cli, all steps recorded; once for all tests."""
    projects, jobs = {}, []
    for i, (name, options) in enumerate(CASES.items()):
        folder = base / "trained" / f"{i}"
        options = dict(options)
        edit = options.pop("edit", None)
        projects[name] = write_project(folder, edit=edit and edit(folder), **options)
        for recorded in (True, False):
            jobs.append(
                {
                    "config": str(projects[name].definition),
                    "outdir": str(folder / ("out" if recorded else "plain")),
                    "large": name == "not in memory",
                    "recorded": recorded,
                }
            )
    untrained = write_project(base / "trained" / "untrained", max_epoch=0).definition
    jobs.append({"config": str(untrained), "outdir": str(untrained.parent / "out")})
    run_nnabla_cli(base, jobs, NNABLA_INFLUENCE_WINDOW="all")
    first = parameters_of(untrained.parent / "out" / "results.nnp")
    trained = {}
    for name, project in projects.items():
        outdir, plain = (project.definition.parent / name for name in ("out", "plain"))
        fed = json.loads((outdir / "fed.json").read_text())
        trained[name] = Trained(project, outdir, plain, fed, first)
    return trained


def run_nnabla_cli(base, jobs, **variables):
    """Let nnabla_cli train, one job after the other in one process; return what it printed.

    A job has ``config`` and ``outdir``, and may have ``param``, ``resume``, ``recorded`` (False:
    without the callback), ``large`` (the data are said not to fit the memory cache), ``variables``
    (of the environment) and ``noted``: a folder, into which the training's state after each
    iteration goes by nnabla's own hand, ``0`` being that before the first.
    """
    for job in jobs:
        Path(job["outdir"]).mkdir(exist_ok=True)
    finished = subprocess.run(
        [sys.executable, "-m", "tests.training_data", json.dumps(jobs)],
        env=environment(base, **variables),
        cwd=base,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


def final_of(outdir):
    """Read the final parameters as nnabla_cli saved them."""
    (path,) = outdir.glob("results_current_*.nnp")
    return parameters_of(path)


def parameters_of(path):
    """Read the parameters of an .nnp."""
    with zipfile.ZipFile(path) as archive:
        return arrays_of(io.BytesIO(archive.read("parameter.h5")))


def arrays_of(path):
    """Read all arrays of an .h5."""
    found = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(collect)
    return found


def _do(jobs):
    from nnabla.config import nnabla_config
    from nnabla.utils import callback
    from nnabla.utils.cli import train

    let, modules = train.let_data_to_variable, callback.callback_list
    fed = []

    def noting(variable, data, *arguments, **named):
        if named["variable_name"] == "x" and data[0, 0] >= 0:  # validation rows are negative
            fed.append(rows_of(data))
        let(variable, data, *arguments, **named)

    def noting_states(update, folder):
        def save(number, config):
            (optimizer,) = config.optimizers.values()
            nn.save_parameters(os.path.join(folder, f"{number}.h5"))
            optimizer.optimizer.solver.save_states(os.path.join(folder, f"{number}.states.h5"))

        def updating(i, config, *arguments):
            if not os.listdir(folder):
                save(i, config)
            cost = update(i, config, *arguments)
            save(i + 1, config)
            return cost

        return updating if folder else update

    train.let_data_to_variable, update = noting, train._update
    buffer = nnabla_config.get("DATA_ITERATOR", "data_source_buffer_max_size")
    for job in jobs:
        size = "0" if job.get("large") else buffer
        nnabla_config.set("DATA_ITERATOR", "data_source_buffer_max_size", size)
        callback.callback_list = modules if job.get("recorded", True) else []
        nn.clear_parameters()
        fed.clear()
        os.environ.update(job.get("variables", {}))
        train._update = noting_states(update, job.get("noted"))
        arguments = Namespace(
            config=job["config"],
            outdir=job["outdir"],
            param=job.get("param"),
            resume=job.get("resume", False),
            context="cpu",
            enable_ooc=False,
            ooc_gpu_memory_size=None,
            ooc_window_length=None,
        )
        assert train.train_command(arguments)
        Path(job["outdir"], "fed.json").write_text(json.dumps(fed))
        for name in job.get("variables", {}):
            del os.environ[name]


if __name__ == "__main__":
    _do(json.loads(sys.argv[1]))
