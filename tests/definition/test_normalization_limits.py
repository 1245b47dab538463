"""Networks whose batch statistics, or running ones, exact scores cannot follow."""

from __future__ import annotations

import nnabla.functions as F
import nnabla.parametric_functions as PF
import pytest

from nnabla_influence.definition import Mode, build_objective
from nnabla_influence.errors import UnsupportedError

from .definitions import CPU, load, python_proto
from .test_normalization import IMAGES, NETWORKS, N, normalized, on_hidden


@pytest.mark.parametrize("mode", [Mode.TRAINING, Mode.VALIDATION])
def test_a_running_statistic_that_training_reads_is_refused(tmp_path, mode):
    make = on_hidden(normalized(), normalized(batch_stat=False))
    definition = load(tmp_path, *python_proto(make))
    with pytest.raises(UnsupportedError, match=r"BatchNormalization \(layer '.*'n/bn/mean'"):
        build_objective(definition, N, CPU, mode=mode)
    assert build_objective(definition, N, CPU).batch_size == N  # in test mode it is a constant


def test_a_single_value_has_no_variance(tmp_path):
    definition = load(tmp_path, *python_proto(NETWORKS["normalised"]))
    with pytest.raises(UnsupportedError, match=r"the batch normalisation '.*' has one value"):
        build_objective(definition, 1, CPU, mode=Mode.TRAINING)
    images = load(tmp_path, *python_proto(NETWORKS["images"], IMAGES))
    assert build_objective(images, 1, CPU, mode=Mode.TRAINING).batch_size == 1


def test_a_mean_that_moves_is_refused_in_training_mode(tmp_path):
    def make(v):
        x = PF.mean_subtraction(v["x"], base_axis=1, name="m")
        return F.squared_error(PF.affine(x, 1, name="b"), v["t"])

    definition = load(tmp_path, *python_proto(make))
    with pytest.raises(UnsupportedError, match=r"MeanSubtraction .* moves a running mean"):
        build_objective(definition, N, CPU, mode=Mode.TRAINING)


def test_what_only_running_statistics_pass_through_must_be_differentiable_too(tmp_path):
    """A frozen normalisation in front of a Sort, which nnabla cannot differentiate twice."""

    def make(v):
        h = PF.batch_normalization(v["x"], no_scale=True, no_bias=True, name="n")
        return F.squared_error(PF.affine(F.sort(h), 1, name="b"), v["t"])

    definition = load(tmp_path, *python_proto(make))
    for mode in (Mode.TEST, Mode.TRAINING):
        assert build_objective(definition, N, CPU, mode=mode).batch_size == N
    with pytest.raises(UnsupportedError, match=r"the function Sort \(layer '.*'\) cannot be"):
        build_objective(definition, N, CPU, mode=Mode.VALIDATION)
