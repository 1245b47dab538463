"""Every form of a model file, and the one line for each that cannot be read."""

from __future__ import annotations

import io
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
from nnabla_influence.definition.reading import read_parameters
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


@pytest.mark.parametrize(
    "write",
    [
        nnp_of_the_cli,
        nnp_of_the_desktop,
        text_beside_h5,
        text_beside_protobuf,
        text_beside_nnp,
        text_with_parameters,
        text_with_bom,
        nnp_overruled_by_h5,
        h5_without_nnablas_attributes,
        upper_case_suffix,
    ],
    ids=lambda f: f.__name__,
)
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


def whole_nnp():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net.nntxt", text_format.MessageToString(PROTO))
        archive.writestr("parameter.h5", h5_bytes(PARAMETERS))
    return file.getvalue()


def nnp_of(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def damaged_nnp():
    content = bytearray(whole_nnp())
    content[200] ^= 0xFF  # within the text: its checksum is wrong
    return bytes(content)


def badly_shaped():
    proto = embed(PROTO, PARAMETERS)
    proto.parameter[0].shape.dim[0] += 1
    return text_format.MessageToString(proto).encode()


def h5_of_words():
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        content["a/affine/W"] = "words"
    return file.getvalue()


TEXT = text_format.MessageToString(PROTO).encode()
UNREADABLE = {
    "truncated nnp": ("net.nnp", whole_nnp()[:-40], "is no whole .nnp archive .*; write or copy"),
    "damaged nnp": ("net.nnp", damaged_nnp(), "is no whole .nnp archive .*; write or copy it"),
    "empty nnp": ("net.nnp", b"", "is no whole .nnp archive .*; write or copy it again"),
    "nnp without network": ("net.nnp", nnp_of(a__txt="a"), "holds 0 network definitions instead"),
    "nnp with two": (
        "net.nnp",
        nnp_of(a__nntxt=TEXT, b__prototxt=TEXT),
        r"holds 2 network definitions \(a.nntxt, b.prototxt\) instead of one; give an .nnp that",
    ),
    "nnp with damaged h5": (
        "net.nnp",
        nnp_of(net__nntxt=TEXT, parameter__h5=h5_bytes(PARAMETERS)[:-900]),
        r"net.nnp, parameter.h5: is no whole .h5 of parameters .*; write or copy it again",
    ),
    "text of something else": (
        "net.nntxt",
        b"Dear Sir or Madam,\n",
        "is no network definition that nnabla 1.39 understands .*; give the .nntxt or .prototxt",
    ),
    "binary": ("net.nntxt", b"\xff\xfe\x00", "is no network definition that nnabla 1.39"),
    "field of another version": ("net.nntxt", b'optimiser { name: "a" }', "no field named .opti"),
    "empty text": ("net.nntxt", b"", "holds no network; give the .nnp, .nntxt or .prototxt that"),
    "badly shaped": ("net.nntxt", badly_shaped(), "parameter 'a/affine/W' has 12 values for shape"),
    "another kind": ("net.onnx", b"onnx", "is no model file; give an .nnp, .nntxt or .prototxt"),
    "parameters alone": ("net.h5", h5_bytes(PARAMETERS), "is no model file; give an .nnp, .nntxt"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_model_is_said_in_one_line(tmp_path, name):
    file, content, message = UNREADABLE[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        load_definition(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_model_and_a_folder_are_said(tmp_path):
    with pytest.raises(ModelError, match=r"net\.nnp: does not exist; check the path"):
        load_definition(tmp_path / "net.nnp")
    (tmp_path / "net.nnp").mkdir()
    with pytest.raises(ModelError, match=r"net\.nnp: is a folder; give the model file in it"):
        load_definition(tmp_path / "net.nnp")


UNREADABLE_PARAMETERS = {
    "truncated h5": ("net.h5", h5_bytes(PARAMETERS)[:-900], "is no whole .h5 of parameters"),
    "h5 of words": ("net.h5", h5_of_words(), "is no whole .h5 of parameters"),
    "text": ("net.h5", b"1,2,3", "is no whole .h5 of parameters .*; write or copy it again"),
    "no protobuf": ("net.protobuf", b"\x07\x07\x07", "is no .protobuf of nnabla; write or copy"),
    "nnp without parameters": ("net.nnp", nnp_of(n__nntxt=TEXT), "holds no parameters; give the"),
    "another kind": ("net.npz", b"", "is no file of parameters; give an .h5, .protobuf or .nnp"),
}


@pytest.mark.parametrize("name", UNREADABLE_PARAMETERS)
def test_unreadable_parameters_are_said_in_one_line(tmp_path, name):
    file, content, message = UNREADABLE_PARAMETERS[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        load_definition(write_text(tmp_path / "definition.nntxt", PROTO), tmp_path / file)
    assert str(caught.value).startswith(str(tmp_path / file))
    assert "\n" not in str(caught.value)
