"""On a CUDA device: the numbers of the CPU, from the same code. Run with ``pytest -m gpu``."""

from __future__ import annotations

import numpy as np
import pytest

from nnabla_influence import CurveOptions, Options, curve, score, train
from nnabla_influence.definition import SolverSettings, build_objective, load_definition
from nnabla_influence.device import Device, choose_device, cpu_device
from nnabla_influence.engine import build_engine
from nnabla_influence.engine.guard import check_engines
from nnabla_influence.influence.step_engines import StepEngines
from nnabla_influence.influence.step_inputs import StepInputs
from nnabla_influence.influence.targets import LOSS, target_gradient
from nnabla_influence.influence.trace import Trace, TraceInputs, trace_back
from nnabla_influence.influence.trajectory import FinalTrajectory
from nnabla_influence.progress import SilentProgress
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.solvers import SolverState, build_adjoint
from tests.cases import CASES, Case, write_csv
from tests.influence.test_trace import as_steps, some_steps
from tests.retraining.projects import write_project

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu() -> Device:
    return choose_device("cuda")


def influence_on(device: Device, case: Case, folder) -> np.ndarray:
    definition = load_definition(case.save_definition(folder), folder / "net.h5")
    train, validation = case.inputs(23, seed=1), case.inputs(9, seed=2)
    engine = build_engine(build_objective(definition, 8, device.context), device.context)
    check_engines(
        lambda size: build_objective(definition, size, device.context),
        case.inputs(6),
        device.context,
    )
    u = target_gradient(
        engine,
        lambda rows: {k: v[rows] for k, v in validation.items()},
        np.arange(9),
        LOSS,
        SilentProgress(),
    )
    final = Checkpoint(8, definition.parameters, SolverState(8, {}))
    inputs = TraceInputs(
        as_steps(some_steps(23, 6, epochs=2)),
        FinalTrajectory(final),
        StepEngines(lambda size: engine, whole=False, chunk_size=8),
        build_adjoint(SolverSettings("Sgd", {"lr": 0.1}, 0.05, 1), u, device.context),
        StepInputs(lambda rows: {k: v[rows] for k, v in train.items()}),
    )
    *_, last = trace_back(inputs, Trace.start(23, u))
    return last.influence


def test_asking_for_a_gpu_gives_one(gpu: Device):
    assert gpu.description.startswith("cudnn, GPU 0")
    assert any("cudnn" in backend for backend in gpu.context.backend)
    assert choose_device("auto").description == gpu.description


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scores_are_those_of_the_cpu(case: Case, tmp_path, gpu: Device):
    on_cpu = influence_on(cpu_device("tests"), case, tmp_path)
    on_gpu = influence_on(gpu, case, tmp_path)
    assert np.linalg.norm(on_gpu - on_cpu) < 1e-3 * np.linalg.norm(on_cpu)


@pytest.mark.parametrize("method", ["final", "exact"])
def test_a_training_on_the_gpu_is_scored_there_as_on_the_cpu(tmp_path, gpu: Device, method: str):
    """Every state kept, since a replay on a GPU need not give the same bits."""
    case = next(case for case in CASES if case.name == "mlp-softmax")
    definition = case.save_definition(tmp_path, batch_size=8, max_epoch=2, iter_per_epoch=5)
    for part, n in (("training", 40), ("validation", 20)):
        write_csv(tmp_path / f"{part}.csv", case.inputs(n, seed=n))
    train(
        *(definition, tmp_path / "run"),
        parameters=tmp_path / "net.h5",
        device="cuda",
        keep="all",
        window="all",
    )
    on_gpu, on_cpu = (
        score(
            definition,
            run=tmp_path / "run",
            options=Options(method=method, window="all"),
            device=device,
        ).scores.influence
        for device in ("cuda", "cpu")
    )
    assert np.linalg.norm(on_gpu - on_cpu) < 1e-3 * np.linalg.norm(on_cpu)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_removal_curve_is_that_of_the_cpu(tmp_path, gpu: Device, jobs: int):
    project = write_project(tmp_path / "project")
    of_cpu, of_gpu = (
        curve(
            project.model,
            **project.csvs,
            output=tmp_path / device,
            options=CurveOptions(seeds=[0, 1], removed=[5], rankings=["final", "exact-last"]),
            device=device,
            jobs=jobs,
        )
        for device in ("cpu", "cuda")
    )
    losses, expected = (found.results["loss"] for found in (of_gpu, of_cpu))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
