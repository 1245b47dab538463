"""bergson's MAGIC with every checkpoint kept, for `torch_peer.py`, where its Python has bergson."""

from __future__ import annotations

import io
import tempfile
import time
from contextlib import redirect_stderr
from typing import Any

import torch
import torchopt
from bergson.magic import BackwardState, Trainer
from torch import nn
from torch.nn import functional as F

STEPS = 4


class WeightedLoss(nn.Module):
    """The mean of the examples' weighted losses; bergson wants a model that returns a loss."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, x: Any, y: Any, weights: Any, shift_loss_mask: Any) -> Any:
        """Return the loss; bergson divides by the sum of the mask."""
        return (weights * F.cross_entropy(self.network(x), y, reduction="none")).mean()


class Stream:
    """A few mini-batches, in the manner of bergson's `DataStream`, which is for texts alone."""

    def __init__(self, x: Any, y: Any):
        self._batch = {"x": x, "y": y, "shift_loss_mask": torch.ones(1)}
        self.weights = nn.Parameter(torch.ones(STEPS, len(y)))
        self.device, self.requires_grad = x.device, True

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {**self._batch, "weights": self.weights[i]}


def seconds_of_magic(network: Any, x: Any, y: Any) -> dict[str, float]:
    """Train for a few steps and go back through them; return what one step takes."""
    stream = Stream(x, y)
    trainer, state = Trainer.initialize(WeightedLoss(network.train()), torchopt.sgd(1e-6))
    u = {name: torch.randn_like(value) for name, value in state.params.items()}
    backward = BackwardState(u, [], torch.zeros_like(stream.weights))
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):  # its bars
        times = [time.perf_counter()]
        state = trainer.train(state, stream, save_dir=folder, save_mode="all").detach_()
        times.append(time.perf_counter())
        for i in range(STEPS):
            state.load(f"{folder}/step_{i}.ckpt")
        times.append(time.perf_counter())
        trainer.backward(folder, stream, backward, state, save_mode="all", cleanup=False)
        times.append(time.perf_counter())
    names = ("bergson: train and save", "bergson: read", "bergson: read and trace")
    return {name: (b - a) / STEPS for name, a, b in zip(names, times, times[1:])}
