"""A mini-batch of the engine against nnabla's own training step, and against torch.

Run ``uv run python benchmarks/speed.py``. The contestants take turns within one run, on one core,
so that the ratios hold on a noisy machine; each one's peak memory is that of a process of its own.
``--torch PYTHON`` lets torch's double backward take part, with a Python that has it, and bergson's
MAGIC, if it has that too; ``--cores 2`` gives the engine more cores.
"""

from __future__ import annotations

import argparse
import json
import os
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

from network_defs.samples import Network, Training, lenet, mlp, six_convolutions, write_definition
from nnabla_influence.definition import (
    Definition,
    Mode,
    Objective,
    build_objective,
    load_definition,
)
from nnabla_influence.device import cpu_device
from nnabla_influence.engine import Engine, NnablaEngine, NumpyEngine
from nnabla_influence.influence.step_engines import default_chunk_size
from nnabla_influence.quick_imports import without_futile_imports

CONTEXT = cpu_device("benchmark").context
BATCH_SIZE = 32
K = 10


@dataclass(frozen=True)
class Setting:
    """A network; ``peer`` is its name for `torch_peer.py`."""

    name: str
    peer: str
    network: Network
    rounds: int


SETTINGS = (
    Setting("MLP 64-128-128-10", "mlp", mlp((64,), 10, hidden=(128, 128)), 200),
    Setting("LeNet 1x28x28", "lenet", lenet(), 40),
    Setting("six convolutions 1x28x28", "six28", six_convolutions((1, 28, 28)), 5),
    Setting("six convolutions 3x32x32", "six32", six_convolutions((3, 32, 32)), 5),
)
Step = Callable[[], object]


def definition_of(setting: Setting, folder: Path) -> Definition:
    """Write and load the setting's network."""
    path = folder / "net.nntxt"
    training = Training(n_rows=BATCH_SIZE, batch_size=BATCH_SIZE)
    write_definition(path, setting.network, training)
    return load_definition(path)


def random_parameters(definition: Definition) -> dict[str, np.ndarray]:
    """Return small random values for every parameter of the trained network."""
    rng = np.random.default_rng(0)
    values = {}
    for variable in definition.network.variable:
        if variable.type == "Parameter":
            value = rng.normal(scale=0.05, size=tuple(variable.shape.dim))
            values[variable.name] = np.abs(value) + 0.5 if "bn" in variable.name else value
    return {name: value.astype(np.float32) for name, value in values.items()}


def random_inputs(definition: Definition) -> dict[str, np.ndarray]:
    """Return a mini-batch."""
    rng = np.random.default_rng(1)
    return {
        i.column: (
            rng.integers(0, i.n_classes, (BATCH_SIZE, *i.shape))
            if i.n_classes
            else rng.uniform(size=(BATCH_SIZE, *i.shape))
        ).astype(np.float32)
        for i in definition.inputs
    }


def training_step(definition: Definition) -> Step:
    """Forward, backward and update of a mini-batch, as in training, by nnabla."""
    inputs = random_inputs(definition)
    objective = build_objective(definition, BATCH_SIZE, CONTEXT, random_parameters(definition))
    with nn.context_scope(CONTEXT):
        loss = NF.mean(objective.losses)
        solver = NS.Sgd(1e-6)
        solver.set_parameters(dict(objective.parameters))

    def step() -> None:
        with nn.context_scope(CONTEXT):
            for column, variable in objective.inputs.items():
                variable.d = inputs[column]
            loss.forward(clear_no_need_grad=True)
            solver.zero_grad()
            loss.backward(clear_buffer=True)
            solver.update()

    return step


