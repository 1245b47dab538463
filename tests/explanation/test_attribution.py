"""Attributions from end to end: a planted mark, the pictures, the page and the command."""

from __future__ import annotations

import re
from pathlib import Path

import nnabla.functions as F
import nnabla.parametric_functions as PF
import numpy as np
import pytest
from PIL import Image

from nnabla_influence import explain
from nnabla_influence.errors import InfluenceError, OutputError, UnsupportedError
from nnabla_influence.explanation.attribution import overlay
from nnabla_influence.explanation.explanation import Explanation
from nnabla_influence.options import AttributionOptions
from tests.cases import Case, write_csv
from tests.commands.common import run
from tests.explanation.attributed import write_rows
from tests.explanation.test_page import assert_asks_for_nothing
from tests.review.test_page import page_of, pixels_of
from tests.small_projects import write_table

SIZE, MARK = 32, 8


def _finds_marks(v):
    """Class 1 speaks for a bright blob, wherever it is; class 0 for none."""
    h = F.relu(PF.convolution(v["x"], 1, (3, 3), pad=(1, 1), name="c"))
    h = F.global_average_pooling(h)
    return F.softmax_cross_entropy(PF.affine(h, 2, name="out"), v["y"])


MARKED = Case("marked", {"x": (1, SIZE, SIZE), "y": (1,)}, _finds_marks, None, classes={"y": 2})
WEIGHTS = {
    "c/conv/W": np.full((1, 1, 3, 3), 1 / 9, np.float32),
    "c/conv/b": np.float32([-0.6]),
    "out/affine/W": np.float32([[-40, 40]]),
    "out/affine/b": np.float32([0.5, -0.5]),
}


@pytest.fixture(scope="module")
def marked(tmp_path_factory) -> Path:
    """A network that looks for a mark, and noise, every other picture with one in a corner."""
    folder = tmp_path_factory.mktemp("marked")
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 0.5, (8, 1, SIZE, SIZE)).astype(np.float32)
    y = np.arange(8, dtype=np.float32)[:, None] % 2
    x[1::2, :, -MARK:, :MARK] = 1
    MARKED.save_definition(folder, parameters=WEIGHTS)
    for part in ("training", "validation"):
        write_rows(folder, {"x": x, "y": y}).rename(folder / f"{part}.csv")
    return folder / "net.nntxt"


def explained(net: Path, **options) -> Explanation:
    given = {name: options.pop(name) for name in ("output", "pictures") if name in options}
    chosen = AttributionOptions(**options)
    h5 = net.with_name("net.h5")
    return explain(net, parameters=h5, rows=[1, 2], attribution=chosen, **given)


@pytest.mark.parametrize("method", ["gradcam", "lime"])
def test_a_planted_mark_is_found(method: str, marked: Path):
    """Of what speaks for the mark's class, most lies on the mark, a sixteenth of the area."""
    one, _ = explained(marked, method=method).answers
    [of_mark] = [a for a in one.attributions if a.class_ == 1]
    heat = np.maximum(of_mark.values, 0)
    assert heat.shape == (SIZE, SIZE)
    assert heat[-MARK:, :MARK].sum() > 0.65 * heat.sum() > 0
    assert not of_mark.warning


def test_where_nothing_is_found_the_heat_is_0_and_said_so(marked: Path):
    _, without = explained(marked, method="gradcam").answers
    [attribution] = without.attributions
    assert (without.given, without.predicted, attribution.class_) == (0, 0, 0)
    assert not attribution.values.any()
    assert attribution.warning


def test_pictures_and_page(marked: Path, tmp_path):
    page, pictures = tmp_path / "page.html", tmp_path / "pictures"
    for _ in range(2):  # they may be replaced
        explained(marked, method="auto", pictures=pictures, output=page)
    names = ["row_1_gradcam_class_1.png", "row_2_gradcam_class_0.png"]
    assert sorted(path.name for path in pictures.iterdir()) == names
    pixels = np.asarray(Image.open(pictures / names[0]), int)
    assert pixels.shape == (SIZE * 4, SIZE * 4, 3)
    colored = pixels[..., 0] - pixels[..., 2] > 50  # orange
    assert colored[-4 * MARK :, : 4 * MARK].mean() > 0.5
    assert not colored[: -5 * MARK].any()
    parsed = page_of(page)
    assert_asks_for_nothing(parsed)
    maps = [a for tag, a in parsed.tags if tag == "img" and "Grad-CAM" in a["alt"]]
    of_row_1, of_row_2 = [a["alt"] for a in maps]
    np.testing.assert_array_equal(pixels_of(maps[0]["src"]), pixels)  # kept exactly
    assert (
        of_row_1
        == "row 1: what made the score of class 1, given and predicted; Grad-CAM, layer @Main/ReLU"
    )
    assert re.search("class 0.*nothing in this layer", of_row_2)


def test_the_heat_of_a_signed_map_has_two_colors():
    values = np.zeros((2, 4), np.float32)
    values[0, 0], values[1, 3] = 2, -1
    pixels = np.asarray(overlay(Image.new("L", (4, 2), 100), values), int)[16::32, 16::32]
    assert pixels.shape == (2, 4, 3)
    assert pixels[0, 0, 0] > 100 > pixels[0, 0, 2]
    assert pixels[1, 3, 0] < 100 < pixels[1, 3, 2]
    assert (pixels[0, 1:] == 100).all()


