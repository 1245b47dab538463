from __future__ import annotations

import contextlib

import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest
from nnabla.experimental.framework.updater import Updater
from nnabla.utils.data_iterator import data_iterator_simple

from nnabla_influence.errors import OutputError, RunError, UnsupportedError
from nnabla_influence.options import RecorderOptions
from nnabla_influence.runs.checkpoint import Checkpoint
from nnabla_influence.runs.recorder import Recorder
from nnabla_influence.runs.run import read_run
from nnabla_influence.solvers import SolverState
from tests.exact_trainings import equal
from tests.training_data import check_by_hand, linear_data, rows_of

N, B = 13, 4
X, Y = linear_data(N)
ALL, FINAL = RecorderOptions(window="all"), RecorderOptions(keep="final")


class Net:
    """The user's script: a linear regression in a parameter scope of the test's own."""

    def __init__(self, solver=None, batch_size=B, batch_norm=False):
        self.x, self.y = nn.Variable((batch_size, 3)), nn.Variable((batch_size, 1))
        with nn.parameter_scope("net"):
            h = PF.batch_normalization(self.x, name="bn") if batch_norm else self.x
            rng = np.random.RandomState(1)
            self.loss = F.mean(F.squared_error(PF.affine(h, 1, rng=rng), self.y))
        self.solver = S.Sgd(0.1) if solver is None else solver
        self.solver.set_parameters(nn.get_parameters())
        self.first = {name: v.d.copy() for name, v in nn.get_parameters(grad_only=False).items()}

    def last(self):
        return {name: v.d.copy() for name, v in nn.get_parameters(grad_only=False).items()}

    def feed(self, batch):
        self.x.d, self.y.d = batch
        self.loss.forward()


@pytest.fixture(autouse=True)
def _own_scope():
    with nn.parameter_scope("", scope={}):
        yield


def make_iterator(batch_size=B, **options):
    return data_iterator_simple(
        lambda i: (X[i], Y[i]), N, batch_size, rng=np.random.RandomState(2), **options
    )


@contextlib.contextmanager
def recorded(tmp_path, net, weight_decay=None, **options):
    with (
        make_iterator(shuffle=True) as iterator,
        Recorder(
            tmp_path / "run",
            solver=net.solver,
            iterator=iterator,
            weight_decay=weight_decay,
            options=RecorderOptions(**options),
        ) as recorder,
    ):
        yield recorder


def by_hand(folder, net):
    run = read_run(folder)
    check_by_hand(run, X, Y, net.first, "net/affine")
    return run


def test_a_loop_with_decay_and_falling_rates_can_be_retrained_by_hand_from_the_run(tmp_path):
    net = Net()
    with recorded(tmp_path, net, window="all") as recorder:
        fed = []
        for i in range(11):
            batch = recorder.iterator.next()
            fed.append(rows_of(batch[0]))
            net.feed(batch)
            recorder.solver.zero_grad()
            net.loss.backward()
            recorder.solver.weight_decay(0.01)
            recorder.solver.set_learning_rate(0.1 / (1 + i))
            recorder.solver.update()
    run = by_hand(tmp_path / "run", net)
    assert [step.rows.tolist() for step in run.steps] == fed
    assert [step.learning_rate for step in run.steps] == [
        float(np.float32(0.1 / (1 + i))) for i in range(11)
    ]
    assert run.settings.solver == "Sgd"
    assert run.settings.weight_decay == float(np.float32(0.01))
    assert (run.settings.n_rows, run.settings.total_steps) == (N, 11)
    assert run.settings.hyperparameters == {"lr": float(np.float32(0.1))}
    for name, value in net.last().items():
        assert np.array_equal(run.parameters()[name], value)


