"""What the tests run, here or in workers."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from nnabla_influence.errors import InfluenceError


def double(x: float) -> float:
    return 2 * x


def note(folder: str, name: str) -> None:
    """Leave a line for each time that this was done."""
    with (Path(folder) / name).open("a") as file:
        file.write("done\n")


def fail_until(folder: str, name: str, times: int) -> str:
    note(folder, name)
    if len((Path(folder) / name).read_text().splitlines()) < times:
        raise ValueError("not\nyet")
    return "at last"


def die_once(folder: str, name: str) -> str:
    before = (Path(folder) / name).exists()
    note(folder, name)
    if not before:
        os._exit(9)
    return "lived"


def die(folder: str, name: str) -> None:
    note(folder, name)
    os._exit(9)


def refuse(folder: str, name: str) -> None:
    note(folder, name)
    raise InfluenceError("row 3 is not a number; correct it")


def end_process() -> None:
    sys.exit(5)


def print_much() -> str:
    for _ in range(1000):
        print("x" * 100, end="\r", flush=True)
    return "done"


def wait(seconds: float) -> None:
    print(tempfile.mkdtemp(), file=sys.stderr, flush=True)
    time.sleep(seconds)


def gradient() -> tuple[float, str]:
    """Let nnabla compute, and tell the threads that it may take."""
    import nnabla as nn
    import nnabla.functions as F
    import numpy as np

    x = nn.Variable.from_numpy_array(np.full((2, 2), 3.0, np.float32), need_grad=True)
    with nn.auto_forward(False):
        loss = F.sum(x * x)
    loss.forward()
    loss.backward()
    return float(x.g.sum()), os.environ.get("OMP_NUM_THREADS", "")
