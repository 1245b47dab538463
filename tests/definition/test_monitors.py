"""Monitors that disturb a training are refused, those that do not are not."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import nnabla.solvers as S
import numpy as np
import pytest

from nnabla_influence.definition import (
    Mode,
    RandomLayers,
    build_objective,
    load_definition,
)
from nnabla_influence.definition.model_file import read_parameters
from nnabla_influence.errors import UnsupportedError

from .definitions import BATCH, CPU, python_proto, train_by_nnabla_cli, write_nnp


def network(*, seed=None, batch_stat=None):
    def make(v):
        h = PF.affine(v["x"], 4, name="a")
        if batch_stat is not None:
            h = PF.batch_normalization(h, batch_stat=batch_stat, name="n")
        h = F.tanh(h)
        if seed is not None:
            h = F.dropout(h, 0.5, seed=seed)
        return F.squared_error(PF.affine(h, 1, name="b"), v["t"])

    return make


DROPPING = network(seed=5)
NORMALIZING = network(batch_stat=True)


def monitored(train, validate, monitor_network, epochs=2):
    proto, parameters = python_proto(train, validation=validate, solver=S.Sgd(0.1))
    proto.training_config.max_epoch, proto.training_config.iter_per_epoch = epochs, 2
    monitor = proto.monitor.add()
    monitor.name, monitor.network_name = "valid_error", monitor_network
    monitor.dataset_name.append("Validation")
    for fed in proto.optimizer[0].data_variable:
        variable = monitor.data_variable.add()
        variable.variable_name, variable.data_name = fed.variable_name, fed.data_name
    monitor.monitor_variable.add().variable_name = "loss"
    return proto, parameters


REFUSED = {  # networks Main and MainValidation, the monitor's, and what the error names
    "random layers": (DROPPING, None, "Main", "'valid_error' .*'Main', whose random layers"),
    "running statistics": (NORMALIZING, None, "Main", "'valid_error' .*'Main'.* 'n/bn/mean'"),
    "running statistics, by another network": (
        *(NORMALIZING, NORMALIZING, "MainValidation"),
        "'MainValidation'.* 'n/bn/mean'",
    ),
}
CONSTANT = network(batch_stat=False)
ACCEPTED = {
    "nothing to disturb": (network(), None, "Main"),
    "random layers of its own": (DROPPING, DROPPING, "MainValidation"),
    "running statistics as constants": (NORMALIZING, CONSTANT, "MainValidation"),
}


def trained(folder, proto, parameters):
    """What nnabla_cli makes of it, from a start at which the statistics differ from the data's."""
    folder.mkdir()
    rng = np.random.RandomState(0)
    for name in ("train.csv", "valid.csv"):
        rows = [",".join(map(str, row)) for row in rng.randn(2 * BATCH, 4).round(3)]
        (folder / name).write_text("\n".join(["x__0,x__1,x__2,y", *rows]) + "\n")
    path = write_nnp(folder / "net.nnp", proto, parameters)
    return read_parameters(train_by_nnabla_cli(path) / "results_current_2.nnp")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REFUSED, *ACCEPTED])
def test_what_is_refused_is_what_nnabla_cli_disturbs(tmp_path, name):
    """Without the monitor, the same training ends elsewhere; and only then it is refused."""
    train, validate, of, *named = {**REFUSED, **ACCEPTED}[name]
    proto, parameters = monitored(train, validate, of)
    with_monitor = trained(tmp_path / "with", proto, parameters)
    definition = load_definition(tmp_path / "with" / "net.nnp")
    del proto.monitor[:]
    without = trained(tmp_path / "without", proto, parameters)
    same = all(np.array_equal(without[name], value) for name, value in with_monitor.items())
    assert same is (name in ACCEPTED)
    if name in ACCEPTED:
        build_objective(definition, BATCH, CPU, mode=Mode.TRAINING)
        return
    with pytest.raises(UnsupportedError, match=named[0]):
        build_objective(definition, BATCH, CPU, mode=Mode.TRAINING)
    if name == "random layers":
        with pytest.raises(UnsupportedError, match=named[0]):
            RandomLayers(definition, BATCH, CPU)
    build_objective(definition, BATCH, CPU)  # method final does not mind
