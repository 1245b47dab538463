"""What the workers do, against trainings in float64 NumPy."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from nnabla_influence import score
from nnabla_influence.errors import InfluenceError, RunError
from nnabla_influence.options import RANKINGS
from nnabla_influence.retraining.tasks import rank, retrain, train_seed
from nnabla_influence.runs.run import read_run, write_run
from tests.retraining.softmax import (
    EPOCHS,
    ITERATIONS,
    B,
    N,
    Softmax,
    W,
    accuracy,
    losses,
    make_softmax,
    start_of,
    theta_of,
)
from tests.small_projects import REPOSITORY, environment

LAST = EPOCHS - 1


@pytest.fixture(scope="module")
def softmax(tmp_path_factory) -> Softmax:
    """Two seeds trained, and every ranking of seed 0."""
    made = make_softmax(tmp_path_factory.mktemp("除去 curve"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNABLA_INFLUENCE_CACHE", str(made.folder / "cache"))
        for seed in (0, 1):
            train_seed(made.config(), seed, str(made.folder / f"run{seed}"))
        for ranking in RANKINGS:
            output = str(made.folder / f"{ranking}.npy")
            rank(made.config(), 0, ranking, str(made.folder / "run0"), output)
    return made


def scores(softmax: Softmax, ranking: str) -> np.ndarray:
    values = np.load(softmax.folder / f"{ranking}.npy")
    assert values.dtype == np.float64
    assert values.shape == (N,)
    return values


def close(got, wanted, tolerance=2e-5):
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


# --------------------------------------------------------------- train_seed


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seeds_training_is_that_of_the_definition_in_the_seeds_order(softmax, seed):
    run = softmax.folder / f"run{seed}"
    wanted = softmax.trained(start_of(run), seed)
    for got, by_hand in zip(theta_of(read_run(run).parameters()), wanted):
        close(got, by_hand)


def test_each_seed_starts_elsewhere_and_is_the_same_again(softmax, tmp_path):
    one, other = (start_of(softmax.folder / f"run{seed}") for seed in (0, 1))
    assert not np.isclose(one[0], other[0]).any()
    assert 0.2 < one[0].std() < 1.0  # NormalAffineGlorot: sqrt(2 / (5 + 3)) = 0.5
    assert not one[1].any()
    done = train_seed(softmax.config(), 0, str(tmp_path / "again"))
    assert done.n_rows == N
    again, before = (read_run(folder) for folder in (tmp_path / "again", softmax.folder / "run0"))
    assert again.settings == before.settings
    for name, value in before.parameters().items():
        np.testing.assert_array_equal(again.parameters()[name], value)


def test_a_run_is_replaced_and_nothing_else_is(softmax, tmp_path):
    run = tmp_path / "run"
    train_seed(softmax.config(), 1, str(run))
    train_seed(softmax.config(), 0, str(run))
    np.testing.assert_array_equal(start_of(run)[0], start_of(softmax.folder / "run0")[0])
    (run / "notes.txt").write_text("mine")
    with pytest.raises(InfluenceError, match=r"notes\.txt"):
        train_seed(softmax.config(), 0, str(run))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_another_batch_size_cuts_other_mini_batches_and_keeps_the_rates_course(softmax, tmp_path):
    config = softmax.config(batch_size=9)
    train_seed(config, 0, str(tmp_path / "run"))
    run = read_run(tmp_path / "run")
    assert {len(rows) for step in run.steps for rows in step.batches} == {9}
    per_epoch = N // 9
    assert len(run.steps) == EPOCHS * per_epoch // 2
    for step in run.steps:
        iteration = (2 * step.step + 1) * ITERATIONS // per_epoch
        assert step.learning_rate == pytest.approx(0.3 * 0.9 ** (iteration // 3))
    done = rank(config, 0, "exact", str(tmp_path / "run"), str(tmp_path / "scores.npy"))
    assert done.cache_bytes > 0
    kept = retrain(config, 0, "all", str(tmp_path / "run"), str(tmp_path / "scores.npy"), 5)
    assert kept.loss > 0


# --------------------------------------------------------------- rank


def influence_by_differences(softmax: Softmax, epochs: range, half: float = 1e-4) -> np.ndarray:
    """-dL/dw of each row's weight in some epochs, by central differences."""
    start, out = start_of(softmax.folder / "run0"), []
    for row in range(N):
        up, down = (
            softmax.trained(start, 0, lambda r, e, row=row, d=d: 1 + d * (r == row and e in epochs))
            for d in (half, -half)
        )
        change = losses(up, softmax.validation).mean() - losses(down, softmax.validation).mean()
        out.append(-change / (2 * half))
    return np.array(out)


