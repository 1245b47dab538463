"""Files that somebody sent: what they try is really tried, and nothing of it happens.

Each of these did what it says before it was refused.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from nnabla.utils import nnabla_pb2
from PIL import Image

from nnabla_influence import Options, file_safety, score
from nnabla_influence.cleansing.table import read_table
from nnabla_influence.dataset import ColumnSpec, check_files, open_dataset
from nnabla_influence.definition import load_definition
from nnabla_influence.definition.model_file import read_parameters as read_model_parameters
from nnabla_influence.errors import DatasetError, ModelError, OutputError, RunError
from nnabla_influence.nnabla_cli import training
from nnabla_influence.nnabla_cli.order import nnabla_cli_steps, seeded_steps, shuffled_steps
from nnabla_influence.nnabla_cli.unsafe_inputs import check_datasets
from nnabla_influence.ranking import read_ranking
from nnabla_influence.retraining.removal_curve import curve
from nnabla_influence.review.thumbnails import shows_a_picture, thumbnail
from nnabla_influence.runs.run import read_run
from nnabla_influence.runs.run_files import check_replaceable, read_parameters
from nnabla_influence.runs.run_files import read_solver_state as read_run_state
from nnabla_influence.solvers.saved_state import read_solver_state as read_model_state
from tests.retraining.projects import Project, write_project
from tests.small_projects import edit

PLACE = re.escape("x.csv, line 2, datasource_index 0, column 'x'")


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    # nnabla_cli looks for a cache from the current folder only.
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path / "project", n_training=30)


def write_pickled(path: Path, marker: Path) -> None:
    np.save(path, np.array([Touch(marker)], object), allow_pickle=True)


def add_column(csv: Path, cell: str, row: int = 0) -> None:
    """Add a column that the network does not use; all but one of its cells are numbers."""
    header, *lines = csv.read_text().splitlines()
    lines = [f"{line},{cell if number == row else 0}" for number, line in enumerate(lines)]
    csv.write_text("\n".join([f"{header},unused", *lines]) + "\n")


def add_monitored(model: Path, csv: Path, **settings: Any) -> None:
    """Let a monitor look at another dataset."""

    def change(proto: Any) -> None:
        proto.dataset.add().CopyFrom(proto.dataset[0])
        proto.dataset[-1].name, proto.dataset[-1].uri = "Other", str(csv)
        for name, value in settings.items():
            setattr(proto.dataset[-1], name, value)
        proto.monitor.add().CopyFrom(proto.monitor[0])
        proto.monitor[-1].name = "other"
        del proto.monitor[-1].dataset_name[:]
        proto.monitor[-1].dataset_name.append("Other")

    edit(model, change)


def in_training(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.training, "bad.npy", row=1)
    return "training.csv, line 3, datasource_index 1, column 'unused'"


def in_first_row(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.training, "bad.npy")
    return "training.csv, line 2, datasource_index 0, column 'unused'"


def in_validation(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.validation, "bad.npy")
    return "validation.csv, line 2, datasource_index 0, column 'unused'"


def in_other(project: Project, marker: Path) -> str:
    write_pickled(project.training.parent / "bad.npy", marker)
    add_column(project.test, "bad.npy")
    add_monitored(project.model, project.test)
    return "test.csv, line 2, datasource_index 0, column 'unused'"


def as_plain_pickle(project: Project, marker: Path) -> str:
    (project.training.parent / "bad.npy").write_bytes(pickle.dumps(Touch(marker)))
    add_column(project.training, "bad.npy")
    return "training.csv, line 2, datasource_index 0, column 'unused'"


def in_cache(project: Project, marker: Path) -> str:
    cache = project.training.parent / "cache"
    cache.mkdir()
    with open(cache / "cache_0.npy", "wb") as file:
        np.save(file, np.zeros((30, 1), np.float32))
        np.save(file, np.array([Touch(marker)], object), allow_pickle=True)
    (cache / "cache_info.csv").write_text("x\ny\n")
    (cache / "cache_index.csv").write_text("cache_0.npy,30\n")
    add_monitored(project.model, project.test, cache_dir=str(cache))
    return "cache_0.npy"


def train_it(project: Project, folder: Path) -> None:
    training.train(project.model, folder / "run", device="cpu")


def score_without_run(project: Project, folder: Path) -> None:
    score(project.model, parameters=parameters(project), device="cpu")


def score_by_replay(project: Project, folder: Path) -> None:
    options = Options(method="exact")
    score(project.model, parameters=parameters(project), options=options, device="cpu")


def parameters(project: Project) -> Path:
    """Write parameters for the network, as if they were trained."""
    path = project.model.parent / "net.h5"
    network = load_definition(project.model).network
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for index, variable in enumerate(v for v in network.variable if v.type == "Parameter"):
            shape = tuple(variable.shape.dim)
            file[variable.name] = rng.normal(size=shape).astype(np.float32)
            file[variable.name].attrs.update(need_grad=True, index=index)
    return path


@pytest.mark.parametrize("command", [train_it, score_by_replay])
@pytest.mark.parametrize(
    "place", [in_first_row, in_training, in_validation, in_other, in_cache, as_plain_pickle]
)
def test_pickled_objects_are_refused_before_they_run(command, place, project, tmp_path, marker):
    where = place(project, marker)
    with pytest.raises(DatasetError, match=re.escape(where)):
        command(project, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("place", [in_first_row, as_plain_pickle])
def test_the_row_that_nnabla_decodes_for_a_score_without_a_run(place, project, tmp_path, marker):
    where = place(project, marker)
    with pytest.raises(DatasetError, match=re.escape(where)):
        score_without_run(project, tmp_path)
    assert not marker.exists()


def test_a_removal_curve_unpickles_nothing(project, tmp_path, marker):
    """It reads the network's columns alone."""
    in_first_row(project, marker)
    curve(
        project.model,
        **project.csvs,
        output=tmp_path / "curve",
        removed=[1],
        rankings=["final"],
        seeds=[0],
        device="cpu",
    )
    assert not marker.exists()


