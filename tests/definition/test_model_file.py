"""Every form of a model file, and files that cannot be read."""

from __future__ import annotations

import io
import re
import zipfile

import h5py
import nnabla as nn
import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnabla_influence.definition import load_definition
from nnabla_influence.definition.model_file import read_parameters
from nnabla_influence.errors import ModelError

from .definitions import h5_bytes, protobuf_bytes, python_proto, write_nnp, write_text

PROTO, PARAMETERS = python_proto(
    lambda v: F.squared_error(PF.affine(F.tanh(PF.affine(v["x"], 4, name="a")), 1), v["t"])
)
OTHER = {name: value + 1 for name, value in PARAMETERS.items()}


def embed(proto, parameters):
    """A definition that holds its parameters itself, as `save(..., include_params=True)` does."""
    whole = type(proto)()
    whole.CopyFrom(proto)
    for name, value in parameters.items():
        whole.parameter.add(variable_name=name, data=value.ravel(), need_grad=True)
        whole.parameter[-1].shape.dim.extend(value.shape)
    return whole


def nnp_of_the_cli(folder):
    return (write_nnp(folder / "results.nnp", PROTO, PARAMETERS),)


def nnp_of_the_desktop(folder):
    path = folder / "results_best_3.nnp"
    write_nnp(path, PROTO, PARAMETERS, "network.prototxt", "parameter.protobuf")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("output_result.zip", b"not for us")
        archive.writestr("Optimizer_Adam_optimizer.h5.optimizer", b"nor this")
    return (path,)


def text_beside_h5(folder):
    (folder / "net.h5").write_bytes(h5_bytes(PARAMETERS))
    return write_text(folder / "net.nntxt", PROTO), folder / "net.h5"


def text_beside_protobuf(folder):
    (folder / "net.protobuf").write_bytes(protobuf_bytes(PARAMETERS))
    return write_text(folder / "net.prototxt", PROTO), folder / "net.protobuf"


def text_beside_nnp(folder):
    return write_text(folder / "net.nntxt", PROTO), *nnp_of_the_cli(folder)


def text_with_parameters(folder):
    return (write_text(folder / "net.nntxt", embed(PROTO, PARAMETERS)),)


def text_with_bom(folder):
    path = folder / "net.nntxt"
    text = text_format.MessageToString(embed(PROTO, PARAMETERS))
    path.write_text(text, encoding="utf-8-sig")
    return (path,)


def nnp_overruled_by_h5(folder):
    (folder / "final.h5").write_bytes(h5_bytes(PARAMETERS))
    return write_nnp(folder / "results.nnp", PROTO, OTHER), folder / "final.h5"


def h5_without_nnablas_attributes(folder):
    """As a script of another framework writes it."""
    with h5py.File(folder / "net.h5", "w") as file:
        for name, value in PARAMETERS.items():
            file[name] = value.astype(np.float64)
    return write_text(folder / "net.nntxt", PROTO), folder / "net.h5"


def upper_case_suffix(folder):
    return (nnp_of_the_cli(folder)[0].rename(folder / "RESULTS.NNP"),)


FORMS = [
    *(nnp_of_the_cli, nnp_of_the_desktop, nnp_overruled_by_h5, upper_case_suffix),
    *(text_beside_h5, text_beside_protobuf, text_beside_nnp, text_with_parameters, text_with_bom),
    h5_without_nnablas_attributes,
]


@pytest.mark.parametrize("write", FORMS, ids=lambda f: f.__name__)
def test_every_form_gives_the_same_definition(japanese_path, write):
    nn.clear_parameters()
    definition = load_definition(*map(str, write(japanese_path)))
    assert definition.proto == PROTO
    assert sorted(definition.parameters) == sorted(PARAMETERS)
    for name, value in PARAMETERS.items():
        assert definition.parameters[name].dtype == np.float32
        np.testing.assert_array_equal(definition.parameters[name], value)
    assert not nn.get_parameters()  # nnabla's global scope


def test_a_text_alone_has_no_parameters(tmp_path):
    assert load_definition(write_text(tmp_path / "net.nntxt", PROTO)).parameters == {}


