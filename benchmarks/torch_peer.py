"""torch's double backward, for `speed.py` to take turns with; it runs in an environment of its own.

It prints the seconds of one mini-batch, by contestant, once to warm up and then for each line that
it reads. What torch computes is what the engine does: J u of a mini-batch and H u of its mean loss,
from the gradient as a graph, with batch normalisations at their running statistics. Where bergson
is installed, it takes part too, see `bergson_peer.py`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def network(name: str) -> tuple[Any, tuple[int, ...]]:
    """Return a network of `speed.py` and the shape of its input."""
    if name == "mlp":
        layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(128, 10)), (64,)
    if name == "lenet":
        layers = [nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU()]
        layers += [nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()]
        layers += [nn.Linear(256, 64), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(64, 10)), (1, 28, 28)
    shape = {"six28": (1, 28, 28), "six32": (3, 32, 32)}[name]
    layers, before = [], shape[0]
    for maps in (32, 64, 128):
        layers += [nn.Conv2d(before, maps, 3, padding=1), nn.BatchNorm2d(maps), nn.ReLU()]
        layers += [nn.Conv2d(maps, maps, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before = maps
    side = shape[1] // 8
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * side * side, 10)), shape


def main(name: str, batch_size: int) -> None:
    """Do a mini-batch for each line of the input."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, shape = network(name)
    model.eval()
    parameters = list(model.parameters())
    x, y = torch.rand(batch_size, *shape), torch.randint(0, 10, (batch_size,))
    u = [torch.randn_like(p) for p in parameters]
    weights = torch.full((batch_size,), 1 / batch_size, requires_grad=True)

    def step() -> None:
        losses = F.cross_entropy(model(x), y, reduction="none")
        gradient = torch.autograd.grad((weights * losses).sum(), parameters, create_graph=True)
        torch.autograd.grad(gradient, [weights, *parameters], u)

    def seconds() -> dict[str, float]:
        started = time.perf_counter()
        step()
        taken = {"torch": time.perf_counter() - started}
        return {**taken, **seconds_of_magic(network(name)[0], x, y)} if with_bergson else taken

    with_bergson = importlib.util.find_spec("bergson") is not None
    if with_bergson:
        from bergson_peer import seconds_of_magic
    print(json.dumps(seconds()), flush=True)
    for _ in sys.stdin:
        print(json.dumps(seconds()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
