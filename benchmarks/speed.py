"""Ours against a loop over single examples, and against a training step.

Run ``uv run python benchmarks/speed.py``. The variants take turns within one process, so that the
ratios hold on a noisy machine; each one's peak memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import nnabla as nn
import nnabla.functions as NF
import nnabla.solvers as NS
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network_defs.samples import Network, Training, mlp, six_convolutions, write_definition
from nnabla_influence.definition import Definition, build_objective, load_definition
from nnabla_influence.device import cpu_device
from nnabla_influence.engine import build_engine
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.quick_imports import without_futile_imports

CONTEXT = cpu_device("benchmark").context
VARIANTS = ("training step", "loop", "ours")


@dataclass(frozen=True)
class Setting:
    """A network and a batch size."""

    name: str
    network: Network
    batch_size: int
    rounds: int


SETTINGS = (
    Setting("MLP 64-128-128-10, batch 32", mlp((64,), 10, hidden=(128, 128)), 32, 40),
    Setting("MLP 64-128-128-10, batch 256", mlp((64,), 10, hidden=(128, 128)), 256, 10),
    Setting("six convolutions 1x28x28, batch 32", six_convolutions((1, 28, 28)), 32, 3),
    Setting("six convolutions 3x32x32, batch 32", six_convolutions((3, 32, 32)), 32, 3),
)


def definition_of(setting: Setting, folder: Path) -> Definition:
    """Write and load the setting's network."""
    path = folder / "net.nntxt"
    write_definition(
        path, setting.network, Training(n_rows=setting.batch_size, batch_size=setting.batch_size)
    )
    return load_definition(path)


def random_parameters(definition: Definition) -> dict[str, np.ndarray]:
    """Return small random values for every parameter of the trained network."""
    rng = np.random.default_rng(0)
    values = {}
    for variable in definition.network.variable:
        if variable.type == "Parameter":
            shape = tuple(variable.shape.dim)
            value = rng.normal(scale=0.05, size=shape)
            values[variable.name] = np.abs(value) + 0.5 if "bn" in variable.name else value
    return {name: value.astype(np.float32) for name, value in values.items()}


def variant(name: str, definition: Definition, batch_size: int) -> Callable[[], object]:
    """Return a function that does one mini-batch in the way of a variant."""
    parameters = random_parameters(definition)
    rng = np.random.default_rng(1)
    inputs = {
        i.column: (
            rng.integers(0, i.n_classes, (batch_size, *i.shape))
            if i.n_classes
            else rng.uniform(size=(batch_size, *i.shape))
        ).astype(np.float32)
        for i in definition.inputs
    }
    build = {"training step": training_step, "loop": loop, "ours": ours}[name]
    with nn.context_scope(CONTEXT):
        return build(definition, parameters, inputs, batch_size)


Parameters = dict[str, np.ndarray]


def training_step(
    definition: Definition, parameters: Parameters, inputs: Parameters, batch_size: int
) -> Callable[[], object]:
    """Forward, backward and update of a mini-batch."""
    objective = build_objective(definition, batch_size, CONTEXT, parameters)
    loss = NF.mean(objective.losses)
    solver = NS.Sgd(1e-6)
    solver.set_parameters(dict(objective.parameters))

    def step() -> None:
        for column, variable in objective.inputs.items():
            variable.d = inputs[column]
        loss.forward(clear_no_need_grad=True)
        solver.zero_grad()
        loss.backward(clear_buffer=True)
        solver.update()

    return step


def loop(
    definition: Definition, parameters: Parameters, inputs: Parameters, batch_size: int
) -> Callable[[], object]:
    """The gradient of each example by a backward of its own, and one Hessian-vector product."""
    single = build_objective(definition, 1, CONTEXT, parameters)
    loss = NF.mean(single.losses)
    batch = build_objective(definition, batch_size, CONTEXT, parameters)
    gradients = nn.grad([NF.mean(batch.losses)], list(batch.parameters.values()))
    vectors = [
        nn.Variable.from_numpy_array(np.random.default_rng(2).normal(size=v.shape))
        for v in batch.parameters.values()
    ]
    inner = NF.add_n(*[NF.sum(g * u) for g, u in zip(gradients, vectors)])

    def step() -> np.ndarray:
        products = np.empty(batch_size)
        for row in range(batch_size):
            for column, variable in single.inputs.items():
                variable.d = inputs[column][row : row + 1]
            loss.forward(clear_no_need_grad=True)
            for parameter in single.parameters.values():
                parameter.grad.zero()
            loss.backward(clear_buffer=True)
            products[row] = sum(
                np.vdot(u.d, p.g) for u, p in zip(vectors, single.parameters.values())
            )
        for column, variable in batch.inputs.items():
            variable.d = inputs[column]
        for parameter in batch.parameters.values():
            parameter.grad.zero()
        inner.forward(clear_no_need_grad=True)
        inner.backward(clear_buffer=True)
        return products

    return step


def ours(
    definition: Definition, parameters: Parameters, inputs: Parameters, batch_size: int
) -> Callable[[], object]:
    """J u and H u of the engine, in chunks of the default size."""
    chunk_size = default_chunk_size(definition, batch_size)
    objective = build_objective(definition, chunk_size, CONTEXT, parameters)
    engine = build_engine(objective, CONTEXT)
    u, h = engine.zeros(), engine.zeros()
    u.data = np.random.default_rng(2).normal(size=engine.size)
    weights = np.full(batch_size, 1 / batch_size)

    def step() -> np.ndarray:
        with without_futile_imports():  # as scoring does
            return engine.add_products(inputs, weights, u, h).losses

    return step


def own_peak_megabytes() -> float:
    """Return this process's peak memory; `getrusage` would count the parent's too."""
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def peak_megabytes(setting_name: str, variant_name: str) -> float:
    """Run one mini-batch of a variant in a process of its own; return its peak memory."""
    command = [sys.executable, __file__, "--memory-of", setting_name, variant_name]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def measure(setting: Setting) -> None:
    """Print a setting's line: times by turns, ratios, memory."""
    with tempfile.TemporaryDirectory() as folder:
        definition = definition_of(setting, Path(folder))
        steps = {name: variant(name, definition, setting.batch_size) for name in VARIANTS}
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for step in steps.values():
        step()
    for _ in range(setting.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    per_ours = [a / b for a, b in zip(seconds["loop"], seconds["ours"])]
    per_step = [a / b for a, b in zip(seconds["ours"], seconds["training step"])]
    memory = {name: peak_megabytes(setting.name, name) for name in VARIANTS}
    print(
        f"| {setting.name} | {median(per_ours):.1f} | {median(per_step):.1f} |"
        f" {1e3 * median(seconds['ours']) / setting.batch_size:.3f} |"
        f" {memory['ours']:.0f} | {memory['loop']:.0f} | {memory['training step']:.0f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.memory_of:
        name, variant_name = parsed.memory_of
        setting = next(s for s in SETTINGS if s.name == name)
        with tempfile.TemporaryDirectory() as folder:
            variant(variant_name, definition_of(setting, Path(folder)), setting.batch_size)()
        print(json.dumps(own_peak_megabytes()))
        return
    print(
        "| network | loop / ours | ours / training step | ours, ms per example"
        " | peak MB: ours | loop | training step |"
    )
    print("|---|---|---|---|---|---|---|")
    for setting in SETTINGS:
        measure(setting)


if __name__ == "__main__":
    main()
