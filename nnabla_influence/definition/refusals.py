"""What is refused before a computation fails, hangs or gives a wrong score."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import nnabla as nn
import numpy as np

from nnabla_influence.definition.losses import LossTerms
from nnabla_influence.definition.unrolled import Unrolled
from nnabla_influence.errors import ModelError, UnsupportedError

if TYPE_CHECKING:
    from nnabla_influence.definition.objective import Objective

_TOLERANCE = 1e-4
"""Relative to the largest loss; a batch of the same size is computed in the same way throughout."""

_HANGING = ("RNN", "LSTM", "GRU")

# nnabla 1.39 raises in the derivative of the derivative (or, of the comparisons, in the first).
_RAISING_NAMES = """
AdaptiveSeparableConvolution AffineGrid Assign BatchCholesky BatchLogdet BinaryConnectAffine
BinaryConnectConvolution BinaryError BinaryWeightAffine BinaryWeightConvolution BitShift
BroadcastTo ClipGradByNorm ClipGradByValue ConfusionMatrix CumProd DeformableConvolution
DepthwiseConvolution DepthwiseDeconvolution Einsum Equal EqualScalar FixedPointQuantize Flip
FusedBatchNormalization FusedConvolution Gather Greater GreaterEqual GreaterEqualScalar
GreaterScalar INQAffine INQConvolution IsInf IsNaN Less LessEqual LessEqualScalar LessScalar
LogicalAnd LogicalAndScalar LogicalNot LogicalOr LogicalOrScalar LogicalXor LogicalXorScalar
MeanSubtraction Meshgrid MinMaxQuantize Mish Mod2 NmsDetection2d NonZero NotEqual NotEqualScalar
ONNXNonMaxSuppression ONNXResize PackPaddedSequence PadPackedSequence PatchCorrelation Pow2Quantize
ROIAlign ResetInf ResetNaN ScatterAdd SearchSorted Shape Shift Sort SpectralNorm Tile TopKData
TopKGrad TopNError Unique WarpByFlow WarpByGrid
"""
_RAISING = frozenset(_RAISING_NAMES.split())

# Losses whose derivative by the target nnabla silently leaves out.
_LABEL_LOSSES = (
    "BinaryCrossEntropy",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "CategoricalCrossEntropy",
)


def check_functions(network: Unrolled, losses: Iterable[str], trainable: Collection[str]) -> None:
    """Refuse a network in test mode that nnabla cannot differentiate twice.

    Only functions between a trainable parameter and the loss count: through any other, such as a
    Flip of the input images, no gradient passes.
    """
    losses = list(losses)
    moving = network.downstream(trainable, differentiably=True)
    between = moving & network.upstream(losses, differentiably=True)
    for node in reversed(network.order(losses)):
        if between.isdisjoint(node.outputs):
            continue
        where = f"{network.path}: the function {node.type} (layer {node.name!r})"
        if node.type in _HANGING:
            raise UnsupportedError(
                f"{where} cannot be differentiated twice by nnabla; build the recurrent network"
                " of single layers (RecurrentInput, Delay, Affine) and train again"
            )
        if node.type in _RAISING:
            raise UnsupportedError(
                f"{where} cannot be differentiated twice by nnabla; replace it and train again"
            )
        if node.type == "Pad" and node.args["mode"] != "constant":
            raise UnsupportedError(
                f"{where} pads by mode {node.args['mode']!r}, which nnabla cannot differentiate"
                " twice; pad by a constant and train again"
            )
        if node.type in _LABEL_LOSSES and node.inputs[1] in moving:
            raise UnsupportedError(
                f"{where} has a target {node.inputs[1]!r} that depends on trained parameters, and"
                " nnabla leaves out its derivative; put an Unlink before it and train again"
            )


def check_parameters(
    path: Path, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]
) -> None:
    """Refuse parameters of which one is missing, of another shape, or not finite.

    nnabla silently initialises a missing parameter at random, so this comes before building.

    Args:
        path: The model file, for messages.
        wanted: Shapes by name.
        given: Arrays by name, of these and possibly others.
    """
    missing = [name for name in wanted if name not in given]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ModelError(
            f"{path}: {len(missing)} of the network's {len(wanted)} parameters are missing"
            f" ({shown}); give the trained parameters, an .nnp or an .h5 beside the .nntxt"
        )
    for name, shape in wanted.items():
        given_shape = tuple(np.shape(given[name]))
        if given_shape != shape:
            raise ModelError(
                f"{path}: the parameter {name!r} has shape {given_shape}, and the network needs"
                f" {shape}; give the parameters that were trained with this network"
            )
        if not np.isfinite(given[name]).all():
            raise ModelError(
                f"{path}: the parameter {name!r} has values that are not finite; if the training"
                " diverged, train again with a lower learning rate"
            )


def check_losses(network: Unrolled, terms: LossTerms, batch_size: int) -> None:
    """Refuse a network, once built, whose loss has no value for each example."""
    for term in terms.examples:
        shape = network.built(term.variable).shape
        if shape[:1] != (batch_size,):
            raise ModelError(
                f"{network.path}: the loss {term.variable!r} has shape {shape} at batch size"
                f" {batch_size}, not a value for each example; give it one, or the mean over the"
                " examples, and train again"
            )


def check_independence(
    objective: Objective, inputs: Mapping[str, np.ndarray], context: nn.Context
) -> None:
    """Refuse a network that mixes the examples of a mini-batch, in test mode too.

    The losses of the first half of a mini-batch must stay the same when other examples replace the
    second half. They do not where a layer computes, say, a mean over the mini-batch, and then no
    row has an influence of its own.

    Args:
        objective: Built at a batch size of at least 2; its inputs are overwritten.
        inputs: By dataset column, arrays of shape ``(n, ...)`` with at least two different rows.
        context: The context that the objective was built in.

    Raises:
        UnsupportedError: It mixes them.
    """
    n, size = len(next(iter(inputs.values()))), objective.batch_size
    half = max(size // 2, 1)
    rows = np.arange(size) % n
    others = rows.copy()
    others[half:] = (rows[half:] + 1) % n
    losses = []
    for chosen in (rows, others):
        for column, variable in objective.inputs.items():
            variable.d = inputs[column][chosen]
        with nn.context_scope(context):
            objective.losses.forward()
        losses.append(np.array(objective.losses.d, np.float64))
    before, after = losses
    if np.abs(after[:half] - before[:half]).max() > _TOLERANCE * np.abs(before).max():
        definition = objective.definition
        raise UnsupportedError(
            f"{definition.path}: the network {definition.network_name!r} mixes the examples of a"
            " mini-batch, so no row has a loss of its own; remove what averages over the"
            " mini-batch and train again"
        )
