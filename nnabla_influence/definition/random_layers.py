"""The random layers of a training on their own: they draw again what they drew in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import nnabla as nn
import nnabla.functions as NF
import numpy as np

from nnabla_influence.definition.building import set_inputs
from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.draws import draw_name, is_input, random_functions, sized
from nnabla_influence.definition.edits import RANDOM_LAYERS
from nnabla_influence.definition.expansion import execution_order, expand
from nnabla_influence.definition.graph import find_network, keep_only
from nnabla_influence.definition.losses import loss_terms
from nnabla_influence.definition.monitors import check_monitors


class RandomLayers:
    """Draws, mini-batch for mini-batch, what the random layers of a training gave.

    Every function has a generator of its own, as in the training network, and every mini-batch
    advances each of them once. A new object stands at the beginning of the training.

    Args:
        definition: What was trained.
        batch_size: The training's. (With another one nnabla would have drawn other numbers.)
        context: That of the training: a GPU draws other numbers than a CPU.

    Attributes:
        names: Of the draws, those of `Objective.draws`; empty where the training is not random.
        position: How many mini-batches have been drawn.

    Raises:
        UnsupportedError: A layer has no seed, or acts on values that depend on parameters; or a
            monitor of the file runs the same layers between the mini-batches.
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
        network = type(definition.network)()
        network.CopyFrom(definition.network)
        data = [assignment.variable_name for assignment in definition.optimizer.data_variable]
        terms = loss_terms(definition.path, network, definition.loss_variables, data)
        keep_only(network, terms.outputs)
        expanded = expand(definition.path, network)
        functions = random_functions(definition.path, expanded, terms.outputs, definition.trainable)
        check_monitors(definition, (), functions)
        with nn.context_scope(self._context), nn.auto_forward(False):
            self._inputs = set_inputs(definition, expanded, self._batch_size)
            self._variables = self._build(expanded, functions)
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
        """Return what the layers give for the next mini-batch.

        Args:
            inputs: By dataset column, arrays of shape ``(batch_size, ...)``.

        Returns:
            Arrays by the names of the draws.

        Raises:
            ValueError: The mini-batch is of another size.
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

    def _build(self, expanded: Any, functions: list[Any]) -> dict[str, nn.Variable]:
        expanded.owner().current_context = self._context
        masks = {}
        for function in functions:
            if not is_input(function):
                masks[function.name] = self._mask(expanded, function)
        variables = expanded.variables
        outputs = [function.outputs[0] for function in functions if is_input(function)]
        for function in execution_order(expanded, outputs):
            if function.type == "Dropout":
                name = function.name
                mask = masks[name] if name in masks else self._mask(expanded, function)
                x = variables[function.inputs[0]].variable_instance
                variables[function.outputs[0]].variable_instance = NF.mul2(x, mask)
            else:
                function.graph_call(batch_size=self._batch_size)
        drawn = {
            draw_name(function): masks.get(function.name)
            or variables[function.outputs[0]].variable_instance
            for function in functions
        }
        for variable in drawn.values():
            variable.persistent = True
        return dict(sorted(drawn.items()))

    def _mask(self, expanded: Any, function: Any) -> nn.Variable:
        shape = sized(expanded.variables[function.inputs[0]].shape, self._batch_size)
        ones = nn.Variable.from_numpy_array(np.ones(shape, np.float32))
        return NF.dropout(ones, function.args["p"], function.args["seed"])


def seed_random_layers(proto: Any) -> dict[str, int]:
    """Give every random layer of the trained networks that has no seed one, in place.

    Within a loop, whose passes share a layer's seed, the layer then draws the same in each pass.

    Args:
        proto: A whole definition.

    Returns:
        The new seeds, by layer: different ones, and none that another layer has.
    """
    seeds: dict[str, int] = {}
    for settings in _random_settings(proto):
        used = {setting.seed for setting in settings.values()}
        free = (seed for seed in range(1, 2**31) if seed not in used)
        seeds.update({n: next(free) for n, setting in settings.items() if setting.seed == -1})
    set_seeds(proto, seeds)
    return seeds


def set_seeds(proto: Any, seeds: Mapping[str, int]) -> None:
    """Give random layers of the trained networks these seeds, in place.

    Args:
        proto: A whole definition.
        seeds: By layer; layers that are not there are passed over.
    """
    for settings in _random_settings(proto):
        for name, setting in settings.items():
            setting.seed = seeds.get(name, setting.seed)


def with_seeds(definition: Definition, seeds: Mapping[str, int]) -> Definition:
    """Return a definition whose random layers have the seeds that they were trained with."""
    if not seeds:
        return definition
    proto = type(definition.proto)()
    proto.CopyFrom(definition.proto)
    set_seeds(proto, seeds)
    return dataclasses.replace(definition, proto=proto)


def _random_settings(proto: Any) -> Iterator[dict[str, Any]]:
    """Yield, of each trained network, its random layers' settings by name."""
    for optimizer in proto.optimizer:
        network = find_network(proto, optimizer.network_name)
        layers = [f for f in (network.function if network else ()) if f.type in RANDOM_LAYERS]
        yield {f.name: getattr(f, f.WhichOneof("parameter")) for f in layers}