def test_recording_changes_neither_the_order_nor_the_result(tmp_path):
    def trained(record):
        with nn.parameter_scope("", scope={}), make_iterator(shuffle=True) as iterator:
            net = Net(S.Momentum(0.05))
            solver = net.solver
            if record:
                recorder = Recorder(tmp_path / "run", solver=solver, iterator=iterator)
                iterator, solver = recorder.iterator, recorder.solver
            for _ in range(10):
                net.feed(iterator.next())
                solver.zero_grad()
                net.loss.backward()
                solver.update()
            return net.last()

    plain, recorded = trained(False), trained(True)
    for name, value in plain.items():
        assert np.array_equal(recorded[name], value)


@pytest.mark.parametrize("zero_first", [True, False])
def test_gradients_summed_over_two_batches(tmp_path, zero_first):
    net = Net()
    with recorded(tmp_path, net, window="all") as recorder:
        recorder.iterator.next()  # drawn to look at it: not trained on
        for i in range(12):
            if zero_first and i % 2 == 0:
                recorder.solver.zero_grad()
            net.feed(recorder.iterator.next())
            if (zero_first and i == 0) or (not zero_first and i % 2 == 0):
                recorder.solver.zero_grad()
            net.loss.backward()
            if i % 2 == 1:
                recorder.solver.update()
    run = by_hand(tmp_path / "run", net)
    assert [len(step.batches) for step in run.steps] == [2] * 6


