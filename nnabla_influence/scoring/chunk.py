"""How many examples to put through the network at once: memory against speed, never the numbers."""

from __future__ import annotations

import math

from nnabla_influence.definition import Definition

LEAST = 2
"""nnabla cannot differentiate the cross entropies of a single example twice."""

_SMALL = 32
_VALUES = 2**18


def default_chunk_size(definition: Definition, batch_size: int) -> int:
    """Return a size for mini-batches of ``batch_size``.

    Networks with large feature maps are the fastest in chunks of 16 to 32; the smaller a network,
    the more the overhead of a chunk weighs, and the larger may it be.
    """
    values_per_example = sum(
        math.prod(variable.shape.dim[1:])
        for variable in definition.network.variable
        if variable.type != "Parameter"
    )
    return max(LEAST, min(batch_size, max(_SMALL, _VALUES // max(values_per_example, 1))))
