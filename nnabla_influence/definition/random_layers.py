r"""The random layers of a training network: their draws as inputs, and drawn again.

With a seed, each of nnabla's random functions has its own generator, made with the graph and
advanced with every forward. So a training's masks and augmented images can be drawn again, and
derivatives taken with them: Dropout is a product with its mask m,

.. math:: y = x \odot m, \qquad m \in \{0, 1 / (1 - p)\},

to the bit what nnabla computes, and an augmentation in front of the parameters is data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import Node, copied, find_network
from nnabla_influence.definition.losses import loss_network
from nnabla_influence.definition.modes import RANDOM_LAYERS
from nnabla_influence.definition.monitors import check_monitors
from nnabla_influence.definition.unrolled import Unrolled, expand, sized
from nnabla_influence.errors import UnsupportedError


@dataclass(frozen=True, eq=False)
class Draw:
    """What a random layer gives for one mini-batch: an input of the network."""

    name: str  # @ and the layer's name
    variable: nn.Variable  # to fill: a Dropout's mask, or another layer's output


def random_functions(
    network: Unrolled, outputs: Iterable[str], trainable: Collection[str]
) -> list[Node]:
    """Return the random functions of a training whose draws its ``outputs`` need as inputs."""
    outputs = list(outputs)
    moving = network.downstream(trainable, differentiably=True)
    for node in network.order(outputs):
        if node.type not in RANDOM_LAYERS:
            continue
        where = f"{network.path}: the random function {node.type} (layer {node.name!r})"
        if node.args["seed"] == -1:
            raise UnsupportedError(
                f"{where} has no seed, so exact scores cannot draw its numbers again; set the"
                " layer's Seed and train again (nnabla-influence train sets it), or choose method"
                " final"
            )
        if node.type == "Dropout":
            continue
        read = network.upstream(node.inputs)
        if not moving.isdisjoint(node.inputs) or not read.isdisjoint(network.parameters):
            raise UnsupportedError(
                f"{where} acts on values that depend on parameters, which exact scores do not"
                " follow; choose method final, or move it before the first layer with parameters"
                " and train again"
            )
    order = network.order(outputs, past=lambda node: not _is_input(node))
    return [node for node in order if node.type in RANDOM_LAYERS]


def _is_input(node: Node) -> bool:
    """Whether a function's *output* is the draw; of a Dropout it is the mask."""
    return node.type in RANDOM_LAYERS and node.type != "Dropout"


def _draw_name(node: Node) -> str:
    return f"@{node.name}"


class Draws:
    """Builds the `random_functions` of one network with what they draw as inputs."""

    def __init__(self, network: Unrolled, functions: Iterable[Node], batch_size: int):
        self._network = network
        self._names = {node.name for node in functions}
        self._batch_size = batch_size
        self._draws: dict[str, nn.Variable] = {}

    def build(self, node: Node) -> bool:
        """Build a function if it is one of them; return whether it is."""
        if node.name not in self._names:
            return False
        output = self._network.variables[node.outputs[0]]
        if _is_input(node):
            draw = nn.Variable(sized(output.shape, self._batch_size))
            output.variable_instance = draw
        else:
            x = self._network.built(node.inputs[0])
            draw = nn.Variable(x.shape)
            output.variable_instance = NF.mul2(x, draw)
        self._draws[_draw_name(node)] = draw
        return True

    @property
    def draws(self) -> tuple[Draw, ...]:
        """The inputs that were made, sorted by name."""
        return tuple(Draw(name, variable) for name, variable in sorted(self._draws.items()))


