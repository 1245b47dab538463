"""Which device is chosen, on a machine without a GPU and with pretended CUDA extensions."""

from __future__ import annotations

import logging
import re
import sys

import nnabla as nn
import numpy as np
import pytest

import nnabla_influence.device as device_module
from nnabla_influence.device import choose_device
from nnabla_influence.errors import DeviceError


@pytest.fixture
def extension(monkeypatch):
    """Pretend that an extension is installed whose import or use fails in a given way."""

    real = device_module.get_extension_context

    def install(failure: Exception | None) -> None:
        def context(name: str, **keywords: str) -> nn.Context:
            if name == "cpu":
                return real(name)
            print("the driver's library prints this")
            logging.getLogger("nnabla").error("and logs this")
            if failure is not None:
                raise failure
            return nn.Context(["cpu:float"], "CpuCachedArray", keywords["device_id"])

        monkeypatch.setattr(device_module, "get_extension_context", context)

    return install


def is_cpu(context: nn.Context) -> bool:
    return list(context.backend) == ["cpu:float"]


def test_the_cpu_as_requested():
    device = choose_device("cpu")
    assert is_cpu(device.context)
    assert device.description == "CPU (as asked for)"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "", "cuda:0 ", "auto:1"])
def test_unknown_names(name: str):
    with pytest.raises(DeviceError, match=r"auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_no_extension_is_no_error_unless_a_gpu_was_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "nnabla_ext.cudnn", None)
    device = choose_device("auto")
    assert is_cpu(device.context)
    assert device.description == "CPU (no CUDA extension of nnabla is installed)"
    with pytest.raises(
        DeviceError,
        match=r"'cuda:1' .*no CUDA extension .*cuda110, cuda116 or cuda120",
    ):
        choose_device("cuda:1")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ImportError("libcuda.so.1: cannot\nopen  shared object"), "libcuda.so.1: cannot open sha"),
        (OSError("no such library"), "no such library"),
        (ValueError("GPU 'K20' is incompatible"), "GPU 'K20' is incompatible"),
        (RuntimeError("CUDA driver version is insufficient"), "CUDA driver version"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_an_extension_that_does_not_work(
    extension, capsys, caplog, failure: Exception, reason: str
):
    extension(failure)
    device = choose_device("auto")
    assert is_cpu(device.context)
    assert device.description.startswith(f"CPU ({reason}")
    with pytest.raises(DeviceError, match=f"'cuda' does not work .{re.escape(reason)}") as caught:
        choose_device("cuda")
    for text in (device.description, str(caught.value)):
        assert "\n" not in text
    assert capsys.readouterr().out == ""  # standard output is for results
    assert caplog.text == ""
    logging.getLogger("nnabla").error("audible again")
    assert "audible again" in caplog.text


def test_an_extension_that_works_is_taken_with_its_number(extension, capsys):
    extension(None)
    assert choose_device("auto").description == "cudnn, GPU 0"
    device = choose_device("cuda:3")
    assert device.description == "cudnn, GPU 3"
    assert device.context.device_id == "3"
    assert capsys.readouterr().out == ""


def test_an_extension_that_computes_wrongly_is_not_believed(extension, monkeypatch):
    extension(None)
    monkeypatch.setattr(np, "ones", lambda shape, dtype: np.full(shape, 3, dtype))
    assert choose_device("auto").description == "CPU (a small computation gave a wrong result)"
