"""The device to compute on: cudnn if it works, else the CPU."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

import nnabla as nn
import numpy as np
from nnabla.ext_utils import get_extension_context

from nnabla_influence.errors import DeviceError
from nnabla_influence.text import cause_text


@dataclass(frozen=True)
class Device:
    """An nnabla context, and why it was chosen.

    Attributes:
        context: To compute in, with ``with nn.context_scope(device.context)``.
        description: One line for the user, such as ``CPU (no CUDA extension is installed)``.
    """

    context: nn.Context
    description: str

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU."""
        return any(backend.startswith("cudnn") for backend in self.context.backend)


def cpu_device(reason: str) -> Device:
    """Return the CPU, with ``reason`` in its description."""
    return Device(get_extension_context("cpu"), f"CPU ({reason})")


def choose_device(name: str = "auto") -> Device:
    """Choose the device to compute on.

    Args:
        name: ``auto`` (cudnn if it works, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: The name is not one of these, or CUDA was requested and does not work.
    """
    if name == "cpu":
        return cpu_device("as asked for")
    match = re.fullmatch(r"auto|cuda(?::(\d+))?", name)
    if match is None:
        raise DeviceError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    try:
        return _working_cudnn(match.group(1) or "0")
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        # All that a missing extension, driver, library or GPU was seen to raise.
        reason = _reason(error)
        if name != "auto":
            raise DeviceError(
                f"device {name!r} does not work ({reason}); use device cpu, or install the"
                " extra cuda110, cuda116 or cuda120 together with its driver and cuDNN 8"
            ) from error
        return cpu_device(reason)


def _working_cudnn(device_id: str) -> Device:
    with _quiet():
        context = get_extension_context("cudnn", device_id=device_id)
        with nn.context_scope(context):
            probe = nn.Variable.from_numpy_array(np.ones((2, 2), np.float32)) * 2.0
            probe.forward()
            if not (probe.d == 2.0).all():
                raise RuntimeError("a small computation gave a wrong result")
    return Device(context, f"cudnn, GPU {device_id}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what nnabla logs and prints without a GPU, which is not an error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


def _reason(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "no CUDA extension of nnabla is installed"
    return cause_text(error)
