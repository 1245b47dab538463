"""Labels below 0: nnabla's cross entropies of categories give such an example the loss 0."""

from __future__ import annotations

from nnabla_influence.definition.definition import Definition
from nnabla_influence.definition.graph import categories, producers, shapes, upstream
from nnabla_influence.definition.losses import loss_terms

_KEEPING_ZERO = ("Identity", "MulScalar", "Mean", "Sum", "Reshape")


def ignoring_columns(definition: Definition) -> tuple[str, ...]:
    """Return the columns that make the loss ignore an example where all their labels are below 0.

    None where a part of the loss counts whatever the labels are, such as a regression beside a
    cross entropy.
    """
    network = definition.network
    data = [assignment.variable_name for assignment in definition.optimizer.data_variable]
    terms = loss_terms(definition.path, network, definition.loss_variables, data).examples
    producer, shape_of = producers(network), shapes(network)
    columns: list[str] = []
    for term in terms:
        function = producer.get(term.variable)
        while function is not None and function.type in _KEEPING_ZERO:
            function = producer.get(function.input[0])
        if function is None or categories(function, shape_of[function.input[0]]) is None:
            return ()
        read = upstream(network, [function.input[1]])
        labels = [i.column for i in definition.inputs if i.ignores_negative and i.variable in read]
        if not labels:
            return ()
        columns += labels
    return tuple(dict.fromkeys(columns))
