"""The sample networks, from logistic regression to ResNet-110.

Each function returns a `Network` for `write_definition`.
"""

from __future__ import annotations

from collections.abc import Sequence

from network_defs.samples.definitions import Network
from network_defs.samples.sheet import Layer, Sheet


def logistic_regression(input_shape: tuple[int, ...], n_classes: int = 2) -> Network:
    """Return logistic regression.

    Two classes share one output (Sigmoid and BinaryCrossEntropy, as in the Console's own sample);
    more have one output each (SoftmaxCrossEntropy).

    Args:
        input_shape: Shape of an example, such as (30,) for a table with 30 columns.
        n_classes: Number of classes.
    """
    binary = n_classes == 2

    def body(sheet: Sheet, x: Layer) -> Layer:
        return sheet.affine(x, 1 if binary else n_classes)

    return Network(input_shape, body, "BinaryCrossEntropy" if binary else "SoftmaxCrossEntropy")


def mlp(
    input_shape: tuple[int, ...],
    n_outputs: int,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    loss: str = "SoftmaxCrossEntropy",
) -> Network:
    """Return a perceptron with hidden layers.

    Args:
        input_shape: Shape of an example: (n,) for a table, (1, 28, 28) for an image.
        n_outputs: Number of classes, or of values to predict.
        hidden: Units of each hidden layer.
        activation: ``relu``, ``tanh`` or ``sigmoid``.
        loss: As in `Network`; ``SquaredError`` for regression.
    """
    activations = {"relu": Sheet.relu, "tanh": Sheet.tanh, "sigmoid": Sheet.sigmoid}

    def body(sheet: Sheet, x: Layer) -> Layer:
        for units in hidden:
            x = activations[activation](sheet, sheet.affine(x, units))
        return sheet.affine(x, n_outputs)

    return Network(input_shape, body, loss)


def lenet(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    n_classes: int = 10,
    *,
    maps: tuple[int, int] = (6, 16),
    hidden: int = 64,
) -> Network:
    """Return a small convolutional network: two convolutions, two affine layers.

    Args:
        input_shape: (channels, height, width) of an image.
        n_classes: Number of classes.
        maps: Maps of the two 5x5 convolutions.
        hidden: Units of the layer before the last.
    """

    def body(sheet: Sheet, x: Layer) -> Layer:
        for n_maps in maps:
            x = sheet.relu(sheet.max_pooling(sheet.convolution(x, n_maps, 5), 2))
        return sheet.affine(sheet.relu(sheet.affine(x, hidden)), n_classes)

    return Network(input_shape, body)


def six_convolutions(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    n_classes: int = 10,
    *,
    maps: Sequence[int] = (32, 64, 128),
) -> Network:
    """Return the network of Suzuki et al. (arXiv 2103.11807), section 5: six convolutions.

    The paper gives no more than "6 conventional convolution layers" and the size of the parameters;
    `network_defs/README.md` says how the rest was settled.

    Args:
        input_shape: (channels, height, width) of an image.
        n_classes: Number of classes.
        maps: Maps of each block of two convolutions.
    """

    def body(sheet: Sheet, x: Layer) -> Layer:
        for n_maps in maps:
            x = sheet.relu(sheet.batch_normalization(sheet.convolution(x, n_maps, 3, pad=1)))
            x = sheet.max_pooling(sheet.relu(sheet.convolution(x, n_maps, 3, pad=1)), 2)
        return sheet.affine(x, n_classes)

    return Network(input_shape, body)


def resnet(
    n_blocks: int = 18,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    n_classes: int = 10,
    *,
    maps: Sequence[int] = (16, 32, 64),
) -> Network:
    """Return a residual network with pre-activation (He et al., arXiv 1603.05027).

    It has 2 * len(maps) * n_blocks + 2 layers with weights: 110 for 18 blocks a stage. As in the
    Console's ResNet-110, which Suzuki et al. show in their Figure 3, the equal blocks of a stage
    are drawn once and repeated, and where the maps change the shortcut is a 3x3 convolution.

    Args:
        n_blocks: Blocks of each stage, at least 2.
        input_shape: (channels, height, width) of an image; height and width are halved from
            stage to stage.
        n_classes: Number of classes.
        maps: Maps of each stage.
    """

    def convolution(sheet: Sheet, x: Layer, n_maps: int, stride: int = 1) -> Layer:
        return sheet.convolution(
            x,
            n_maps,
            3,
            pad=1,
            stride=stride,
            bias=False,
            initializer="NormalConvolutionHeBackward",
        )

    def activate(sheet: Sheet, x: Layer) -> Layer:
        return sheet.relu(sheet.batch_normalization(x))

    def block(sheet: Sheet, x: Layer) -> Layer:
        n_maps = x.shape[0]
        h = convolution(sheet, activate(sheet, x), n_maps)
        return sheet.add(x, convolution(sheet, activate(sheet, h), n_maps))

    def halving_block(sheet: Sheet, x: Layer, n_maps: int) -> Layer:
        a = activate(sheet, x)
        h = convolution(sheet, a, n_maps, stride=2)
        h = convolution(sheet, activate(sheet, h), n_maps)
        return sheet.add(convolution(sheet, a, n_maps, stride=2), h)

    def body(sheet: Sheet, x: Layer) -> Layer:
        x = convolution(sheet, x, maps[0])
        x = sheet.repeat(x, n_blocks, lambda h: block(sheet, h))
        for n_maps in maps[1:]:
            x = halving_block(sheet, x, n_maps)
            x = sheet.repeat(x, n_blocks - 1, lambda h: block(sheet, h))
        x = sheet.average_pooling(activate(sheet, x), x.shape[1])
        return sheet.affine(x, n_classes)

    return Network(input_shape, body)
