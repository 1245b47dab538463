r"""Grad-CAM: where in a picture the score of a class comes from, by a layer's feature maps.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", 2017. Let :math:`A^k` be channel k of a layer's output, with Z places, and y_c the
score of class c before the softmax. Then

.. math:: \alpha_k = \frac{1}{Z} \sum_{i,j} \frac{\partial y_c}{\partial A^k_{ij}}, \qquad
    L = \mathrm{ReLU} \left( \sum_k \alpha_k A^k \right).

The layer counts as it is named: a Convolution before its ReLU, a ReLU after it. The paper's
experiments take the last convolution after its ReLU, where 0 means that a channel found nothing.
That is the default here: `find_layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import nnabla as nn
import nnabla.functions as NF
import numpy as np
from PIL import Image

from nnabla_influence.definition import Objective
from nnabla_influence.engine.graph import Function, functions_of, key
from nnabla_influence.errors import InfluenceError, UnsupportedError
from nnabla_influence.progress import Stage
from nnabla_influence.text import listed


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose output is feature maps.

    Attributes:
        name: As the Console shows it, such as ``ReLU_2``.
        maps: Its output, shape ``(B, channels, height, width)``.
        column: The dataset's column of the pictures that it is computed from.
    """

    name: str
    maps: nn.Variable
    column: str


def find_layer(objective: Objective, name: str | None = None) -> Layer:
    """Return a layer by its name, or what the last convolution leads to.

    By default, what follows the last convolution counts with it as long as the height and width
    stay: BatchNormalization, the sum of a residual block, ReLU. A convolution whose maps have
    a single place does not count, since it does not say where.

    Args:
        objective: The network, which has outputs.
        name: The layer's; None for the default.

    Raises:
        InfluenceError: The layer does not exist.
        UnsupportedError: The network has no convolution, or the layer has no feature maps or is
            computed from no picture.
    """
    path, functions = objective.definition.path, _functions_by_layer(objective)
    convolutions = [own for own, function in functions.items() if _is_convolution(function)]
    if name is None:
        if not convolutions:
            raise UnsupportedError(
                f"{path}: has no convolution whose output has a height and a width, which Grad-CAM"
                " needs; use lime, or none"
            )
        name = _led_to(convolutions[-1], functions)
    elif name not in functions:
        alike = [own for own in functions if own.startswith(name)]
        known = listed(alike or convolutions or functions)
        raise InfluenceError(
            f"{path}: has no layer {name!r} before its outputs; use another, such as {known}"
        )
    maps = _output(functions[name])
    if len(maps.shape) != 4:
        raise UnsupportedError(
            f"{path}: the layer {name!r} gives the shape {maps.shape[1:]}, but Grad-CAM needs"
            f" channels, height and width; use another, such as {listed(convolutions)}"
        )
    leaves = {key(leaf) for function in functions_of([maps]) for leaf in function.leaves}
    for column, variable in objective.inputs.items():
        if key(variable) in leaves and len(variable.shape) == 4:
            return Layer(name, maps, column)
    raise UnsupportedError(
        f"{path}: the layer {name!r} is computed from no picture (channels, height, width), which"
        " Grad-CAM needs; use another layer, lime or none"
    )


def _functions_by_layer(objective: Objective) -> dict[str, Function]:
    """Return the functions that the outputs need, each after those that it needs."""
    names = {key(variable): name for name, variable in objective.layers.items()}
    functions = functions_of([objective.outputs])
    return {names[f.outputs[0]]: f for f in functions if f.outputs[0] in names}


def _output(function: Function) -> nn.Variable:
    return function.variables[1][0]


def _is_convolution(function: Function) -> bool:
    """Whether it is a convolution of any kind, a Deconvolution too, of two dimensions."""
    shape = _output(function).shape
    is_one = function.type.lower().endswith("convolution")
    return is_one and len(shape) == 4 and shape[2:] != (1, 1)


def _led_to(convolution: str, functions: Mapping[str, Function]) -> str:
    """Return the last layer that a convolution leads to with its height and width."""
    name, reached = convolution, set(functions[convolution].outputs)
    places = _output(functions[convolution]).shape[2:]
    for own, function in functions.items():
        if _output(function).shape[2:] == places and not reached.isdisjoint(function.inputs):
            reached.update(function.outputs)
            # An Identity is what is left of a loop or a Dropout.
            name = name if function.type == "Identity" else own
    return name


def heat_maps(
    objective: Objective,
    context: nn.Context,
    layer: Layer,
    batch: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    rows: np.ndarray,
    scores: np.ndarray,
    stage: Stage,
) -> np.ndarray:
    """Return L of rows, float64, shape ``(n, height, width)`` of the layer's maps.

    Args:
        objective: The network, in test mode, at its own parameters.
        context: Where it was built.
        layer: The layer.
        batch: From row numbers to the values of each input.
        rows: Numbers of rows, also several times, shape ``(n,)``.
        scores: How each row's score is made of its outputs: their weights, shape ``(n, C)``.
        stage: Advances by each row.
    """
    n, size, maps, outputs = len(rows), objective.batch_size, layer.maps, objective.outputs
    assert outputs is not None
    found = np.empty((n, *maps.shape[2:]))
    with nn.context_scope(context), nn.auto_forward(False):
        weights = nn.Variable(outputs.shape)
        total = NF.sum(outputs * weights)
    # Also where no trained parameter comes before it; and kept, though nothing else asks for it.
    maps.need_grad = maps.persistent = True
    for start in range(0, n, size):
        chunk = np.minimum(np.arange(start, start + size), n - 1)  # the last one again
        for column, values in batch(rows[chunk]).items():
            if column in objective.inputs:
                objective.inputs[column].d = values
        weights.d = scores[chunk].reshape(weights.shape)
        with nn.context_scope(context):
            total.forward(clear_no_need_grad=True)
            total.backward(clear_buffer=True)
        alpha = maps.g.mean(axis=(2, 3), dtype=np.float64)
        heat = np.maximum(np.einsum("nk,nkij->nij", alpha, maps.d.astype(np.float64)), 0)
        done = min(size, n - start)
        found[start : start + done] = heat[:done]
        stage.update(done)
    return found


def upsampled(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a map at a picture's height and width, bilinearly, from 0 to 1 if it is not all 0."""
    height, width = shape
    image = Image.fromarray(heat.astype(np.float32))
    values = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    most = values.max()
    return values / most if most > 0 else values
