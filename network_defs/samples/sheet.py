"""Draw a network layer by layer, as on a page of Neural Network Console's editor.

The layers go straight into nnabla's file format. No nnabla variable, scope or context is touched,
and the names are the Console's: the second affine layer is called ``Affine_2``, and so is its
output; its weights are ``Affine_2/affine/W``.

Why not `nnabla.utils.save`: it loses the initialisers, so that `nnabla_cli train` would start from
other values than the ones meant, and it cannot write repeated layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nnabla.utils import nnabla_pb2

CATEGORY_LOSSES = {  # the field of their settings, by the Console's name
    "SoftmaxCrossEntropy": "softmax_cross_entropy_param",
    "CategoricalCrossEntropy": "categorical_cross_entropy_param",
}


@dataclass(frozen=True)
class Layer:
    """The output of a drawn layer.

    Attributes:
        name: Name of the variable in the network.
        shape: Shape of one example, without the batch axis.
    """

    name: str
    shape: tuple[int, ...]


class Sheet:
    """One network of a definition, being drawn.

    Args:
        name: Name of the network, such as ``MainValidation``.
        batch_size: The batch size it is written for; a reader may choose another one.
        test: Whether BatchNormalization uses its running statistics instead of the batch's.
    """

    def __init__(self, name: str, batch_size: int, test: bool):
        self.network = nnabla_pb2.Network(name=name, batch_size=batch_size)
        self.trainable: list[str] = []
        self.buffers: list[str] = []
        self._test = test
        self._repeat: list[str] = []

    def input(self, shape: tuple[int, ...], name: str = "Input") -> Layer:
        """Draw an input that is fed from the dataset."""
        return self._buffer(name, shape)

    def affine(self, source: Layer, n_outputs: int) -> Layer:
        """Draw a fully connected layer with bias, over all axes of ``source``."""
        name = self._new_name("Affine")
        shape = (math.prod(source.shape), n_outputs)
        weights = [
            self._parameter(f"{name}/affine/W", shape, 1.0, initializer="NormalAffineGlorot"),
            self._parameter(f"{name}/affine/b", (n_outputs,), 0.0),
        ]
        function, output = self._function("Affine", [source.name, *weights], (n_outputs,))
        function.affine_param.base_axis = 1
        return output

    def convolution(
        self,
        source: Layer,
        n_maps: int,
        kernel: int,
        *,
        pad: int = 0,
        stride: int = 1,
        bias: bool = True,
        initializer: str = "NormalConvolutionGlorot",
    ) -> Layer:
        """Draw a convolution with a square kernel over ``source`` of shape (maps, height, width).

        Args:
            source: What to convolve.
            n_maps: Number of output maps.
            kernel: Side of the kernel in pixels.
            pad: Zeros added on each side.
            stride: Step between two positions of the kernel.
            bias: Whether each map has a bias.
            initializer: The Console's name of the weights' initialiser.
        """
        name = self._new_name("Convolution")
        n_inputs, *image = source.shape
        padded = [side + 2 * pad for side in image]
        W = (n_maps, n_inputs, kernel, kernel)
        weights = [self._parameter(f"{name}/conv/W", W, 1.0, initializer=initializer)]
        if bias:
            weights.append(self._parameter(f"{name}/conv/b", (n_maps,), 0.0))
        shape = (n_maps, *((side - kernel) // stride + 1 for side in padded))
        function, output = self._function("Convolution", [source.name, *weights], shape)
        settings = function.convolution_param
        settings.base_axis = settings.group = 1
        settings.pad.dim[:] = [pad, pad]
        settings.stride.dim[:] = [stride, stride]
        settings.dilation.dim[:] = [1, 1]
        return output

    def batch_normalization(self, source: Layer) -> Layer:
        """Draw a BatchNormalization over the maps of ``source``."""
        name = self._new_name("BatchNormalization")
        shape = (1, source.shape[0], *(1 for _ in source.shape[1:]))
        weights = [
            self._parameter(f"{name}/bn/beta", shape, 0.0),
            self._parameter(f"{name}/bn/gamma", shape, 1.0),
            self._parameter(f"{name}/bn/mean", shape, 0.0, trained=False),
            self._parameter(f"{name}/bn/var", shape, 1.0, trained=False),
        ]
        inputs = [source.name, *weights]
        function, output = self._function("BatchNormalization", inputs, source.shape)
        settings = function.batch_normalization_param
        settings.axes[:] = [1]
        settings.decay_rate = 0.9
        settings.eps = 1e-5
        settings.batch_stat = not self._test
        return output

    def max_pooling(self, source: Layer, kernel: int) -> Layer:
        """Draw a max pooling over squares of ``kernel`` pixels that do not overlap."""
        return self._pooling("MaxPooling", "max_pooling_param", source, kernel)

    def average_pooling(self, source: Layer, kernel: int) -> Layer:
        """Draw an average pooling over squares of ``kernel`` pixels that do not overlap."""
        output = self._pooling("AveragePooling", "average_pooling_param", source, kernel)
        self.network.function[-1].average_pooling_param.including_pad = True
        return output

    def _pooling(self, kind: str, field: str, source: Layer, kernel: int) -> Layer:
        maps, *image = source.shape
        shape = (maps, *(side // kernel for side in image))
        function, output = self._function(kind, [source.name], shape)
        settings = getattr(function, field)
        settings.kernel.dim[:] = settings.stride.dim[:] = [kernel, kernel]
        settings.pad.dim[:] = [0, 0]
        settings.ignore_border = True
        return output

    def relu(self, source: Layer) -> Layer:
        """Draw max(0, ``source``)."""
        function, output = self._function("ReLU", [source.name], source.shape)
        function.relu_param.inplace = False
        return output

    def tanh(self, source: Layer) -> Layer:
        """Draw tanh of ``source``."""
        return self._function("Tanh", [source.name], source.shape)[1]

    def sigmoid(self, source: Layer) -> Layer:
        """Draw the logistic function of ``source``."""
        return self._function("Sigmoid", [source.name], source.shape)[1]

    def softmax(self, source: Layer) -> Layer:
        """Draw the softmax over the classes."""
        function, output = self._function("Softmax", [source.name], source.shape)
        function.softmax_param.axis = 1
        return output

    def add(self, first: Layer, second: Layer) -> Layer:
        """Draw the sum of two layers of one shape."""
        function, output = self._function("Add2", [first.name, second.name], first.shape)
        function.add2_param.inplace = False
        return output

    def loss(self, kind: str, source: Layer, label: Layer) -> Layer:
        """Draw a loss: against a class number, or against a target of the shape of ``source``."""
        shape = (1, *source.shape[1:]) if kind in CATEGORY_LOSSES else source.shape
        function, output = self._function(kind, [source.name, label.name], shape)
        if kind in CATEGORY_LOSSES:
            getattr(function, CATEGORY_LOSSES[kind]).axis = 1
        return output

    def repeat(self, source: Layer, times: int, block: Callable[[Layer], Layer]) -> Layer:
        """Draw a block that is passed ``times`` times, with parameters of its own each time.

        Args:
            source: What enters the first time.
            times: How often.
            block: Draws the block and returns its output, which has the shape of its input.
        """
        start = self._new_name("RepeatStart")
        self.network.repeat_info.add(id=start, times=times)
        self._repeat = [start]
        entry, begin = self._function("RepeatStart", [source.name], source.shape)
        last = block(begin)
        entry.input.append(last.name)  # what enters from the second time on
        self._repeat = []
        exit_, end = self._function("RepeatEnd", [last.name], last.shape)
        for function in (entry, exit_):
            function.repeat_param.repeat_id = start
            function.repeat_param.times = times
        return end

    def _new_name(self, kind: str) -> str:
        taken = sum(function.type == kind for function in self.network.function)
        return f"{kind}_{taken + 1}" if taken else kind

    def _variable(self, kind: str, name: str, shape: tuple[int, ...]) -> nnabla_pb2.Variable:
        variable = self.network.variable.add(name=name, type=kind, repeat_id=self._repeat)
        variable.shape.dim[:] = shape
        return variable

    def _buffer(self, name: str, shape: tuple[int, ...]) -> Layer:
        self._variable("Buffer", name, (-1, *shape))  # -1: the reader's batch size
        return Layer(name, shape)

    def _parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        multiplier: float,
        *,
        initializer: str = "Constant",
        trained: bool = True,
    ) -> str:
        variable = self._variable("Parameter", name, shape)
        variable.initializer.type = initializer
        variable.initializer.multiplier = multiplier
        (self.trainable if trained else self.buffers).append(name)
        return name

    def _function(
        self, kind: str, inputs: list[str], shape: tuple[int, ...]
    ) -> tuple[nnabla_pb2.Function, Layer]:
        name = self._new_name(kind)
        function = self.network.function.add(
            name=name, type=kind, input=inputs, output=[name], repeat_id=self._repeat
        )
        return function, self._buffer(name, shape)
