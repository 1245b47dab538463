"""The default chunk: whole mini-batches of small networks, 32 examples of large ones."""

from __future__ import annotations

import pytest

from network_defs.samples import Training, mlp, six_convolutions, write_definition
from nnabla_influence.definition import load_definition
from nnabla_influence.influence.step_engines import default_chunk_size


@pytest.mark.parametrize(
    ("network", "batch_size", "wanted"),
    [
        (mlp((64,), 10), 256, 256),
        (mlp((64,), 10), 7, 7),
        (mlp((64,), 10), 1, 2),
        (six_convolutions((1, 28, 28)), 256, 16),
        (six_convolutions((1, 28, 28)), 7, 7),
    ],
)
def test_default_chunk_size(tmp_path, network, batch_size: int, wanted: int):
    write_definition(tmp_path / "net.nntxt", network, Training(n_rows=300))
    assert default_chunk_size(load_definition(tmp_path / "net.nntxt"), batch_size) == wanted
