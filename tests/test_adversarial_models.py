"""Received models: parameter files, archives and networks that would read or fill the computer.

Each of these did what it says before it was refused.
"""

from __future__ import annotations

import contextlib
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from nnabla.utils import nnabla_pb2

from nnabla_influence import file_safety
from nnabla_influence.definition import load_definition
from nnabla_influence.definition.model_file import read_parameters as read_model_parameters
from nnabla_influence.errors import DatasetError, ModelError, RunError
from nnabla_influence.nnabla_cli import training
from nnabla_influence.nnabla_cli.order import nnabla_cli_steps, seeded_steps, shuffled_steps
from nnabla_influence.runs.run_files import read_parameters
from nnabla_influence.runs.run_files import read_solver_state as read_run_state
from nnabla_influence.solvers.saved_state import read_solver_state as read_model_state
from tests.adversarial import add_monitored, train_it
from tests.retraining.projects import Project, write_project
from tests.small_projects import edit


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    # nnabla_cli looks for a cache from the current folder only.
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path / "project", n_training=30)


def model_as_nnp(project: Project, *members: tuple[str, bytes]) -> Path:
    path = project.model.with_suffix(".nnp")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(project.model, "net.nntxt")
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user's, which no model has any business with."""
    path = tmp_path / "secret"
    path.write_bytes(np.arange(64, dtype=np.float32).tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["key"] = np.arange(64, dtype=np.float32)
    return path


def external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("affine/W", (64,), np.float32, external=[(str(secret), 0, 256)])


def external_link(file: h5py.File, secret: Path) -> None:
    file["affine/W"] = h5py.ExternalLink(f"{secret}.h5", "/key")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((64,), np.float32)
    layout[:] = h5py.VirtualSource(f"{secret}.h5", "key", (64,))
    file.create_virtual_dataset("affine/W", layout)


def unallocated(file: h5py.File, secret: Path) -> None:
    file.create_dataset("affine/W", (2**40,), np.float32)


def compressed(file: h5py.File, secret: Path) -> None:
    file.create_dataset("affine/W", (2**29,), np.float32, chunks=(2**22,), compression="gzip")


def one_chunk(file: h5py.File, secret: Path) -> None:
    shape = {"shape": (1,), "maxshape": (None,), "chunks": (2**29,)}
    file.create_dataset("affine/W", dtype=np.float32, compression="gzip", **shape)


def deep(file: h5py.File, secret: Path) -> None:
    """With some thousand groups HDF5 itself crashes."""
    file.create_dataset("a/" * 200 + "W", (1,), np.float32)


HDF5 = [deep, external_storage, external_link, virtual, unallocated, compressed, one_chunk]


def hdf5(make: Any, path: Path, secret: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        make(file, secret)
    return path


@pytest.mark.parametrize("make", HDF5)
def test_parameters_come_from_their_own_file_alone(make, project, secret, tmp_path):
    path = hdf5(make, tmp_path / "p.h5", secret)
    for error, read in (
        (ModelError, read_model_parameters),
        (RunError, read_parameters),
        (RunError, read_run_state),
    ):
        with pytest.raises(error, match=re.escape(str(path))):
            read(path)
    packed = model_as_nnp(project, ("parameter.h5", path.read_bytes()))
    with pytest.raises(ModelError, match=r"net\.nnp, parameter\.h5"):
        load_definition(packed)
    with pytest.raises(ModelError, match=re.escape(str(path))):
        training.train(project.model, tmp_path / "run", parameters=path, device="cpu")


@pytest.mark.parametrize("make", HDF5)
def test_states_of_a_solver_come_from_the_archive_alone(make, project, secret, tmp_path):
    """nnabla_cli reads them as well."""
    name = "Optimizer_Sgd_optimizer.h5.optimizer"
    content = hdf5(make, tmp_path / "s.h5", secret).read_bytes()
    path = model_as_nnp(project, (name, content))
    with pytest.raises(ModelError, match=name):
        training.train(path, tmp_path / "run", device="cpu")
    with pytest.raises(ModelError, match=name):
        read_model_state(path)


@pytest.mark.parametrize("make", HDF5)
def test_a_prepared_cache_holds_its_own_numbers(make, project, secret, tmp_path):
    cache = hdf5(make, project.training.parent / "cache" / "cache_0.h5", secret).parent
    (cache / "cache_index.csv").write_text("cache_0.h5,64\n")
    add_monitored(project.model, project.test, cache_dir=str(cache))
    with pytest.raises(DatasetError, match=r"cache_0\.h5"):
        train_it(project, tmp_path)


def test_what_the_user_trusts_may_be_larger(secret, tmp_path, monkeypatch):
    path = hdf5(lambda file, _: file.create_dataset("W", (2**16,), "f4"), tmp_path / "p.h5", secret)
    monkeypatch.setattr(file_safety, "_LEAST_BYTES", 2**10)
    with pytest.raises(ModelError, match="NNABLA_INFLUENCE_LIMITS"):
        read_model_parameters(path)
    monkeypatch.setenv(file_safety.VARIABLE, "10")
    assert read_model_parameters(path)["W"].shape == (2**16,)


@pytest.mark.slow
def test_archives_that_unpack_to_gigabytes(project, tmp_path):
    path = model_as_nnp(project)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("junk", "w", force_zip64=True) as member,
    ):
        for _ in range(1100):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2_000_000
    with pytest.raises(ModelError, match=r"net\.nnp: .*1,\d+,\d+ bytes .*unpack"):
        load_definition(path)


def test_an_archive_that_lies_about_a_member(project):
    """It says 100 bytes, and unpacks to 64 MB."""
    path = model_as_nnp(project, ("parameter.protobuf", bytes(2**26)))
    content = path.read_bytes()
    said, lie = struct.pack("<I", 2**26), struct.pack("<I", 100)
    assert content.count(said) == 2
    path.write_bytes(content.replace(said, lie))
    tracemalloc.start()
    with pytest.raises(ModelError, match=r"net\.nnp"):
        load_definition(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_a_definition_that_is_mostly_one_letter(project):
    project.model.write_text(project.model.read_text() + "# " + "x" * 2**25 + "\n")
    with pytest.raises(ModelError, match=r"net\.nntxt: .*unpack"):
        load_definition(model_as_nnp(project))


@pytest.mark.parametrize("shape", [(2**32, 2**32), (-1, -1), (2**62, 0)])
def test_parameters_whose_shape_is_none(shape, tmp_path):
    proto = nnabla_pb2.NNablaProtoBuf()
    parameter = proto.parameter.add(variable_name="W", data=[1.0] if min(shape) < 0 else [])
    parameter.shape.dim.extend(shape)
    (tmp_path / "p.protobuf").write_bytes(proto.SerializeToString())
    with contextlib.suppress(ModelError):
        assert read_model_parameters(tmp_path / "p.protobuf")["W"].size == 0


def repeated(proto: Any) -> None:
    proto.network[-1].repeat_info.add(id="times", times=300_000_000)
    proto.network[-1].function[0].repeat_id.append("times")


def repeated_variable(proto: Any) -> None:
    for name in ("a", "b"):
        proto.network[-1].repeat_info.add(id=name, times=20_000)
        proto.network[-1].variable[0].repeat_id.append(name)


def long_chain(proto: Any) -> None:
    for number in range(20_000):
        proto.network[-1].function.add(name=f"f{number}", type="Identity")


@pytest.mark.slow
@pytest.mark.parametrize("change", [repeated, repeated_variable, long_chain])
def test_networks_that_would_be_unrolled_for_hours(change, project):
    edit(project.model, change)
    with pytest.raises(ModelError, match=r"[\d,]+ (functions|variables)"):
        load_definition(project.model)


def test_the_order_of_a_training_that_nobody_did(project):
    edit(project.model, lambda proto: setattr(proto.training_config, "max_epoch", 2 * 10**9))
    definition = load_definition(project.model)
    with pytest.raises(RunError, match="too many"):
        nnabla_cli_steps(definition, 30, epochs=1)
    for draw in (shuffled_steps, seeded_steps):
        with pytest.raises(RunError, match="too many"):
            draw(definition, 30, seed=0)
