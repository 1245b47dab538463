"""A network as nnabla unrolls it: its loops written out, under the names of its parameters."""

from __future__ import annotations

import collections
import graphlib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nnabla as nn
import numpy as np
from nnabla.core.graph_def import ProtoGraph
from nnabla.ext_utils import get_extension_context
from nnabla.utils import nnabla_pb2

from nnabla_influence.definition.graph import WITHOUT_GRADIENT, Graph, Node
from nnabla_influence.errors import ModelError, UnsupportedError
from nnabla_influence.file_safety import ADVICE, raised

if TYPE_CHECKING:
    from nnabla_influence.definition.definition import Definition

_MOST_PARTS = 10_000


def check_sizes(path: Path, networks: Iterable[Any]) -> None:
    """Refuse networks that would be unrolled for hours; nnabla builds some thousand functions."""
    for network in networks:
        times = {repeat.id: max(repeat.times, 1) for repeat in network.repeat_info}
        for parts, what in ((network.function, "functions"), (network.variable, "variables")):
            n_parts = sum(math.prod(times.get(repeat, 1) for repeat in p.repeat_id) for p in parts)
            if n_parts > raised(_MOST_PARTS):
                raise ModelError(
                    f"{path}: the network {network.name!r} has {n_parts:,} {what} with its loops"
                    f" unrolled; {ADVICE}"
                )


class Unrolled(Graph):
    """nnabla's ``ProtoNetwork``, its loops unrolled, to walk over and to build.

    Attributes:
        path: The model file, for messages.
        variables: nnabla's ``ProtoVariable`` of each variable by name.
        parameters: The same of each parameter.
    """

    def __init__(self, path: Path, network: Any, scope: dict[str, nn.Variable]):
        self.path = path
        self.variables: Mapping[str, Any] = network.variables
        self.parameters: Mapping[str, Any] = network.parameters
        self._scope = scope
        self._network = network
        super().__init__(
            (
                Node(f.name, f.type, tuple(f.inputs), tuple(f.outputs), f)
                for f in network.functions.values()
            ),
            {n: tuple(v.shape) for n, v in (*self.variables.items(), *self.parameters.items())},
            self.parameters,
        )

    def set_inputs(self, definition: Definition, batch_size: int) -> dict[str, nn.Variable]:
        """Put variables of ``batch_size`` examples, and constants, into the network's inputs.

        Returns:
            The variables to fill, by dataset column, of shape ``(batch_size, *Input.shape)``.
        """
        inputs = {i.column: nn.Variable((batch_size, *i.shape)) for i in definition.inputs}
        for name, column in definition.data.items():
            if name in self.variables:
                self.variables[name].variable_instance = inputs[column]
        for name, value in definition.constants.items():
            if name in self.variables:
                constant = np.full(sized(self.shapes[name], batch_size), value, np.float32)
                self.variables[name].variable_instance = nn.Variable.from_numpy_array(constant)
        return inputs

    def build(
        self,
        batch_size: int,
        context: nn.Context,
        parameters: Mapping[str, nn.Variable],
        trained: Collection[str],
        build_instead: Callable[[Node], bool],
    ) -> None:
        """Build every function, in a private parameter scope.

        Args:
            batch_size: B.
            context: Where to compute.
            parameters: What to build with, by name.
            trained: The names of those that need gradients.
            build_instead: May build a function in another way, and then returns true.
        """
        self.set_context(context)
        with nn.parameter_scope("", self._scope):
            for name, variable in parameters.items():
                # The graph is built with what nnabla's ProtoVariable says, not the variable itself.
                variable.need_grad = self.parameters[name].need_grad = name in trained
                nn.parameter.set_parameter(name, variable)
        nodes = {node.name: node for node in self.nodes}

        def build(function: Any) -> None:
            try:
                if not build_instead(nodes[function.name]):
                    function.graph_call(batch_size=batch_size)
            except (RuntimeError, ValueError, TypeError) as error:
                reason = " ".join(str(error).split())[-200:]
                raise ModelError(
                    f"{self.path}: nnabla cannot build the function {function.type} (layer"
                    f" {function.name!r}) at batch size {batch_size} (...{reason}); save the file"
                    " with variable_batch_size=True"
                ) from error
            if function.type in WITHOUT_GRADIENT:
                # nnabla would call a comparison's backward function, which it lacks.
                self.variables[function.outputs[0]].variable_instance.need_grad = False

        with nn.parameter_scope("", self._scope):
            self._network.execute_on_proto(build)

    def set_context(self, context: nn.Context) -> None:
        """Let functions be built in ``context``."""
        self._network.owner().current_context = context

    def built(self, name: str) -> nn.Variable:
        """Return what was built for a variable, or a parameter."""
        variables = self.variables if name in self.variables else self.parameters
        return variables[name].variable_instance


