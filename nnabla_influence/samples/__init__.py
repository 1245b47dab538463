"""Real data at hand and sample networks, for the demo, the tests and the benchmarks."""

from nnabla_influence.samples.definitions import (
    Network,
    Scheduler,
    Training,
    definition,
    write_definition,
)
from nnabla_influence.samples.digits import load_digits, write_digits
from nnabla_influence.samples.networks import (
    lenet,
    logistic_regression,
    mlp,
    resnet,
    six_convolutions,
)
from nnabla_influence.samples.parts import SampleData

__all__ = [
    "Network",
    "SampleData",
    "Scheduler",
    "Training",
    "definition",
    "lenet",
    "load_digits",
    "logistic_regression",
    "mlp",
    "resnet",
    "six_convolutions",
    "write_definition",
    "write_digits",
]
