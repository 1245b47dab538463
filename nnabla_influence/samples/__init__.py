"""Real data at hand and sample networks, for the demo, the tests and the benchmarks."""

from nnabla_influence.samples.definitions import (
    Network,
    definition,
    write_definition,
)
from nnabla_influence.samples.digits import load_digits, write_digits
from nnabla_influence.samples.fashion_mnist import load_fashion_mnist, write_fashion_mnist
from nnabla_influence.samples.networks import (
    lenet,
    logistic_regression,
    mlp,
    resnet,
    six_convolutions,
)
from nnabla_influence.samples.parts import SampleData
from nnabla_influence.samples.settings import Scheduler, Training
from nnabla_influence.samples.tables import (
    Table,
    load_breast_cancer,
    load_small_digits,
    write_table,
)

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
