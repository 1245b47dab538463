"""What exact scores take: disk, memory and time, of the methods and of the ways to keep a training.

Run ``uv run python benchmarks/exact.py [--rows N] [--output JSON]``. Sizes are measured on
trainings of a few steps; those of the paper's trainings are computed from them. Times are ratios
within one process, whose scorings take turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from exact_sizes import BATCH_SIZE, compute, measure_sizes, paper_windows, show_storage
from nnabla.logger import logger

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network_defs.samples import (
    Network,
    SampleData,
    Training,
    lenet,
    mlp,
    six_convolutions,
    write_definition,
    write_digits,
)
from nnabla_influence import Options
from nnabla_influence.definition import load_definition
from nnabla_influence.device import choose_device
from nnabla_influence.influence.step_inputs import step_inputs
from nnabla_influence.influence.trainer import Trainer
from nnabla_influence.nnabla_cli.training import train
from nnabla_influence.progress import SilentProgress, Stage
from nnabla_influence.quick_imports import without_futile_imports
from nnabla_influence.runs.run import Run
from nnabla_influence.scoring import score
from nnabla_influence.scoring.inputs import open_training

SIX_STEPS = 3
ROUNDS, SIX_ROUNDS = 3, 1
LEARNING_RATES = {"Sgd": 0.05, "Adam": 0.001}


@dataclass(frozen=True)
class Times:
    """Seconds of scoring, round by round.

    Attributes:
        name: Network and solver.
        steps: That were traced.
        whole: By method and keep, of `score`.
        trace: Likewise, of the trace alone.
    """

    name: str
    steps: int
    whole: dict[str, list[float]]
    trace: dict[str, list[float]]

    def ratio(self, one: str, other: str, *, whole: bool = False) -> float:
        """Return the median over the rounds of one's time over the other's."""
        seconds = self.whole if whole else self.trace
        return median(a / b for a, b in zip(seconds[one], seconds[other]))

    def milliseconds(self, name: str) -> float:
        """Return the median time of a traced step."""
        return 1e3 * median(self.trace[name]) / self.steps


class Stopwatch(SilentProgress):
    """A silent progress that measures the stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, description: str, total: int, unit: str = "it") -> Iterator[Stage]:
        """Time the stage."""
        started = time.perf_counter()
        with super().stage(description, total, unit) as stage:
            yield stage
        self.seconds[description] = time.perf_counter() - started


@dataclass(frozen=True)
class Trained:
    """A definition and its recorded trainings, by keep."""

    definition: Path
    runs: dict[str, Run]


def train_kept(folder: Path, network: Network, data: SampleData, solver: str) -> Trained:
    """Train one epoch, once for each keep of sets."""
    folder.mkdir()
    settings = Training(
        n_rows=data.n_training,
        training_csv=str(data.training_csv),
        validation_csv=str(data.validation_csv),
        batch_size=BATCH_SIZE,
        epochs=1,
        solver=solver,
        learning_rate=LEARNING_RATES[solver],
    )
    write_definition(folder / "net.nntxt", network, settings)
    runs = {
        keep: train(folder / "net.nntxt", folder / keep, keep=keep, device="cpu")
        for keep in ("sqrt", "all")
    }
    return Trained(folder / "net.nntxt", runs)


WAYS = {"final": ("final", "all"), "exact, all": ("exact", "all"), "exact, sqrt": ("exact", "sqrt")}
"""By what they are called: method, and which run is scored."""


def time_scoring(trained: dict[str, Trained], rounds: int) -> list[Times]:
    """Score in all ways by turns; return one result a training."""
    results = [
        Times(name, len(t.runs["all"].steps), {w: [] for w in WAYS}, {w: [] for w in WAYS})
        for name, t in trained.items()
    ]
    for _ in range(rounds):
        for times, one in zip(results, trained.values()):
            for way, (method, keep) in WAYS.items():
                watch, started = Stopwatch(), time.perf_counter()
                run = one.runs[keep].folder
                options = Options(method=method, window="all", any_verdict=True)
                score(one.definition, run=run, options=options, device="cpu", progress=watch)
                times.whole[way].append(time.perf_counter() - started)
                times.trace[way].append(watch.seconds["Trace back"])
    return results