def test_the_label_of_one_probability_lies_between_0_and_1(tmp_path):
    def build(v):
        return F.binary_cross_entropy(F.sigmoid(PF.affine(v["x"], 1, name="a")), v["y"])

    case = Case("linear", {"x": (3,), "y": (1,)}, build, None, binary=("y",))
    case.save_definition(tmp_path, parameters={})
    arrays = case.inputs(40)
    write_csv(tmp_path / "training.csv", arrays)
    arrays["y"][1] = 2
    write_csv(tmp_path / "validation.csv", arrays)
    with pytest.raises(InfluenceError, match="line 3, column 'y': holds 2, but labels are from 0"):
        explained(tmp_path / "net.nntxt")


def test_lime_names_the_features_of_a_table(tmp_path):
    """Of a linear model in standard deviations, the weights are those of the network."""
    case = Case(
        "linear",
        {"x": (3,), "y": (1,)},
        lambda v: F.sigmoid_cross_entropy(PF.affine(v["x"], 1, name="a"), v["y"]),
        None,
        binary=("y",),
    )
    weights = {"a/affine/W": np.float32([[0.1], [-2], [1]]), "a/affine/b": np.float32([0])}
    case.save_definition(tmp_path, parameters=weights)
    for part in ("training", "validation"):
        write_csv(tmp_path / f"{part}.csv", case.inputs(40))
    first, _ = explained(tmp_path / "net.nntxt", method="lime", samples=500).answers
    for one in first.attributions:
        names, found = zip(*one.features)
        assert names == ("x__1", "x__2", "x__0")
        signs = np.sign(found[:2])
        assert signs.tolist() == ([-1, 1] if one.class_ == 1 else [1, -1])
        assert one.values is None
        assert "500 samples, seed 0, R²" in one.detail


def test_lime_explains_all_numbers_by_the_scale_of_the_training_data(tmp_path):
    """Category numbers stay as they are; one between two others would be none."""

    def build(v):
        x = F.concatenate(v["a"], v["b"], axis=1)
        known = F.reshape(PF.embed(v["k"], 3, 1, name="k"), (-1, 1))
        z = PF.affine(F.concatenate(x, known, axis=1), 1, name="z")
        return F.sigmoid_cross_entropy(z, v["y"])

    shapes = {"a": (2,), "b": (1,), "k": (1,), "y": (1,)}
    case = Case("several", shapes, build, None, classes={"k": 3}, binary=("y",))
    parameters = {
        "k/embed/W": np.zeros((3, 1), np.float32),
        "z/affine/W": np.float32([[0.01], [0.2], [0.01], [1]]),
        "z/affine/b": np.float32([0]),
    }
    case.save_definition(tmp_path, parameters=parameters)
    arrays = case.inputs(40)
    write_csv(tmp_path / "validation.csv", arrays)
    write_csv(tmp_path / "training.csv", {**arrays, "b": 40 * arrays["b"]})
    first, _ = explained(tmp_path / "net.nntxt", method="lime").answers
    for one in first.attributions:
        (strongest, _), (second, _), (last, _) = one.features
        assert (strongest, second, last) == ("b", "a__1", "a__0")


def test_the_command_shows_heat_maps_where_there_are_pictures(capsys, marked: Path, tmp_path):
    words = ("-m", marked, "-p", marked.with_name("net.h5"), "--rows", "1")
    page = tmp_path / "page.html"
    for explain_, alt in (("auto", "Grad-CAM"), ("lime", "LIME"), ("none", None)):
        code, *_ = run(capsys, "explain", *words, "-o", page, "--explain", explain_)
        assert code == 0
        shown = [alt for alt in ("Grad-CAM", "LIME") if alt in page.read_text(encoding="utf-8")]
        assert shown == ([alt] if alt else [])


def test_a_table_has_none_unless_asked(tmp_path):
    net, page = write_table(tmp_path), tmp_path / "page.html"
    found = explained(net, method="auto", output=page)
    assert [answer.attributions for answer in found.answers] == [(), ()]
    assert "<figure>" not in page.read_text(encoding="utf-8")
    with pytest.raises(UnsupportedError, match="no convolution"):
        explained(net, method="auto", pictures=tmp_path / "pictures")
    with pytest.raises(InfluenceError, match="has no pictures"):
        explained(net, method="lime", pictures=tmp_path / "pictures")


@pytest.mark.parametrize(
    "options", [{"method": "shap"}, {"samples": 0}, {"seed": -1}, {"method": "lime", "layer": "a"}]
)
def test_unknown_options_are_refused(options):
    with pytest.raises(InfluenceError):
        AttributionOptions(**options)


def test_pictures_need_a_folder_and_a_method(marked: Path, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        explained(marked, pictures=tmp_path / "file")
    with pytest.raises(InfluenceError, match="gradcam or lime"):
        explain(marked, rows=[1], pictures=tmp_path / "pictures")
