"""The most harmful rows of a ranking, explained on the review page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nnabla_influence.dataset import open_dataset
from nnabla_influence.explanation import explain
from nnabla_influence.options import AttributionOptions
from nnabla_influence.ranking import Ranking, Scores
from tests.commands.common import run
from tests.review.test_page import data_of, page_of, pixels_of
from tests.small_projects import write_images, write_table


def write_ranking(folder: Path) -> Path:
    """The ranking of the training CSV in a folder of its own, so that its paths differ.

    Row 3 is the most harmful one, then 2, 1, 0 and the others; it predicts what no network would.
    """
    dataset = open_dataset(folder / "training.csv", [])
    influence = np.arange(len(dataset)) - 4.5
    influence[:4] = [-6, -7, -8, -9]
    (folder / "ranked").mkdir()
    path = folder / "ranked" / "influence.csv"
    Ranking(dataset, Scores(influence, predicted=np.zeros(len(dataset)))).write(path)
    return path


def explained(capsys, ranking: Path, net: Path, *words: object) -> tuple[list[list[dict]], str]:
    page = ranking.with_name("review.html")
    model = ("-m", net, "-p", net.with_suffix(".h5"), "--device", "cpu")
    code, out, _ = run(capsys, "review", "-i", ranking, "-o", page, *model, *words)
    assert code == 0
    return data_of(page_of(page)).get("attributions", []), out.splitlines()[0]


def test_the_heat_maps_are_those_that_explain_shows_of_the_same_rows(tmp_path, capsys):
    net = write_images(tmp_path)
    ranking = write_ranking(tmp_path)
    words = ("--explain", "gradcam", "--rows-explained", 3)
    found, line = explained(capsys, ranking, net, *words)
    assert line == "explained: the first 3 rows"
    expected = explain(
        net,
        rows=[3, 2, 1],
        validation=tmp_path / "training.csv",
        parameters=net.with_suffix(".h5"),
        attribution=AttributionOptions("gradcam"),
        pictures=tmp_path / "pictures",
        device="cpu",
    )
    for own, answer in zip(found, expected.answers, strict=True):
        classes = {"given": answer.given, "predicted": int(answer.predicted)}
        if answer.given == answer.predicted:
            classes = {"given and predicted": answer.given}
        assert {one["of"]: int(one["class_"]) for one in own} == classes
        for one in own:
            name = f"row_{answer.row}_gradcam_class_{one['class_']}.png"
            with Image.open(tmp_path / "pictures" / name) as picture:
                np.testing.assert_array_equal(pixels_of(one["picture"]), np.asarray(picture))
            assert one["about"] == f"Grad-CAM, {answer.attributions[0].detail}"


def test_of_a_table_the_features_are_weighed(tmp_path, capsys):
    net = write_table(tmp_path)
    ranking = write_ranking(tmp_path)
    words = ("--explain", "lime", "--samples", 200, "--seed", 1, "--rows-explained", 1)
    [own], _ = explained(capsys, ranking, net, *words)
    for one in own:
        assert one["picture"] is None
        assert {name for name, _ in one["features"]} == {f"x__{k}" for k in range(5)}
        sizes = [abs(weight) for _, weight in one["features"]]
        assert sizes == sorted(sizes, reverse=True)
        assert one["about"].startswith("LIME, 200 samples, seed 1, ")
    assert not any(explained(capsys, ranking, net, "--explain", "auto")[0])


def test_a_network_that_does_not_suit_is_named_in_one_line(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    other = write_images(tmp_path / "images")
    net = write_table(tmp_path)
    ranking = write_ranking(tmp_path)
    page = tmp_path / "review.html"
    for model, named in ((net, net), (other, ranking)):
        words = ("-m", model, "-p", model.with_suffix(".h5"), "--explain", "gradcam")
        code, _, err = run(capsys, "review", "-i", ranking, "-o", page, *words)
        assert (code, page.exists()) == (1, False)
        assert err[-1].startswith(f"nnabla-influence review: {named}")