def test_nnabla_cli_itself_unpickles_nothing(project, tmp_path, marker, monkeypatch):
    """As if the file had changed after it was checked."""
    in_first_row(project, marker)
    monkeypatch.setattr(training, "check_datasets", lambda definition: None)
    with pytest.raises(RunError, match="allow_pickle=False"):
        train_it(project, tmp_path)
    assert not marker.exists()


# --------------------------------------------------------------- received models


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
    with pytest.raises(ModelError, match=re.escape(str(path))):
        read_model_parameters(path)
    with pytest.raises(RunError, match=re.escape(str(path))):
        read_parameters(path)
    with pytest.raises(RunError, match=re.escape(str(path))):
        read_run_state(path)
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


def test_archives_that_unpack_to_gigabytes(project, tmp_path):
    path = model_as_nnp(project)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("junk", "w", force_zip64=True) as member,
    ):
        for _ in range(1100):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2_000_000
    with pytest.raises(ModelError, match=r"net\.nnp: holds 1,\d+,\d+ bytes and would unpack"):
        load_definition(path)


def test_a_workbook_of_decisions_that_unpacks_to_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(file_safety, "_LEAST_BYTES", 2**20)
    path = tmp_path / "decisions.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(2**24))
    with pytest.raises(DatasetError, match=r"decisions\.xlsx: .* would unpack to"):
        read_table(path, ["decision"])


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
    with pytest.raises(ModelError, match=r"net\.nntxt: would unpack to"):
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


@pytest.mark.parametrize("change", [repeated, repeated_variable, long_chain])
def test_networks_that_would_be_unrolled_for_hours(change, project):
    edit(project.model, change)
    with pytest.raises(ModelError, match=r"has [\d,]+ (functions|variables) with"):
        load_definition(project.model)