def time_parts(trained: Trained) -> dict[str, float]:
    """Return milliseconds of a replayed step, and of writing and of reading a set."""
    run, definition = trained.runs["all"], load_definition(trained.definition)
    context = choose_device("cpu").context
    data = open_training(definition, None, SilentProgress())
    trainer = Trainer(definition, definition.solver, context)
    inputs = step_inputs(definition, run, data.batch, context)
    seconds: dict[str, list[float]] = {"replayed step": [], "reading a set": []}
    with without_futile_imports():  # as scoring does
        for _ in range(2):
            trainer.start(run.checkpoint(run.steps[0].step))
            for step in run.steps:
                started = time.perf_counter()
                trainer.step(step, inputs)
                trainer.checkpoint()
                seconds["replayed step"].append(time.perf_counter() - started)
                started = time.perf_counter()
                run.checkpoint(step.step)
                seconds["reading a set"].append(time.perf_counter() - started)
    parts = {name: 1e3 * median(values) for name, values in seconds.items()}
    return {**parts, "writing a set": 1e3 * run.seconds_keeping / len(run.checkpoints)}


def show_times(all_times: Sequence[Times], parts: dict[str, dict[str, float]]) -> None:
    """Print ratios, times of steps, and the hours that they make of the paper's training."""
    print("\n| | steps | exact all / final | sqrt / all, trace | sqrt / all, whole score |", end="")
    print(" ms a step: final | exact, all | exact, sqrt |")
    print("|---|---|---|---|---|---|---|---|")
    for t in all_times:
        ratios = [
            t.ratio("exact, all", "final"),
            t.ratio("exact, sqrt", "exact, all"),
            t.ratio("exact, sqrt", "exact, all", whole=True),
        ]
        cells = [f"{r:.2f}" for r in ratios] + [f"{t.milliseconds(way):.1f}" for way in WAYS]
        print(f"| {t.name} | {t.steps} | {' | '.join(cells)} |")
    print("\n| Adam / Sgd, trace | final | exact, all | exact, sqrt |")
    print("|---|---|---|---|")
    by_name = {t.name: t for t in all_times}
    for name, adam in by_name.items():
        sgd = by_name.get(name.replace("Adam", "Sgd"))
        if sgd is not None and sgd is not adam:
            pairs = (zip(adam.trace[way], sgd.trace[way]) for way in WAYS)
            ratios = [median(a / b for a, b in pair) for pair in pairs]
            print(f"| {name.split(',')[0]} | {' | '.join(f'{r:.2f}' for r in ratios)} |")
    steps = paper_windows()["all epochs"].n_steps
    print(f"\nSix convolutions: ms of a part, and computed hours of the paper's {steps:,} steps:\n")
    print("| | replayed step | writing a set | reading a set | hours: final | all | sqrt |")
    print("|---|---|---|---|---|---|---|")
    for name, part in parts.items():
        hours = [steps * by_name[name].milliseconds(way) / 3.6e6 for way in WAYS]
        cells = [f"{v:.1f}" for v in (*part.values(), *hours)]
        print(f"| {name} | {' | '.join(cells)} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=512, help="of LeNet and MLP (default: 512)")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"of LeNet and MLP (default: {ROUNDS})"
    )
    parser.add_argument("--output", type=Path, help="JSON file with every measured number")
    parsed = parser.parse_args(arguments)
    logger.setLevel("WARNING")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_digits(folder / "data", n_training=parsed.rows, n_validation=256)
        few = write_digits(folder / "few", n_training=SIX_STEPS * BATCH_SIZE, n_validation=32)
        kinds = [("LeNet", lenet(), data), ("MLP 784-64-64-10", mlp((1, 28, 28), 10), data)]
        kinds.append(("six convolutions", six_convolutions(), few))
        trained = {
            f"{name}, {solver}": train_kept(folder / f"{number}-{solver}", network, rows, solver)
            for number, (name, network, rows) in enumerate(kinds)
            for solver in LEARNING_RATES
        }
        six = {name: one for name, one in trained.items() if name.startswith("six")}
        sizes = [measure_sizes(t.runs["all"], n.split(", ")[1]) for n, t in six.items()]
        show_storage(sizes)
        small = {name: one for name, one in trained.items() if name not in six}
        times = time_scoring(small, parsed.rounds) + time_scoring(six, SIX_ROUNDS)
        parts = {name: time_parts(one) for name, one in six.items()}
        show_times(times, parts)
        if parsed.output:
            result = {
                "measured_sizes": [asdict(s) for s in sizes],
                "computed_sizes": [asdict(c) for s in sizes for c in compute(s)],
                "seconds": [asdict(t) for t in times],
                "milliseconds_of_parts": parts,
            }
            parsed.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
