"""The note that results.nnp is not the end of the training."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import pytest

from nnabla_influence.definition import load_definition
from nnabla_influence.scoring.best_epoch import note_on_best_epoch
from tests.small_projects import Trained, trained_table, write_table


@pytest.fixture
def net(tmp_path) -> Path:
    return write_table(tmp_path)


def pack(net: Path, name: str, *, change: float = 0.0) -> Path:
    """Pack the definition with its parameters, one of them changed."""
    with h5py.File(net.parent / "net.h5", "a") as file:
        file["out/affine/b"][0] += change
    with zipfile.ZipFile(net.parent / name, "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.write(net, "net.nntxt")
        archive.write(net.parent / "net.h5", "parameter.h5")
    return net.parent / name


@pytest.mark.parametrize("name", ["results.nnp", "results_best_7.nnp"])
def test_the_last_of_the_other_parameters_is_named(net: Path, name: str):
    best = pack(net, name)
    for epoch in (3, 9, 10):
        pack(net, f"results_current_{epoch}.nnp", change=1e-3)
    note = note_on_best_epoch(load_definition(best))
    assert note is not None
    assert note.startswith(f"Note: {name} holds the parameters of the best epoch; ")
    assert "are in results_current_10.nnp beside it" in note


def test_equal_parameters_need_no_note(net: Path):
    best = pack(net, "results.nnp")
    pack(net, "results_current_10.nnp")
    assert note_on_best_epoch(load_definition(best)) is None


def test_nothing_beside_it(net: Path):
    assert note_on_best_epoch(load_definition(pack(net, "results.nnp"))) is None


@pytest.mark.parametrize("name", ["results_current_10.nnp", "result.nnp", "my_results.nnp"])
def test_other_names_are_not_the_best_epoch(net: Path, name: str):
    given = pack(net, name)
    pack(net, "results_current_11.nnp", change=1e-3)
    assert note_on_best_epoch(load_definition(given)) is None


def test_a_neighbour_that_cannot_be_read_is_not_pointed_to(net: Path):
    best = pack(net, "results.nnp")
    (net.parent / "results_current_10.nnp").write_bytes(b"not a zip")
    assert note_on_best_epoch(load_definition(best)) is None


def test_what_nnabla_cli_leaves(tmp_path_factory):
    """Of a training whose best epoch is not the last."""
    trained: Trained = trained_table(tmp_path_factory.getbasetemp())
    note = note_on_best_epoch(load_definition(trained.model))
    assert note is not None
    assert trained.final.name in note
    assert note_on_best_epoch(load_definition(trained.final)) is None