def test_the_order_of_a_training_that_nobody_did(project):
    edit(project.model, lambda proto: setattr(proto.training_config, "max_epoch", 2 * 10**9))
    definition = load_definition(project.model)
    with pytest.raises(RunError, match="too many to draw"):
        nnabla_cli_steps(definition, 30, epochs=1)
    with pytest.raises(RunError, match="too many to be traced"):
        shuffled_steps(definition, 30, seed=0)
    with pytest.raises(RunError, match="too many to be traced"):
        seeded_steps(definition, 30, seed=0)


# --------------------------------------------------------------- pictures


def write_bomb(path: Path, side: int = 13_000) -> None:
    """A picture of many pixels in some kB."""
    Image.new("L", (side, side)).save(path)


def test_a_thumbnail_of_a_picture_that_would_take_gigabytes(tmp_path):
    write_bomb(tmp_path / "bomb.png")
    with pytest.raises(DatasetError, match=r"bomb\.png"):
        thumbnail(tmp_path / "bomb.png", 8)


@pytest.mark.parametrize(
    ("side", "shape"), [(13_000, (1, 13_000, 13_000)), (9_000, (1, 4, 4)), (13_000, (1, 4, 4))]
)
def test_a_picture_of_some_kilobytes_that_would_take_gigabytes(side, shape, tmp_path):
    """So many as decode at once; one that is no bomb is not decoded for a network far smaller."""
    write_bomb(tmp_path / "bomb.png", side)
    csv = tmp_path / "x.csv"
    csv.write_text("x\nbomb.png\n")
    tracemalloc.start()
    with pytest.raises(DatasetError, match=PLACE):
        open_dataset(csv, [ColumnSpec("x", shape)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_a_picture_that_nnabla_cli_would_unpack(project, tmp_path):
    write_bomb(project.training.parent / "bomb.png")
    add_column(project.validation, "bomb.png", row=2)
    with pytest.raises(DatasetError, match=r"validation\.csv, line 4, .* column 'unused'"):
        train_it(project, tmp_path)


def test_a_photograph_in_a_column_that_is_not_used_is_no_bomb(project):
    Image.new("RGB", (4000, 3000)).save(project.training.parent / "photo.jpg")
    add_column(project.training, "photo.jpg")
    check_datasets(load_definition(project.model))


def test_a_picture_that_is_a_program(tmp_path):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "a.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    )
    csv = tmp_path / "x.csv"
    csv.write_text("x\na.png\n")
    with pytest.raises(DatasetError, match="EPS"):
        open_dataset(csv, [ColumnSpec("x", (1, 4, 4))])


# --------------------------------------------------------------- what is not a file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("make", [pipe, device, loop])
class TestNoFile:
    @pytest.fixture(autouse=True)
    def _not_for_ever(self):
        # Not an OSError, which would be said as one of the file.
        before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits, or reads on"))
        signal.alarm(10)
        yield
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

    def test_as_dataset(self, make, tmp_path):
        make(tmp_path / "x.csv")
        with pytest.raises(DatasetError, match=r"x\.csv"):
            open_dataset(tmp_path / "x.csv", [ColumnSpec("x", (1,))])

    def test_as_ranking(self, make, tmp_path):
        make(tmp_path / "x.csv")
        with pytest.raises(DatasetError, match=r"x\.csv"):
            read_ranking(tmp_path / "x.csv")

    @pytest.mark.parametrize("name", ["x.nnp", "x.nntxt", "x.prototxt"])
    def test_as_model(self, make, name, tmp_path):
        make(tmp_path / name)
        with pytest.raises(ModelError, match=re.escape(name)):
            load_definition(tmp_path / name)
        with pytest.raises(ModelError, match=re.escape(name)):
            read_model_state(tmp_path / name)

    @pytest.mark.parametrize("name", ["x.h5", "x.protobuf"])
    def test_as_parameters(self, make, name, tmp_path):
        make(tmp_path / name)
        with pytest.raises(ModelError, match=re.escape(name)):
            read_model_parameters(tmp_path / name)

    @pytest.mark.parametrize(
        "name", ["final.h5", "steps.csv", "run.json", "solver_states.h5", "checkpoints/layout.json"]
    )
    def test_in_a_run(self, make, name, tmp_path):
        run = tmp_path / "run"
        (run / "checkpoints").mkdir(parents=True)
        with h5py.File(run / "final.h5", "w") as file:
            file["W"] = np.ones(3, np.float32)
        (run / "steps.csv").write_text("step,epoch,learning_rate,rows\n0,0,0.1,0 1\n")
        (run / name).unlink(missing_ok=True)
        make(run / name)
        with contextlib.suppress(RunError):  # What is not needed may be passed over.
            read = read_run(run)
            read.solver_state()
            assert read.checkpoints == ()

    def test_as_run(self, make, project, tmp_path):
        make(tmp_path / "run")
        with pytest.raises((RunError, OutputError)):
            read_run(tmp_path / "run")
        with pytest.raises((RunError, OutputError)):
            check_replaceable(tmp_path / "run")

    @pytest.mark.parametrize("name", ["a.png", "a.npy", "a.csv", "a.wav"])
    def test_as_cell(self, make, name, tmp_path):
        make(tmp_path / name)
        csv = tmp_path / "x.csv"
        csv.write_text(f"x\n{name}\n")
        with pytest.raises(DatasetError, match=PLACE):
            open_dataset(csv, [ColumnSpec("x", (1, 4, 4))])
        if make is not loop:  # which nnabla finds missing
            with pytest.raises(DatasetError, match=PLACE):
                check_files(csv)


# --------------------------------------------------------------- arrays


def structured(path: Path) -> None:
    np.save(path, np.zeros(2, [("a", [("b", object, (2,))])]), allow_pickle=True)


def cut_off(path: Path) -> None:
    np.save(path, np.zeros(100))
    path.write_bytes(path.read_bytes()[:-1])


def with_header(text: str) -> Any:
    def write(path: Path) -> None:
        header = text.encode().ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)

    return write


HEADERS = {
    "open bracket": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,"),
    "no python": with_header("}{"),
    "endless": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}"),
    "less than none": with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"),
    "structured": structured,
    "cut off": cut_off,
}