@pytest.mark.parametrize(
    ("ranking", "epochs"), [("exact", range(EPOCHS)), ("exact-last", range(LAST, EPOCHS))]
)
def test_exact_rankings_are_the_derivatives_of_the_training(softmax, ranking, epochs):
    close(scores(softmax, ranking), influence_by_differences(softmax, epochs), 2e-4)


def test_final_is_the_score_of_a_run_written_by_hand(softmax, tmp_path):
    recorded = read_run(softmax.folder / "run0")
    w, b = softmax.trained(start_of(recorded.folder), 0)
    values = {W: w.astype(np.float32), B: b.astype(np.float32)}
    write_run(
        *(tmp_path / "run",),
        parameters=values,
        steps=recorded.steps,
        settings=None,
        solver_state=recorded.solver_state(),
    )
    paths = {
        "train": softmax.folder / "training.csv",
        "validation": softmax.folder / "validation.csv",
    }
    by_hand = score(softmax.folder / "net.nntxt", run=tmp_path / "run", device="cpu", **paths)
    close(scores(softmax, "final"), by_hand.scores.influence, 1e-4)


def test_influence_functions_are_those_of_the_dense_hessian(softmax):
    w, b = theta_of(read_run(softmax.folder / "run0").parameters())
    x, y = softmax.training
    with_one = np.hstack([x, np.ones((N, 1))])  # the parameters as a (6, 3) matrix
    p = probabilities_of(w, b, x)
    hessian = np.zeros((18, 18))
    for row in range(N):
        curvature = np.diag(p[row]) - np.outer(p[row], p[row])
        hessian += np.kron(np.outer(with_one[row], with_one[row]), curvature) / N
    hessian += (0.02 + 0.01) * np.eye(18)  # weight decay and the first damping

    def gradients(data):
        x, y = data
        errors = probabilities_of(w, b, x)
        errors[np.arange(len(y)), y] -= 1
        return np.einsum("ni,nk->nik", np.hstack([x, np.ones((len(y), 1))]), errors).reshape(-1, 18)

    v = gradients(softmax.validation).mean(0)
    wanted = gradients((x, y)) @ np.linalg.solve(hessian, v) / N
    close(scores(softmax, "influence-functions"), wanted, 5e-3)


def probabilities_of(w, b, x):
    e = np.exp(x @ w + b)
    return e / e.sum(1, keepdims=True)


def test_a_random_ranking_is_the_seeds_own(softmax, tmp_path):
    again, other = tmp_path / "again.npy", tmp_path / "other.npy"
    for seed, output in ((0, again), (1, other)):
        run = str(softmax.folder / f"run{seed}")
        done = rank(softmax.config(), seed, "random", run, str(output))
        assert done.cache_bytes == 0
    np.testing.assert_array_equal(np.load(again), scores(softmax, "random"))
    assert len(set(np.load(again))) == N
    assert abs(np.corrcoef(np.load(again), np.load(other))[0, 1]) < 0.5


