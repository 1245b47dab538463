"""How a definition is trained: solver, learning rates, data and batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nnabla_influence.errors import ModelError

SOLVER_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    # nnabla's own; the files hold no defaults. The learning rate is given apart.
    "Sgd": {},
    "Momentum": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.9},
    "Adagrad": {"eps": 1e-8},
    "RMSprop": {"decay": 0.9, "eps": 1e-8},
    "Adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "AdamW": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "wd": 1e-4},
}
RATE_IS_ALPHA = ("Adam", "AdamW")


@dataclass(frozen=True)
class Scheduler:
    """How the learning rate changes over the iterations.

    Attributes:
        type: ``Cosine``, ``Exponential``, ``Polynomial`` or ``Step``; "" keeps the rate.
        settings: By nnabla's names: ``max_iter`` (Cosine, Polynomial), ``power`` (Polynomial),
            ``gamma`` (Exponential, Step), ``iter_interval`` (Exponential), ``iter_steps`` (Step).
        warmup: Iterations of linear warm-up; 0 for none.
    """

    type: str = ""
    settings: Mapping[str, float | list[int]] = field(default_factory=dict)
    warmup: int = 0


@dataclass(frozen=True)
class Training:
    """How and on what a definition is trained.

    Attributes:
        n_rows: Rows of the training CSV. The file states the number of iterations of an epoch,
            ``n_rows // batch_size``, and nnabla_cli believes it.
        training_csv: Path of the training CSV, as written into the file. nnabla_cli takes a
            relative one from where it is started.
        validation_csv: Path of the validation CSV, likewise.
        batch_size: Examples of a mini-batch; of both datasets.
        epochs: Number of epochs.
        solver: ``Sgd``, ``Momentum``, ``Nesterov``, ``Adagrad``, ``RMSprop``, ``Adam``, ``AdamW``.
        learning_rate: Initial learning rate.
        hyperparameters: The solver's others, by nnabla's names; nnabla's defaults where left out.
        scheduler: How the learning rate changes.
        weight_decay: Factor of the parameters that is added to the gradient.
        update_interval: Mini-batches whose gradients are summed for one update.
        shuffle: Whether nnabla_cli draws a new order for every epoch.
        normalize: Whether images are divided by 255.

    Raises:
        ModelError: There is no batch of that size, so nothing would be trained.
    """

    n_rows: int
    training_csv: str = "training.csv"
    validation_csv: str = "validation.csv"
    batch_size: int = 32
    epochs: int = 20
    solver: str = "Sgd"
    learning_rate: float = 0.05
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    scheduler: Scheduler = Scheduler()
    weight_decay: float = 0.0
    update_interval: int = 1
    shuffle: bool = True
    normalize: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.n_rows < self.batch_size:
            raise ModelError(
                f"batch size {self.batch_size} does not fit {self.n_rows} training rows;"
                " use one between 1 and the number of rows"
            )