@pytest.mark.parametrize("write", HEADERS.values(), ids=HEADERS)
def test_arrays_whose_header_is_wrong(write, tmp_path):
    write(tmp_path / "a.npy")
    shows_a_picture(tmp_path / "a.npy")
    with pytest.raises(DatasetError, match=r"a\.npy"):
        thumbnail(tmp_path / "a.npy", 8)
    csv = tmp_path / "x.csv"
    csv.write_text("x\n0\na.npy\n")
    place = re.escape("x.csv, line 3, datasource_index 1, column 'x'")
    with pytest.raises(DatasetError, match=place):
        open_dataset(csv, [ColumnSpec("x", (1,))])
    with pytest.raises(DatasetError, match=place):
        check_files(csv)


def test_a_line_end_in_a_cell_hides_nothing(tmp_path):
    """nnabla reads it as LF, whatever it is."""
    (tmp_path / "a\nb.npy").write_bytes(b"no array")
    csv = tmp_path / "x.csv"
    csv.write_bytes(b'x\n"a\r\nb.npy"\n')
    with pytest.raises(DatasetError, match="datasource_index 0"):
        check_files(csv)


@pytest.mark.parametrize("name", ["uri", "cache_dir"])
def test_nothing_is_fetched_from_the_web(name, project, tmp_path):
    edit(project.model, lambda p: setattr(p.dataset[1], name, "http://127.0.0.1:9/x.csv"))
    with pytest.raises(DatasetError, match="web address"):
        train_it(project, tmp_path)