class RandomLayers:
    """Draws, one mini-batch after the other, what the random layers of a training gave.

    Every function has its own generator, as in the training network, and every mini-batch advances
    each of them once. A new object is at the beginning of the training.

    Args:
        definition: What was trained.
        batch_size: The training's. (With another one nnabla draws other numbers.)
        context: The training's: a GPU draws other numbers than a CPU.

    Attributes:
        names: Of the draws, those of `Objective.draws`; empty where the training is not random.
        position: How many mini-batches have been drawn.

    Raises:
        UnsupportedError: A layer has no seed, or acts on values that depend on parameters; or a
            monitor runs the same layers between the mini-batches.
    """

    def __init__(self, definition: Definition, batch_size: int, context: nn.Context):
        self._definition = definition
        self._batch_size = batch_size
        self._context = context
        self.names: tuple[str, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Go back to the beginning of the training."""
        definition = self._definition
        pruned, terms = loss_network(definition)
        network = expand(definition.path, pruned)
        functions = random_functions(network, terms.outputs, definition.trainable)
        check_monitors(definition, (), functions)
        with nn.context_scope(self._context), nn.auto_forward(False):
            self._inputs = network.set_inputs(definition, self._batch_size)
            self._variables = self._build(network, functions)
            self._all = NF.sink(*self._variables.values()) if functions else None
        self.names = tuple(self._variables)
        self.position = 0

    def skip(self, n: int) -> None:
        """Pass over ``n`` mini-batches, whatever their data."""
        if self._all is not None:
            with nn.context_scope(self._context):
                for _ in range(n):
                    self._all.forward()
        self.position += n

    def draw(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what the layers give for the next mini-batch, by the names of the draws.

        Args:
            inputs: By dataset column, arrays of shape ``(batch_size, ...)``.
        """
        for column, values in inputs.items():
            if self._all is not None and len(values) != self._batch_size:
                raise ValueError(
                    f"the column {column!r} of the mini-batch has {len(values)} examples, and the"
                    f" random layers were trained with {self._batch_size}"
                )
            if column in self._inputs:
                self._inputs[column].d = np.asarray(values, np.float32)
        self.skip(1)
        return {name: np.array(v.data.get_data("r")) for name, v in self._variables.items()}

    def _build(self, network: Unrolled, functions: list[Node]) -> dict[str, nn.Variable]:
        network.set_context(self._context)
        masks = {node.name: self._mask(network, node) for node in functions if not _is_input(node)}
        outputs = [node.outputs[0] for node in functions if _is_input(node)]
        for node in network.order(outputs):
            if node.type == "Dropout":
                mask = masks[node.name] if node.name in masks else self._mask(network, node)
                x = network.built(node.inputs[0])
                network.variables[node.outputs[0]].variable_instance = NF.mul2(x, mask)
            else:
                node.proto.graph_call(batch_size=self._batch_size)
        drawn = {
            _draw_name(node): masks.get(node.name) or network.built(node.outputs[0])
            for node in functions
        }
        for variable in drawn.values():
            variable.persistent = True
        return dict(sorted(drawn.items()))

    def _mask(self, network: Unrolled, node: Node) -> nn.Variable:
        ones = np.ones(sized(network.shapes[node.inputs[0]], self._batch_size), np.float32)
        variable = nn.Variable.from_numpy_array(ones)
        return NF.dropout(variable, node.args["p"], node.args["seed"])


def seed_random_layers(proto: Any) -> dict[str, int]:
    """Give each random layer of the trained networks without a seed its own; return these by layer.

    Within a loop, whose passes share a layer's seed, the layer then draws the same in each pass.
    """
    seeds: dict[str, int] = {}
    for settings in _random_settings(proto):
        used = {setting.seed for setting in settings.values()}
        free = (seed for seed in range(1, 2**31) if seed not in used)
        seeds.update({n: next(free) for n, setting in settings.items() if setting.seed == -1})
    set_seeds(proto, seeds)
    return seeds


def set_seeds(proto: Any, seeds: Mapping[str, int]) -> None:
    """Give random layers of the trained networks these seeds by layer, in place."""
    for settings in _random_settings(proto):
        for name, setting in settings.items():
            setting.seed = seeds.get(name, setting.seed)


def with_seeds(definition: Definition, seeds: Mapping[str, int]) -> Definition:
    """Return a definition whose random layers have the seeds that they were trained with."""
    if not seeds:
        return definition
    proto = copied(definition.proto)
    set_seeds(proto, seeds)
    return dataclasses.replace(definition, proto=proto)


def _random_settings(proto: Any) -> Iterator[dict[str, Any]]:
    """Yield, of each trained network, its random layers' settings by name."""
    for optimizer in proto.optimizer:
        network = find_network(proto, optimizer.network_name)
        layers = [f for f in (network.function if network else ()) if f.type in RANDOM_LAYERS]
        yield {f.name: getattr(f, f.WhichOneof("parameter")) for f in layers}
