"""Train with a plain nnabla script, as a user would write it, recorded by three lines."""

from __future__ import annotations

from pathlib import Path

import nnabla as nn
import nnabla.functions as NF
import nnabla.parametric_functions as NPF
import nnabla.solvers as NS
import numpy as np
from nnabla.utils.save import save

from nnabla_influence import Recorder, RecorderOptions
from nnabla_influence.device import choose_device
from nnabla_influence.runs.run import Run, read_run
from reproductions.hara_table1.data import Part
from reproductions.hara_table1.settings import Settings

DEFINITION = "net.nntxt"


def layer_names(settings: Settings) -> list[str]:
    """Return the layers' parameter scopes, from the input on."""
    return [f"layer{number + 1}" for number in range(len(settings.hidden) + 1)]


def train(settings: Settings, data: Part, alpha: float, seed: int, folder: Path, keep: str) -> Run:
    """Train, and leave the run ``folder/KEEP`` and the definition ``folder/net.nntxt``.

    Args:
        settings: What to train, and how.
        data: Training rows, as ``folder/training.csv`` has them.
        alpha: Weight decay.
        seed: Of the initial values and of the order.
        folder: Where to write.
        keep: Which states to keep: ``all`` or ``sqrt``.
    """
    per_epoch = settings.steps_per_epoch
    order = np.random.default_rng([seed, 2])
    with nn.parameter_scope("", scope={}), nn.context_scope(choose_device("cpu").context):
        x, y, loss = _graph(settings, data.x.shape[1], seed)
        solver = NS.Sgd(settings.learning_rate(0))
        solver.set_parameters(nn.get_parameters())
        with Recorder(
            folder / keep,
            solver=solver,
            n_rows=len(data),
            weight_decay=alpha,
            dataset=str(folder / "training.csv"),
            options=RecorderOptions(
                window="all",
                keep=keep,
                steps_per_epoch=per_epoch,
                total_steps=per_epoch * settings.epochs,
            ),
        ) as recorder:
            for epoch in range(settings.epochs):
                batches = np.split(order.permutation(len(data)), per_epoch)
                for number, rows in enumerate(batches):
                    x.d, y.d = data.x[rows], data.y[rows]
                    loss.forward()
                    solver.zero_grad()
                    loss.backward()
                    solver.weight_decay(alpha)
                    solver.set_learning_rate(settings.learning_rate(epoch * per_epoch + number))
                    solver.update()
                    recorder.step(rows, epoch=epoch)
        _save_definition(folder / DEFINITION, settings, x, y, loss, solver, alpha)
    return read_run(folder / keep)


def _graph(
    settings: Settings, n_features: int, seed: int
) -> tuple[nn.Variable, nn.Variable, nn.Variable]:
    """Build the mean loss; initial values as PyTorch's Linear has them, as in the paper."""
    rng = np.random.default_rng([seed, 3])
    x = nn.Variable((settings.batch_size, n_features))
    y = nn.Variable((settings.batch_size, 1))
    h = x
    for name, units in zip(layer_names(settings), (*settings.hidden, 1)):
        if h is not x:
            h = NF.relu(h)
        limit = 1 / np.sqrt(h.shape[1])
        h = NPF.affine(
            h,
            units,
            w_init=rng.uniform(-limit, limit, (h.shape[1], units)),
            b_init=rng.uniform(-limit, limit, units),
            name=name,
        )
    return x, y, NF.mean(NF.sigmoid_cross_entropy(h, y))


def _save_definition(
    path: Path,
    settings: Settings,
    x: nn.Variable,
    y: nn.Variable,
    loss: nn.Variable,
    solver: NS.Sgd,
    alpha: float,
) -> None:
    dataset = {
        "name": "Training",
        "uri": "training.csv",
        "cache_dir": "",
        "variables": ["x", "y"],
        "shuffle": True,
        "batch_size": settings.batch_size,
        "no_image_normalization": False,
    }
    optimizer = {
        "name": "Optimizer",
        "network": "Main",
        "dataset": "Training",
        "solver": solver,
        "weight_decay": alpha,
        "lr_decay": 1.0,  # the rates of the run count: no definition can say 1/sqrt(t + 1)
        "lr_decay_interval": 1,
        "update_interval": 1,
        "data_variables": {"x": "x", "y": "y"},
        "loss_variables": ["loss"],
    }
    network = {
        "name": "Main",
        "batch_size": settings.batch_size,
        "outputs": {"loss": loss},
        "names": {"x": x, "y": y},
    }
    contents = {
        "global_config": {"default_context": nn.get_current_context()},
        "training_config": {
            "max_epoch": settings.epochs,
            "iter_per_epoch": settings.steps_per_epoch,
            "save_best": False,
        },
        "networks": [network],
        "datasets": [dataset],
        "optimizers": [optimizer],
    }
    save(str(path), contents, include_params=False)