def test_cache_bytes_are_those_of_the_files_that_a_ranking_needs(softmax, tmp_path):
    run = softmax.folder / "run0"
    last, state = ((run / name).stat().st_size for name in ("final.h5", "solver_states.h5"))
    checkpoint = (run / "checkpoints" / "0.npy").stat().st_size
    assert checkpoint == 128 + 4 * 2 * 18  # parameters and momenta
    wanted = {
        "final": last + state,
        "exact-last": last + state + 2 * checkpoint,  # steps 10 to 13, replayed from 8 on
        "exact": last + state + 4 * checkpoint,
        "influence-functions": last,
        "loss": last,
        "random": 0,
    }
    for ranking, n_bytes in wanted.items():
        done = rank(softmax.config(), 0, ranking, str(run), str(tmp_path / "scores.npy"))
        assert done.cache_bytes == n_bytes, ranking


# --------------------------------------------------------------- retrain


@pytest.mark.parametrize(("protocol", "first_epoch"), [("all", 0), ("last", LAST)])
@pytest.mark.parametrize("ranking", ["exact", "random"])
@pytest.mark.parametrize("n", [0, 1, 9])
def test_a_retraining_leaves_the_lowest_rows_gradients_out(
    softmax, protocol, first_epoch, ranking, n
):
    removed = set(np.lexsort((np.arange(N), scores(softmax, ranking)))[:n].tolist())
    theta = softmax.trained(
        start_of(softmax.folder / "run0"),
        0,
        lambda row, epoch: float(not (row in removed and epoch >= first_epoch)),
    )
    run, npy = softmax.folder / "run0", softmax.folder / f"{ranking}.npy"
    got = retrain(softmax.config(), 0, protocol, str(run), str(npy), n)
    assert got.loss == pytest.approx(losses(theta, softmax.test).mean(), rel=2e-5)
    assert got.accuracy == accuracy(theta, softmax.test)


def test_rows_of_equal_scores_go_in_their_order(softmax, tmp_path):
    values = np.ones(N)
    values[[20, 5]] = 0.5
    np.save(tmp_path / "equal.npy", values)
    ordered = np.full(N, 9.0)
    ordered[[5, 20, 0, 1]] = [1, 2, 3, 4]
    np.save(tmp_path / "ordered.npy", ordered)
    run = str(softmax.folder / "run0")
    one, other = (
        retrain(softmax.config(), 0, "all", run, str(tmp_path / f"{name}.npy"), 4)
        for name in ("equal", "ordered")
    )
    assert (one.accuracy, one.loss) == (other.accuracy, other.loss)


CELLS = [("all", "exact", 9), ("last", "exact", 9), ("all", "random", 4), ("last", "loss", 2)]


def numbers(softmax: Softmax, cells) -> list[tuple[float, float]]:
    out = []
    for protocol, ranking, n in cells:
        npy = softmax.folder / f"{ranking}.npy"
        got = retrain(softmax.config(), 0, protocol, str(softmax.folder / "run0"), str(npy), n)
        out.append((got.accuracy, got.loss))
    return out


def test_a_retraining_has_the_same_bits_whatever_came_before_and_wherever_it_runs(softmax):
    forth = numbers(softmax, CELLS)
    retrain(
        softmax.config(batch_size=9),
        1,
        "all",
        str(softmax.folder / "no run"),
        str(softmax.folder / "loss.npy"),
        3,
    )
    assert numbers(softmax, CELLS[::-1])[::-1] == forth
    program = (
        "import pickle, sys\n"
        "from tests.retraining.test_tasks import CELLS, numbers\n"
        "softmax = pickle.load(sys.stdin.buffer)\n"
        "print(*(x.hex() for pair in numbers(softmax, CELLS[1:]) for x in pair))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(softmax),
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    printed = done.stdout.decode().splitlines()[-1].split()
    assert printed == [x.hex() for pair in forth[1:] for x in pair]


# --------------------------------------------------------------- refusals


def test_a_run_without_checkpoints_is_refused(softmax, tmp_path):
    recorded = read_run(softmax.folder / "run0")
    bare = tmp_path / "run"
    write_run(bare, parameters=recorded.parameters(), steps=recorded.steps, settings=None)
    with pytest.raises(RunError, match=r"run: has no checkpoint from before step 10"):
        retrain(softmax.config(), 0, "last", str(bare), str(softmax.folder / "loss.npy"), 2)