def expand(path: Path, network: Any, rng: np.random.RandomState | None = None) -> Unrolled:
    """Unroll the loops of a proto ``Network``; its initialisers will draw from ``rng``."""
    proto = nnabla_pb2.NNablaProtoBuf()
    proto.network.add().CopyFrom(network)
    for function in proto.network[0].function:
        if function.type == "SyncBatchNormalization":
            _unsynchronise(function)
    scope: dict[str, nn.Variable] = {}
    try:
        _check_names(network)
        # nnabla makes an instance of each function only to read its arguments; any context does.
        with nn.context_scope(get_extension_context("cpu")):
            graph = ProtoGraph.from_proto(proto, param_scope=scope, rng=rng)
            unrolled = Unrolled(path, graph.networks[network.name].expand_loop_control(), scope)
        _check_order(unrolled)
    except Exception as error:  # nnabla lets through whatever a damaged network runs into
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: nnabla cannot build the network {network.name!r}"
            f" ({type(error).__name__}: {reason}); check that nnabla_cli can train the file"
        ) from error
    return unrolled


def _check_names(network: Any) -> None:
    names = collections.Counter(function.name for function in network.function)
    outputs = collections.Counter(name for f in network.function for name in f.output)
    for count, what in ((names, "function"), (outputs, "output")):
        twice = [name for name, times in count.items() if times > 1]
        if twice:
            raise ValueError(f"there are two {what}s {twice[0]!r}")


def _check_order(graph: Graph) -> None:
    """Raise if functions wait for each other in a cycle, in which nnabla would run for ever."""
    before = {
        node.name: [graph.producers[i].name for i in node.inputs if i in graph.producers]
        for node in graph.nodes
    }
    graphlib.TopologicalSorter(before).prepare()


def _unsynchronise(function: Any) -> None:
    # nnabla cannot load it, and without other processes it is the plain function.
    settings = function.sync_batch_normalization_param
    axes, decay_rate, eps = list(settings.axes), settings.decay_rate, settings.eps
    batch_stat = settings.batch_stat
    function.type = "BatchNormalization"
    plain = function.batch_normalization_param  # a oneof: `settings` is cleared from here on
    plain.axes.extend(axes)
    plain.decay_rate, plain.eps, plain.batch_stat = decay_rate, eps, batch_stat


def sized(shape: Iterable[int], batch_size: int) -> tuple[int, ...]:
    """Return a variable's shape with the batch size in the place of -1."""
    return tuple(size if size >= 1 else batch_size for size in shape)


def matching_names(pattern: str, names: Collection[str]) -> list[str]:
    """Return the unrolled names that a name of the optimizer section stands for.

    This is nnabla_cli's own rule, with its quirks, since it decides what is trained: a name that
    exists stands for itself; in any other, ``{...}`` stands for an index of *one* digit, and the
    rest of a name may follow.
    """
    if pattern in names:
        return [pattern]
    regex = re.compile(re.sub(r"{[^}]*}", lambda match: r"\[[\d+]\]", pattern))
    return [name for name in names if regex.match(name)]


def trainable_names(optimizer: Any, network: Unrolled, losses: Sequence[str]) -> tuple[str, ...]:
    """Return the sorted names of the parameters that the solver moves and the loss depends on."""
    names = (*network.parameters, *network.variables)
    multipliers: dict[str, float] = {}
    for entry in optimizer.parameter_variable:
        for name in matching_names(entry.variable_name, names):
            multipliers[name] = entry.learning_rate_multiplier
    chosen = {name for name, multiplier in multipliers.items() if multiplier > 0}
    moved = sorted(chosen & network.upstream(losses, differentiably=True))
    for name in moved:
        if name in network.variables and name not in network.producers:
            raise UnsupportedError(
                f"{network.path}: the solver trains {name!r}, which is not a parameter and so is"
                " not saved; make it a parameter and train again"
            )
    trainable = tuple(name for name in moved if name in network.parameters)
    if not trainable:
        raise ModelError(
            f"{network.path}: the optimizer {optimizer.name!r} trains no parameter that the loss"
            " depends on; set a learning-rate multiplier above 0 and save the file again"
        )
    return trainable
