"""What is refused before a computation fails or hangs: functions, monitors, mixed examples."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import find_network
from nnabla_influence.definition.normalization import moved_statistics
from nnabla_influence.definition.unrolled import Unrolled, expand
from nnabla_influence.errors import UnsupportedError

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

    Raises:
        UnsupportedError: Names the function and its layer, and says what to do.
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
                " of single layers (RecurrentInput, Delay, Affine), train it and score that"
            )
        if node.type in _RAISING:
            raise UnsupportedError(
                f"{where} cannot be differentiated twice by nnabla; replace it, train and score"
                " without it"
            )
        if node.type == "Pad" and node.args["mode"] != "constant":
            raise UnsupportedError(
                f"{where} pads by mode {node.args['mode']!r}, which nnabla cannot differentiate"
                " twice; pad by a constant, train and score that"
            )
        if node.type in _LABEL_LOSSES and node.inputs[1] in moving:
            raise UnsupportedError(
                f"{where} has a target {node.inputs[1]!r} that depends on trained parameters, and"
                " nnabla leaves out its derivative; put an Unlink before it, train and score that"
            )


def check_monitors(definition: Definition, moved: Collection[str], random: Collection[Any]) -> None:
    """Refuse a file whose monitors change what the next mini-batch's training starts from.

    nnabla_cli runs monitors between the epochs, and builds each network once. A monitor of the
    trained network advances the generators of its random layers, and a monitor of any network with
    batch statistics moves the running ones, which all networks share, by the validation data.

    Args:
        definition: The definition.
        moved: The names of the training's running statistics.
        random: Its random functions.

    Raises:
        UnsupportedError: Names the monitor.
    """
    for monitor in definition.proto.monitor if moved or random else ():
        network = find_network(definition.proto, monitor.network_name)
        if network is None:
            continue
        where = f"{definition.path}: the monitor {monitor.name!r} runs the network {network.name!r}"
        advice = "; let it run a validation network and train again, or choose method final"
        if random and network.name == definition.network_name:
            raise UnsupportedError(
                f"{where}, whose random layers then draw between the mini-batches of the training,"
                f" which exact scores do not follow{advice}"
            )
        outputs = [variable.variable_name for variable in monitor.monitor_variable]
        shared = set(moved_statistics(expand(definition.path, network), outputs)) & set(moved)
        if shared:
            raise UnsupportedError(
                f"{where}, which moves the running statistic {min(shared)!r} of the training by its"
                f" own data, which exact scores do not follow{advice}"
            )
