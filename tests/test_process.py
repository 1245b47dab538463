"""Where a signal ends the program, and where it waits."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nnabla_influence.process import tidy_process


def code_of(module: str, text: str) -> Callable[[], None]:
    """Return a function that runs as code of a module."""
    namespace = {"__name__": module, "os": os, "signal": signal, "time": time, "done": DONE}
    exec(f"def function():\n    {text}", namespace)
    return namespace["function"]  # type: ignore[return-value]


DONE: list[str] = []
WORK = "deadline = time.monotonic() + {}\n    while time.monotonic() < deadline: pass"
SIGNAL = "os.kill(os.getpid(), signal.{})\n    "


@pytest.fixture(autouse=True)
def _handlers():
    DONE.clear()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [("SIGINT", KeyboardInterrupt, None), ("SIGTERM", SystemExit, 143)],
)
def test_code_of_others_is_not_interrupted(name: str, kind, code: int | None):
    """nnabla's compiled code runs Python code, and loses what is raised there."""
    others = code_of("nnabla.x", SIGNAL.format(name) + WORK.format(0.1) + "\n    done.append('it')")
    ours = code_of("nnabla_influence.x", WORK.format(5))

    def both() -> None:
        others()
        ours()

    with pytest.raises(kind) as caught, tidy_process():
        both()
    assert DONE == ["it"]
    assert code is None or caught.value.code == code


def test_our_code_is_interrupted_at_once():
    text = SIGNAL.format("SIGINT") + WORK.format(0.5) + "\n    done.append('it')"
    ours = code_of("nnabla_influence.x", text)
    with pytest.raises(KeyboardInterrupt), tidy_process():
        ours()
    assert DONE == []


def test_what_never_comes_back_is_interrupted_at_last():
    others = code_of("subprocess", SIGNAL.format("SIGINT") + WORK.format(30))
    with pytest.raises(KeyboardInterrupt), tidy_process():
        others()


def test_a_signal_does_not_outlive_the_work():
    others = code_of("nnabla.x", SIGNAL.format("SIGINT"))
    with tidy_process():
        others()
    time.sleep(0.1)  # would be raised here


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with tidy_process():
            code_of("nnabla_influence.x", SIGNAL.format("SIGTERM") + WORK.format(0.05))()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_may_run_it():
    def work() -> None:
        with tidy_process():
            pass

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_there_may_be_no_standard_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with tidy_process():
        pass
