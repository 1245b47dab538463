"""A network as a graph: which function computes a variable, and which functions read it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]

_COMPARISONS = "Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogicalXor NotEqual"

WITHOUT_GRADIENT = frozenset(
    ["IsInf", "IsNaN", "LogicalNot", "Unlink", *_COMPARISONS.split()]
    + [f"{kind}Scalar" for kind in _COMPARISONS.split()]
)
"""Functions of which a script keeps gradients away; nnabla cannot train through them otherwise."""


@dataclass(frozen=True, eq=False)
class Node:
    """A function of a network.

    Attributes:
        name: Of its layer.
        type: nnabla's, such as ``Affine``.
        inputs: Names of variables and parameters.
        outputs: Names of variables.
        proto: The proto ``Function``; in an unrolled network nnabla's ``ProtoFunction``.
    """

    name: str
    type: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    proto: Any

    @property
    def args(self) -> Mapping[str, Any]:
        """The function's arguments, in an unrolled network."""
        return self.proto.args or {}

    @property
    def differentiated(self) -> Sequence[str]:
        """The inputs that gradients pass to in training."""
        if self.type in WITHOUT_GRADIENT:
            return ()
        if self.type in ("BatchNormalization", "SyncBatchNormalization"):
            return self.inputs[:-2]  # not the running mean and variance
        if self.type == "FusedBatchNormalization":
            return (*self.inputs[:3], *self.inputs[5:])
        return self.inputs


class Graph:
    """The functions of a network and the shapes of what they read and compute.

    Attributes:
        nodes: In the order of the file.
        shapes: Of variables and parameters by name; the batch axis is -1.
        parameter_names: In the order of the file.
        producers: The node that computes each variable.
    """

    def __init__(
        self, nodes: Iterable[Node], shapes: Mapping[str, Shape], parameter_names: Iterable[str]
    ):
        self.nodes = tuple(nodes)
        self.shapes = shapes
        self.parameter_names = tuple(parameter_names)
        self.producers = {name: node for node in self.nodes for name in node.outputs}

    @classmethod
    def of(cls, network: Any) -> Graph:
        """Return the graph of a proto ``Network``, its loops as in the file."""
        return cls(
            (Node(f.name, f.type, tuple(f.input), tuple(f.output), f) for f in network.function),
            {variable.name: tuple(variable.shape.dim) for variable in network.variable},
            (variable.name for variable in network.variable if variable.type == "Parameter"),
        )

    def consumers(self, variable: str) -> list[tuple[Node, int]]:
        """Return the nodes that read a variable, with the position at which each reads it."""
        return [
            (node, position)
            for node in self.nodes
            for position, name in enumerate(node.inputs)
            if name == variable
        ]

    def upstream(self, names: Iterable[str], differentiably: bool = False) -> set[str]:
        """Return what ``names`` depend on, ``names`` included.

        With ``differentiably``, only where gradients pass in training.
        """
        seen: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.producers.get(name)
            if node is not None:
                stack.extend(node.differentiated if differentiably else node.inputs)
        return seen

    def downstream(self, names: Iterable[str], differentiably: bool = False) -> set[str]:
        """Return the variables that depend on ``names``, ``names`` included; see `upstream`."""
        reached = set(names)
        pending: Sequence[Node] = self.nodes
        while True:
            others = []
            for node in pending:
                if reached.isdisjoint(node.differentiated if differentiably else node.inputs):
                    others.append(node)
                else:
                    reached.update(node.outputs)
            if len(others) == len(pending):
                return reached
            pending = others

    def behind(self, name: str, types: Collection[str]) -> str:
        """Return the variable that ``name`` is made of by functions of these types alone.

        Of each function, the first input is followed.
        """
        for _ in self.nodes:  # and no longer, in a damaged file's cycle
            node = self.producers.get(name)
            if node is None or node.type not in types:
                break
            name = node.inputs[0]
        return name

    def order(
        self, outputs: Iterable[str], past: Callable[[Node], bool] = lambda node: True
    ) -> list[Node]:
        """Return the functions that ``outputs`` need, in the order in which nnabla runs them.

        That is depth first, the inputs of a function one after the other before it. What a function
        needs is left out where ``past`` is false.
        """
        order: list[Node] = []
        entered: set[str] = set()
        stack: list[str | Node] = list(reversed(list(outputs)))
        while stack:
            item = stack.pop()
            if isinstance(item, Node):
                order.append(item)
                continue
            node = self.producers.get(item)
            if node is not None and node.name not in entered:
                entered.add(node.name)
                stack.append(node)
                if past(node):
                    stack.extend(reversed(node.inputs))
        return order

    def category_axis(self, node: Node) -> int | None:
        """Return the axis of the categories in a cross entropy's scores, None for others."""
        if node.type == "SoftmaxCrossEntropy":
            axis = node.proto.softmax_cross_entropy_param.axis
        elif node.type == "CategoricalCrossEntropy":
            axis = node.proto.categorical_cross_entropy_param.axis
        else:
            return None
        n_axes = len(self.shapes[node.inputs[0]])
        return int(axis) if -n_axes <= axis < n_axes else None


def find_network(proto: Any, name: str) -> Any | None:
    """Return the proto ``Network`` called ``name``, or None."""
    return next((network for network in proto.network if network.name == name), None)


def keep_only(network: Any, outputs: Sequence[str]) -> None:
    """Drop from a proto network, in place, what ``outputs`` do not depend on."""
    needed = Graph.of(network).upstream(outputs)
    functions = [copied(f) for f in network.function if needed.intersection(f.output)]
    # All outputs of a kept function must stay.
    needed.update(name for function in functions for name in function.output)
    variables = [copied(v) for v in network.variable if v.name in needed]
    del network.function[:]
    del network.variable[:]
    network.function.extend(functions)
    network.variable.extend(variables)


def copied(message: Any) -> Any:
    """Return a copy of a protobuf message."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