def traced(
    definition: Definition, mode: Mode, build: Callable[[Objective], Engine], targets: int = 1
) -> Step:
    """Return J u and H u of a mini-batch, in chunks of the default size."""
    inputs, weights = random_inputs(definition), np.full(BATCH_SIZE, 1 / BATCH_SIZE)
    size = default_chunk_size(definition, BATCH_SIZE)
    parameters = random_parameters(definition)
    objective = build_objective(definition, size, CONTEXT, parameters, mode)
    if objective.whole_batch:
        objective = build_objective(definition, BATCH_SIZE, CONTEXT, parameters, mode)
    engine = build(objective)
    shape = (engine.size,) if targets == 1 else (targets, engine.size)
    u = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    u, h = (nn.NdArray.from_numpy_array(v) for v in (u, np.zeros(shape, np.float32)))
    statistics = sum(s.value.size for s in objective.statistics)
    r = nn.NdArray.from_numpy_array(np.ones(statistics, np.float32)) if statistics else None

    def step() -> object:
        with without_futile_imports():  # as scoring does
            return engine.add_products(inputs, weights, u, h, r)

    return step


def nnabla_engine(objective: Objective) -> Engine:
    """Return the engine in nnabla."""
    return NnablaEngine(objective, CONTEXT)


CONTESTANTS: dict[str, Callable[[Definition], Step]] = {
    "training step": training_step,
    "final": lambda definition: traced(definition, Mode.TEST, NumpyEngine),
    "exact": lambda definition: traced(definition, Mode.TRAINING, NumpyEngine),
    "ten targets": lambda definition: traced(definition, Mode.TEST, NumpyEngine, K),
    "final by nnabla": lambda definition: traced(definition, Mode.TEST, nnabla_engine),
}


class Peer:
    """torch, and bergson, in a process of its own."""

    def __init__(self, python: str, network: str):
        script = str(Path(__file__).with_name("torch_peer.py"))
        self._process = subprocess.Popen(
            [python, script, network, str(BATCH_SIZE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.names = list(self._read())

    def seconds(self) -> dict[str, float]:
        """Do a mini-batch; return its seconds by contestant."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))


def own_peak_megabytes() -> float:
    """Return this process's peak memory; `getrusage` would count the parent's too."""
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def peak_megabytes(setting: Setting, contestant: str) -> float:
    """Run one mini-batch in a process of its own; return its peak memory."""
    command = [sys.executable, __file__, "--memory-of", setting.peer, contestant]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def measure(setting: Setting, python: str | None) -> None:
    """Print a setting's lines: times by turns, ratios within a round, memory."""
    with tempfile.TemporaryDirectory() as folder:
        definition = definition_of(setting, Path(folder))
        steps = {name: make(definition) for name, make in CONTESTANTS.items()}
    peer = Peer(python, setting.peer) if python else None
    seconds: dict[str, list[float]] = {name: [] for name in (*steps, *(peer.names if peer else ()))}
    for step in steps.values():
        step()
    for _ in range(setting.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
        if peer is not None:
            for name, taken in peer.seconds().items():
                seconds[name].append(taken)
    if peer is not None:
        peer.close()
    for name, times in seconds.items():
        ratios = {
            other: median(a / b for a, b in zip(times, seconds[other]))
            if other in seconds
            else None
            for other in ("training step", "final", "exact", "torch")
        }
        shown = " | ".join("" if ratio is None else f"{ratio:.2f}" for ratio in ratios.values())
        memory = f"{peak_megabytes(setting, name):.0f}" if name in steps else ""
        per_row = 1e3 * median(times) / BATCH_SIZE
        print(f"| {setting.name} | {name} | {per_row:.4f} | {shown} | {memory} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch")
    parser.add_argument("--cores", type=int, default=1, help="for the engine (default: 1)")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.memory_of:
        peer, contestant = parsed.memory_of
        setting = next(s for s in SETTINGS if s.peer == peer)
        with tempfile.TemporaryDirectory() as folder:
            CONTESTANTS[contestant](definition_of(setting, Path(folder)))()
        print(json.dumps(own_peak_megabytes()))
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: parsed.cores])
    print("| network | | ms per row | / training step | / final | / exact | / torch | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for setting in SETTINGS:
        measure(setting, parsed.torch)


if __name__ == "__main__":
    main()
