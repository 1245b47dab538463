"""Real data at hand and sample networks, for the demo, the tests and the benchmarks."""

from network_defs.samples.definitions import (
    Network,
    definition,
    write_definition,
)
from network_defs.samples.fashion_mnist import load_fashion_mnist, write_fashion_mnist
from network_defs.samples.networks import (
    lenet,
    logistic_regression,
    mlp,
    resnet,
    six_convolutions,
)
from network_defs.samples.settings import Scheduler, Training
from network_defs.samples.tables import (
    Table,
    load_breast_cancer,
    load_small_digits,
    write_table,
)
from nnabla_influence.commands.digits import SampleData, load_digits, write_digits

__all__ = [
    "Network",
    "SampleData",
    "Scheduler",
    "Table",
    "Training",
    "definition",
    "lenet",
    "load_breast_cancer",
    "load_digits",
    "load_fashion_mnist",
    "load_small_digits",
    "logistic_regression",
    "mlp",
    "resnet",
    "six_convolutions",
    "write_definition",
    "write_digits",
    "write_fashion_mnist",
    "write_table",
]