NAMES = st.text(st.characters(codec="ascii", exclude_characters="/.\0"), min_size=1, max_size=8)
VALUES = arrays(
    np.float32,
    st.lists(st.integers(0, 3), max_size=4).map(tuple),
    elements=st.floats(width=32, allow_nan=False),
)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".h5", ".protobuf", ".nnp", ".nntxt"])
@settings(max_examples=25)
@given(parameters=st.dictionaries(NAMES.map("scope/{}".format), VALUES, min_size=1, max_size=3))
def test_parameters_come_back_as_they_were(tmp_path_factory, suffix, parameters):
    path = tmp_path_factory.mktemp("round") / f"net{suffix}"
    if suffix == ".nntxt":
        write_text(path, embed(type(PROTO)(), parameters))
    elif suffix == ".nnp":
        write_nnp(path, PROTO, parameters)
    else:
        path.write_bytes({".h5": h5_bytes, ".protobuf": protobuf_bytes}[suffix](parameters))
    found = read_parameters(path)
    assert found.keys() == parameters.keys()
    for name, value in parameters.items():
        np.testing.assert_array_equal(found[name], value)


def nnp_of(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def damaged(content):
    content = bytearray(content)
    content[200] ^= 0xFF  # within the text: its checksum is wrong
    return bytes(content)


def badly_shaped():
    proto = embed(PROTO, PARAMETERS)
    proto.parameter[0].shape.dim[0] += 1
    return text_format.MessageToString(proto).encode()


TEXT = text_format.MessageToString(PROTO).encode()
H5 = h5_bytes(PARAMETERS)
WHOLE = nnp_of(net__nntxt=TEXT, parameter__h5=H5)
UNREADABLE = {  # the file, its content, and what the error names beside the file
    "truncated nnp": ("net.nnp", WHOLE[:-40], "archive"),
    "damaged nnp": ("net.nnp", damaged(WHOLE), "archive"),
    "nnp without network": ("net.nnp", nnp_of(a__txt="a"), "no network"),
    "nnp with two": ("net.nnp", nnp_of(a__nntxt=TEXT, b__prototxt=TEXT), "a.nntxt, b.prototxt"),
    "damaged h5": ("net.nnp", nnp_of(a__nntxt=TEXT, p__h5=H5[:-900]), "p.h5"),
    "text of something else": ("net.nntxt", b"Dear Sir or Madam,\n", "nnabla 1.39"),
    "field of another version": ("net.nntxt", b'optimiser { name: "a" }', "optimiser"),
    "empty text": ("net.nntxt", b"", "no network"),
    "badly shaped": ("net.nntxt", badly_shaped(), "'a/affine/W' has 12 values"),
    "another kind": ("net.onnx", b"onnx", ".nnp, .nntxt or .prototxt"),
}
UNREADABLE_PARAMETERS = {
    "truncated h5": ("net.h5", H5[:-900], ".h5 of parameters"),
    "text": ("net.h5", b"1,2,3", ".h5 of parameters"),
    "not a protobuf": ("net.protobuf", b"\x07\x07\x07", ".protobuf"),
    "nnp without parameters": ("net.nnp", nnp_of(n__nntxt=TEXT), "no parameters"),
    "another kind of parameters": ("net.npz", b"", ".h5, .protobuf or .nnp"),
}


@pytest.mark.parametrize("name", [*UNREADABLE, *UNREADABLE_PARAMETERS])
def test_an_unreadable_file_is_named_in_one_line(tmp_path, name):
    file, content, named = {**UNREADABLE, **UNREADABLE_PARAMETERS}[name]
    path = tmp_path / file
    path.write_bytes(content)
    files = [write_text(tmp_path / "other.nntxt", PROTO)] if name in UNREADABLE_PARAMETERS else []
    with pytest.raises(ModelError, match=re.escape(named)) as caught:
        load_definition(*files, path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_model_and_a_folder_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"net\.nnp: does not exist"):
        load_definition(tmp_path / "net.nnp")
    (tmp_path / "net.nntxt").mkdir()
    with pytest.raises(ModelError, match=r"net\.nntxt: .*directory"):
        load_definition(tmp_path / "net.nntxt")