def test_given_rows_with_a_ragged_last_batch(tmp_path):
    net = Net(batch_size=1)
    with Recorder(tmp_path / "run", solver=net.solver, n_rows=N, weight_decay=0.02) as recorder:
        for epoch in range(5):
            order = np.random.RandomState(epoch).permutation(N)
            for start in range(0, N, B):
                rows = order[start : start + B]
                net.solver.zero_grad()
                for row in rows:
                    net.feed((X[row : row + 1], Y[row : row + 1]))
                    net.loss.backward(1 / len(rows))
                net.solver.weight_decay(0.02)
                # The first epochs leave the parameters, to start by hand from there.
                net.solver.set_learning_rate(0.0 if epoch < 3 else 0.1)
                net.solver.update()
                recorder.step(rows)
    run = by_hand(tmp_path / "run", net)
    assert [(s.step, s.epoch) for s in run.steps] == [(i, i // 4) for i in range(12, 20)]
    assert [len(s.rows) for s in run.steps] == [4, 4, 4, 1] * 2
    assert run.settings.total_steps == 20


def test_given_rows_of_several_batches_of_one_update(tmp_path):
    net = Net()
    with Recorder(tmp_path / "run", solver=net.solver, n_rows=N, options=ALL) as recorder:
        net.solver.zero_grad()
        for rows in ([0, 1, 2, 3], [4, 5, 6, 7]):
            net.feed((X[rows], Y[rows]))
            net.loss.backward()
        net.solver.update()
        recorder.step([0, 1, 2, 3], [4, 5, 6, 7], epoch=7)
    run = by_hand(tmp_path / "run", net)
    assert run.steps[0].epoch == 7


def test_the_updater_of_nnablas_framework(tmp_path):
    net = Net()
    with recorded(tmp_path, net, weight_decay=0.01, window="all") as recorder:
        updater = Updater(
            train_data_feeder=lambda i, e, ag: net.feed(recorder.iterator.next()),
            solver_zero_grad=lambda i, e: net.solver.zero_grad(),
            solver_update=lambda i, e: net.solver.update(),
            loss_backward=lambda i, e, ag: net.loss.backward(),
            solver_update_callback_on_start=lambda i, e: net.solver.weight_decay(0.01),
            solver_update_callback_on_finish=recorder.updated,
            accum_grad=2,
        )
        for e in range(3):
            for i in range(2):
                updater.update(i, e)
    run = by_hand(tmp_path / "run", net)
    assert [step.epoch for step in run.steps] == [0, 0, 1, 1, 2, 2]
    assert [len(step.batches) for step in run.steps] == [2] * 6


def test_an_iterator_made_anew_each_epoch(tmp_path):
    net = Net()
    with Recorder(tmp_path / "run", solver=net.solver, n_rows=N, options=ALL) as recorder:
        for _ in range(3):
            with recorder.watch(make_iterator(shuffle=True, stop_exhausted=True)) as iterator:
                for batch in iterator:
                    net.feed(batch)
                    recorder.solver.zero_grad()
                    net.loss.backward()
                    recorder.solver.update()
    run = by_hand(tmp_path / "run", net)
    assert [step.epoch for step in run.steps] == [0] * 3 + [1] * 3 + [2] * 3


def train(recorder, net, count):
    for _ in range(count):
        net.feed(recorder.iterator.next())
        recorder.solver.zero_grad()
        net.loss.backward()
        recorder.solver.update()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # 13 rows in batches of 4: three updates an epoch, counted back from the last of 29.
        ({}, [(23, 8), (24, 8), (25, 8), (26, 9), (27, 9), (28, 9)]),
        ({"window": 1}, [(26, 9), (27, 9), (28, 9)]),
        ({"window": "all"}, [(step, (step + 1) // 3) for step in range(29)]),
        ({"window": 1, "steps_per_epoch": 5}, [(25, 5), (26, 5), (27, 5), (28, 5)]),
    ],
)
def test_the_window_and_its_epochs(tmp_path, options, expected):
    net = Net()
    with recorded(tmp_path, net, **options) as recorder:
        train(recorder, net, 29)
    run = read_run(tmp_path / "run")
    assert [(step.step, step.epoch) for step in run.window_steps] == expected


def train_noted(recorder, net, count, first=0):
    """Train; return the checkpoints before each step and at the end."""
    noted = [state_of(net, first)]
    for number in range(first + 1, first + count + 1):
        train(recorder, net, 1)
        noted.append(state_of(net, number))
    return noted


def state_of(net, step):
    states, values = net.solver.get_states(), {}
    for name, state in states.items():
        for kind, v in state.pstate.items():
            values.setdefault(kind, {})[name] = v.d.copy()
    (t,) = {state.t for state in states.values()}
    return Checkpoint(step, net.last(), SolverState(t, values))


# 13 rows in batches of 4: three updates an epoch.
@pytest.mark.parametrize(
    ("options", "checkpoints", "first"),
    [
        ({"window": "all", "keep": "all"}, range(37), 0),
        ({"window": "all", "total_steps": 37}, range(0, 37, 7), 0),
        ({"window": "all"}, range(0, 37, 8), 0),
        ({"window": "last", "keep": "all"}, range(34, 37), 34),
        ({"window": 2, "keep": "all"}, range(31, 37), 31),
        # Five steps an epoch: the window is that of the steps 30 to 36, seven.
        ({"window": 2, "total_steps": 37, "steps_per_epoch": 5}, [30, 33, 36], 30),
        # Announced to end with step 49, its checkpoints are those that lead to 40, 44, ...: 28 is
        # the last before the window.
        ({"window": 2, "total_steps": 50, "steps_per_epoch": 5}, [28, 32, 36], 28),
        # Thinned out to every fourth; the one before the window's first step, 31, is 28.
        ({"window": 2}, [28, 32, 36], 28),
        ({"window": "last", "keep": "final"}, [], 34),
    ],
)
def test_the_checkpoints_that_are_kept(tmp_path, options, checkpoints, first):
    net = Net(S.Adam(0.05), batch_norm=True)
    with recorded(tmp_path, net, **options) as recorder:
        noted = train_noted(recorder, net, 37)
    run = read_run(tmp_path / "run")
    assert run.checkpoints == tuple(checkpoints)
    assert [step.step for step in run.steps] == list(range(first, 37))
    window = {"all": 0, "last": 34, 2: 30 if "steps_per_epoch" in options else 31}
    assert [step.step for step in run.window_steps] == list(range(window[options["window"]], 37))
    for number in run.checkpoints:
        equal(run.checkpoint(number), noted[number])
    equal(run.final_checkpoint(), noted[37])
    assert run.settings.keep == options.get("keep", "sqrt")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_can_be_saved_during_the_training(tmp_path):
    net = Net(S.Momentum(0.05))
    with recorded(tmp_path, net, window="all", keep="all") as recorder:
        noted = train_noted(recorder, net, 4)
        assert recorder.save().checkpoints == (0, 1, 2, 3)
        noted[4:] = train_noted(recorder, net, 3, first=4)
    run = read_run(tmp_path / "run")
    assert run.checkpoints == tuple(range(7))
    for number in run.checkpoints:
        equal(run.checkpoint(number), noted[number])


def test_what_the_training_starts_from_may_be_loaded_after_the_recorder_is_made(tmp_path):
    net = Net(S.Momentum(0.05))
    with recorded(tmp_path, net, keep="sqrt", total_steps=9) as recorder:
        for variable in nn.get_parameters().values():
            variable.d = 3.0
        noted = train_noted(recorder, net, 2)
    equal(read_run(tmp_path / "run").checkpoint(0), noted[0])


def test_checkpoints_by_the_names_of_the_definition_and_rows_of_the_users_own(tmp_path):
    net = Net(S.Momentum(0.05))
    with nn.parameter_scope("net"):
        inner = nn.get_parameters(grad_only=False)
    rows = [0, 1, 2, 3]
    with Recorder(
        tmp_path / "run",
        solver=net.solver,
        n_rows=N,
        options=RecorderOptions("all", "all", parameters=inner),
    ) as recorder:
        for _ in range(3):
            net.feed((X[rows], Y[rows]))
            net.solver.zero_grad()
            net.loss.backward()
            net.solver.update()
            recorder.step(rows)
    run = read_run(tmp_path / "run")
    first = run.checkpoint(0)
    assert set(first.parameters) == set(first.solver.values["m"]) == {"affine/W", "affine/b"}
    assert np.array_equal(first.parameters["affine/W"], net.first["net/affine/W"])
    momentum = net.solver.get_states()["net/affine/W"].pstate["m"].d
    assert np.array_equal(run.final_checkpoint().solver.values["m"]["affine/W"], momentum)


def test_hyperparameters_are_the_constructors_whatever_the_schedule_did(tmp_path):
    for solver, expected in (
        (S.Adam(0.001, 0.8, 0.99, 1e-6), {"lr": 0.001, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6}),
        (S.AdamW(0.01, wd=0.25), {"lr": 0.01, "wd": 0.25}),
        (S.SgdW(0.02, 0.5, 0.125), {"lr": 0.02, "momentum": 0.5, "wd": 0.125}),
    ):
        with nn.parameter_scope("", scope={}):
            with Recorder(tmp_path / "run", solver=Net(solver).solver, n_rows=N) as recorder:
                recorder.solver.set_learning_rate(0.5)
                recorder.step([1])
            run = read_run(tmp_path / "run")
        found = run.settings.hyperparameters
        assert {name: found[name] for name in expected} == pytest.approx(expected)
        assert run.settings.solver == solver.name
        # Nobody called weight_decay: the constructor's is what the solver uses.
        assert (run.settings.weight_decay, run.steps[0].learning_rate) == (0.0, 0.5)


def test_a_decay_of_0_that_would_be_taken_for_the_solvers_own_is_refused(tmp_path):
    recorder = Recorder(tmp_path / "run", solver=Net(S.AdamW(wd=0.1)).solver, n_rows=N)
    with pytest.raises(UnsupportedError, match=r"weight_decay\(0\) .* wd=0"):
        recorder.solver.weight_decay(0.0)
    with nn.parameter_scope("", scope={}):
        recorder = Recorder(tmp_path / "run", solver=Net(S.AdamW(wd=0.0)).solver, n_rows=N)
        recorder.solver.weight_decay(0.0)


def test_a_disk_that_is_full_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    net = Net()

    def training():
        with recorded(tmp_path, net, keep="all") as recorder:
            monkeypatch.setattr("nnabla_influence.runs.checkpoint_writer.write_values", full)
            train(recorder, net, 3)

    with pytest.raises(OutputError, match=r"run: .*No space .*keep="):
        training()
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_that_changes_its_shape_is_refused(tmp_path):
    net = Net()
    recorder = Recorder(
        tmp_path / "run", solver=net.solver, n_rows=N, options=RecorderOptions(keep="all")
    )
    net.solver.get_parameters()["net/affine/W"].reset_shape((4, 1), force=True)
    with pytest.raises(RunError, match=r"net/affine/W .* shape"):
        recorder.step([1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("keep", [False, True])
def test_a_training_that_ends_with_an_exception(tmp_path, error, keep):
    net = Net()

    def interrupted():
        with recorded(tmp_path, net, keep="all", keep_on_error=keep) as recorder:
            train(recorder, net, 4)
            recorder.iterator.next()
            raise error

    with pytest.raises(error):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == (["run"] if keep else [])
    if keep:
        run = read_run(tmp_path / "run")
        assert (len(run.steps), run.checkpoints) == (4, (0, 1, 2, 3))


def decay(*rates):
    def train(recorder):
        for rate in rates:
            recorder.solver.weight_decay(rate)
            recorder.step([1])
        recorder.save()

    return train


@pytest.mark.parametrize(
    ("error", "message", "call", "options"),
    [
        (UnsupportedError, "clip_grad_by_norm", lambda r: r.solver.clip_grad_by_norm(1.0), {}),
        (UnsupportedError, "scale_grad", lambda r: r.solver.scale_grad(1.0), {}),
        (UnsupportedError, "weight decay .*0.1 to 0.2", decay(0.1, 0.2), {}),
        (RunError, "weight_decay", decay(0.1), {"weight_decay": 0.1}),
        (RunError, r"recorder.step\(rows\)", lambda r: r.solver.update(), {}),
        (RunError, "no solver update", lambda r: r.save(), {}),
        (RunError, f"row {N} ", lambda r: r.step([0, N]), {}),
        (RunError, "row -1 ", lambda r: r.step([-1, 2]), {}),
        (RunError, "float64", lambda r: r.step([]), {}),
        (RunError, r"\(1, 2\)", lambda r: r.step([[1, 2]]), {}),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path, error, message, call, options):
    recorder = Recorder(tmp_path / "run", solver=Net().solver, n_rows=N, options=FINAL, **options)
    with pytest.raises(error, match=message):
        call(recorder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (RunError, "n_rows", {"n_rows": None}),
        (RunError, "window: 0", {"options": RecorderOptions(window=0)}),
        (RunError, "keep: 'some'", {"options": RecorderOptions(keep="some")}),
        (RunError, "set_parameters", {"solver": S.Sgd()}),
        (RunError, "net/affine/[Wb] ", {"options": RecorderOptions(parameters={})}),
        (OutputError, "full: holds thesis.tex", {"folder": "full"}),
        (UnsupportedError, r"recorder.step\(rows\)", {"iterator": iter([])}),
    ],
)
def test_wrong_arguments_are_refused_before_the_training(tmp_path, error, message, arguments):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    arguments = {"folder": "run", "solver": Net().solver, "n_rows": N, **arguments}
    with pytest.raises(error, match=message):
        Recorder(tmp_path / arguments.pop("folder"), **arguments)


def test_fused_decay_replaces_and_plain_decay_adds_up(tmp_path):
    for solver, expected in ((S.Sgd(), 0.3), (S.AdamW(), 0.2)):
        with nn.parameter_scope("", scope={}):
            with Recorder(tmp_path / "run", solver=Net(solver).solver, n_rows=N) as recorder:
                recorder.solver.weight_decay(0.1)
                recorder.solver.weight_decay(0.2)
                recorder.step([1])
            assert read_run(tmp_path / "run").settings.weight_decay == pytest.approx(expected)
