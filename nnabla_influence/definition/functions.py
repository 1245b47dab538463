"""Which functions nnabla cannot differentiate twice, found out before anything fails or hangs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from nnabla_influence.definition.expansion import differentiated_inputs
from nnabla_influence.errors import UnsupportedError

_HANGING = ("RNN", "LSTM", "GRU")

# nnabla 1.39 raises in the derivative of the derivative (or, of the comparisons, in the first).
_RAISING = (
    *("AdaptiveSeparableConvolution", "AffineGrid", "Assign", "BatchCholesky", "BatchLogdet"),
    *("BinaryConnectAffine", "BinaryConnectConvolution", "BinaryError", "BinaryWeightAffine"),
    *("BinaryWeightConvolution", "BitShift", "BroadcastTo", "ClipGradByNorm", "ClipGradByValue"),
    *("ConfusionMatrix", "CumProd", "DeformableConvolution", "DepthwiseConvolution"),
    *("DepthwiseDeconvolution", "Einsum", "FixedPointQuantize", "Flip"),
    *("FusedBatchNormalization", "FusedConvolution", "Gather", "INQAffine"),
    *("INQConvolution", "MeanSubtraction", "Meshgrid"),
    *("MinMaxQuantize", "Mish", "Mod2", "NmsDetection2d", "NonZero", "ONNXNonMaxSuppression"),
    *("ONNXResize", "PackPaddedSequence", "PadPackedSequence", "PatchCorrelation"),
    *("Pow2Quantize", "ROIAlign", "ResetInf", "ResetNaN", "ScatterAdd"),
    *("SearchSorted", "Shape", "Shift", "Sort", "SpectralNorm", "Tile", "TopKData", "TopKGrad"),
    *("TopNError", "Unique", "WarpByFlow", "WarpByGrid"),
    *("Equal", "EqualScalar", "Greater", "GreaterEqual", "GreaterEqualScalar", "GreaterScalar"),
    *("IsInf", "IsNaN", "Less", "LessEqual", "LessEqualScalar", "LessScalar", "LogicalAnd"),
    *("LogicalAndScalar", "LogicalNot", "LogicalOr", "LogicalOrScalar", "LogicalXor"),
    *("LogicalXorScalar", "NotEqual", "NotEqualScalar"),
)

# Losses whose derivative by the target nnabla leaves out without a word.
_LABEL_LOSSES = (
    *("BinaryCrossEntropy", "SigmoidCrossEntropy", "SoftmaxCrossEntropy"),
    "CategoricalCrossEntropy",
)


def check_expanded(
    path: Path, expanded: Any, losses: Iterable[str], trainable: Collection[str]
) -> None:
    """Refuse a network in test mode that nnabla cannot differentiate twice.

    Only functions between a trainable parameter and the loss count: through any other, such as a
    Flip of the input images, no gradient passes.

    Args:
        path: The model file, for messages.
        expanded: nnabla's unrolled ``ProtoNetwork``.
        losses: The variables that gradients start from.
        trainable: The names of the parameters, or variables, that they must reach.

    Raises:
        UnsupportedError: Names the function and its layer, and says what to do.
    """
    moving = moving_variables(expanded, trainable)
    for function in _functions_in_the_way(expanded, losses, moving):
        where = f"{path}: the function {function.type} (layer {function.name!r})"
        if function.type in _HANGING:
            raise UnsupportedError(
                f"{where} cannot be differentiated twice by nnabla; build the recurrent network"
                " of single layers (RecurrentInput, Delay, Affine), train it and score that"
            )
        if function.type in _RAISING:
            raise UnsupportedError(
                f"{where} cannot be differentiated twice by nnabla; replace it, train and score"
                " without it"
            )
        if function.type == "Pad" and function.args["mode"] != "constant":
            raise UnsupportedError(
                f"{where} pads by mode {function.args['mode']!r}, which nnabla cannot differentiate"
                " twice; pad by a constant, train and score that"
            )
        if function.type in _LABEL_LOSSES and function.inputs[1] in moving:
            raise UnsupportedError(
                f"{where} has a target {function.inputs[1]!r} that depends on trained parameters,"
                " and nnabla leaves out its derivative; put an Unlink before it, train and score"
                " that"
            )


def moving_variables(expanded: Any, trainable: Collection[str]) -> set[str]:
    """Return the variables that change, differentiably, with the trainable parameters."""
    moving = set(trainable)
    pending = list(expanded.functions.values())
    while True:
        reached = [f for f in pending if not moving.isdisjoint(differentiated_inputs(f))]
        if not reached:
            return moving
        moving.update(name for function in reached for name in function.outputs)
        pending = [f for f in pending if moving.isdisjoint(f.outputs)]


def _functions_in_the_way(
    expanded: Any, losses: Iterable[str], moving: Collection[str]
) -> Iterator[Any]:
    stack = [name for name in losses if name in moving]
    seen = set()
    while stack:
        name = expanded.variables[stack.pop()].parent
        if not name or name in seen:
            continue
        seen.add(name)
        function = expanded.functions[name]
        yield function
        stack.extend(
            name
            for name in differentiated_inputs(function)
            if name in moving and name in expanded.variables
        )
