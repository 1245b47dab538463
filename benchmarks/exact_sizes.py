"""Sizes of kept parameter sets: measured, and of the paper's trainings, computed from these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnabla_influence.runs.checkpoint_plan import KEEP, WindowPlan
from nnabla_influence.runs.run import CHECKPOINTS, PARAMETERS, SOLVER_STATES, Run

BATCH_SIZE = 32
PAPER_ROWS, PAPER_EPOCHS = 50_000, 20
PAPER_GB = {("all epochs", "all"): 38.64, ("last epoch", "all"): 1.932, ("any", "final"): 0.001236}
"""Table 1 of Suzuki et al., MNIST."""


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk, measured.

    Attributes:
        solver: That trained.
        set: One kept set, the parameters and the solver's state, of ``checkpoints``.
        final: What lies there without any: ``final.h5`` and ``solver_states.h5``.
        parameters: ``final.h5`` alone.
    """

    solver: str
    set: int
    final: int
    parameters: int


@dataclass(frozen=True)
class Computed:
    """What a training of the paper's size takes, computed from measured `Sizes`.

    Attributes:
        solver: That trains.
        window: ``all epochs`` or ``last epoch``.
        keep: ``final``, ``sqrt`` or ``all``.
        steps: Of the window.
        sets: How many are kept.
        disk_bytes: Of these, and of the end.
        memory_bytes: Of the sets that the trace holds at once.
    """

    solver: str
    window: str
    keep: str
    steps: int
    sets: int
    disk_bytes: int
    memory_bytes: int


def paper_windows() -> dict[str, WindowPlan]:
    """Return the windows of the paper's training as nnabla_cli does it: floor(50,000 / 32) steps.

    The paper counts one step more an epoch, 1,563.
    """
    steps = PAPER_ROWS // BATCH_SIZE
    end = PAPER_EPOCHS * steps
    return {"all epochs": WindowPlan(0, end), "last epoch": WindowPlan(end - steps, end)}


def compute(sizes: Sizes) -> Iterator[Computed]:
    """Yield what each window and keep takes at the paper's size."""
    for window, plan in paper_windows().items():
        for keep in KEEP:
            sets = plan.n_checkpoints(keep)
            in_memory = 1 + plan.spacing(keep) if keep == "sqrt" else 1
            yield Computed(
                *(sizes.solver, window, keep, plan.n_steps, sets),
                disk_bytes=sizes.final + sets * sizes.set,
                memory_bytes=in_memory * sizes.set,
            )


def measure_sizes(run: Run, solver: str) -> Sizes:
    """Weigh the files of a run that keeps all sets."""
    sets = {path.stat().st_size for path in (run.folder / CHECKPOINTS).glob("*.npy")}
    if len(sets) != 1:
        raise RuntimeError(f"{run.folder}: the sets have different sizes: {sorted(sets)}")
    parameters, states = (
        (run.folder / name).stat().st_size if (run.folder / name).is_file() else 0
        for name in (PARAMETERS, SOLVER_STATES)
    )
    return Sizes(solver, sets.pop(), parameters + states, parameters)


def show_storage(sizes: Sequence[Sizes]) -> None:
    """Print measured and computed sizes."""
    print("Measured, six convolutions 1x28x28, batch 32:\n")
    print("| solver | one set, MB | final.h5, MB | final.h5 and solver_states.h5, MB |")
    print("|---|---|---|---|")
    for s in sizes:
        print(
            f"| {s.solver} | {s.set / 1e6:.4f} | {s.parameters / 1e6:.4f} | {s.final / 1e6:.4f} |"
        )
    print("\nComputed from these, 50,000 rows, 20 epochs:\n")
    print("| solver | window | steps | keep | sets | disk, GB | paper, GB | sets in memory, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for c in (c for s in sizes for c in compute(s)):
        paper = PAPER_GB.get((c.window if c.keep != "final" else "any", c.keep), "")
        print(
            f"| {c.solver} | {c.window} | {c.steps:,} | {c.keep} | {c.sets:,} |"
            f" {c.disk_bytes / 1e9:.4g} | {paper} | {c.memory_bytes / 1e6:.4g} |"
        )
