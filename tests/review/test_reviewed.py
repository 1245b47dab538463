"""What a reader sees of rankings of every kind."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from nnabla_influence.cleansing.labels import read_labels
from nnabla_influence.cleansing.rows import open_rows
from nnabla_influence.dataset import open_dataset
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking import Orders, Ranking, Scores
from nnabla_influence.review.reviewed import Class, ReviewedRow, read_reviewed
from tests.dataset.common import noise, save_image, write_csv
from tests.review.common import write_pictures, write_ranking, write_trainings


def test_a_row_of_pictures(tmp_path):
    reviewed = read_reviewed(write_pictures(tmp_path))
    assert reviewed[1] == ReviewedRow(
        rank=2,
        datasource_index=0,
        influence=-0.125,
        influence_std=None,
        influence_se=None,
        harmful_in=None,
        loss=5.0,
        times_seen=1,
        given="1",
        predicted="0",
        suggested=None,
        relabel_gain=None,
        images=(tmp_path / "画像" / "1.png",),
        features=(),
        comments=("note 1",),
        files=("画像/1.png",),
    )
    assert reviewed.path == tmp_path / "ranking.csv"
    assert (reviewed.image_columns, reviewed.feature_names) == (("x",), ())
    assert (reviewed.comment_names, reviewed.label_column) == (("#note",), "y")
    assert reviewed.classes == (Class("0", "cat", 3), Class("1", "dog", 2))
    assert (reviewed.orders, reviewed.method) == ("recorded", "final")
    assert reviewed.unseen == 2
    assert (reviewed.has_predictions, reviewed.has_losses) == (True, True)


def test_each_row_has_its_own_scores_however_the_file_is_sorted(tmp_path):
    """Against the lines of the file itself, which a reviewer has sorted otherwise."""
    train = write_csv(tmp_path / "train.csv", ["x", "y"], [[k / 8, k % 3] for k in range(7)])
    rng = np.random.default_rng(3)
    scores = Scores(
        rng.normal(size=7),
        times_seen=rng.permutation(7),
        influence_std=rng.random(7),
        loss=rng.random(7),
        predicted=rng.permutation(7) % 4,
    )
    orders = Orders("shuffled exact", 3)
    Ranking(open_dataset(train, []), scores, orders=orders).write(tmp_path / "r.csv")
    header, *lines = (tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()
    resorted = [lines[k] for k in (4, 0, 6, 2, 5, 1, 3)]
    (tmp_path / "r.csv").write_text("\n".join([header, *resorted]), encoding="utf-8")
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        wanted = sorted(csv.DictReader(file), key=lambda cells: float(cells["influence"]))
    reviewed = read_reviewed(tmp_path / "r.csv")
    assert [row.rank for row in reviewed[1:3]] == [2, 3]
    assert (reviewed[-1].rank, len(reviewed), reviewed[7:]) == (7, 7, [])
    assert (reviewed.orders, reviewed.method) == ("shuffled", "exact")
    with pytest.raises(IndexError):
        reviewed[7]
    # One by one, all at once, and some of them take different ways through the file.
    for rows in (list(reviewed), reviewed[:], [reviewed[place] for place in range(7)]):
        assert [
            {
                "influence": repr(row.influence),
                "influence_std": repr(row.influence_std),
                "datasource_index": str(row.datasource_index),
                "times_seen": str(row.times_seen),
                "loss": repr(row.loss),
                "predicted": row.predicted,
                "y": row.given,
                "x": row.features[0],
            }
            for row in rows
        ] == [{k: v for k, v in cells.items() if not k.startswith("orders")} for cells in wanted]


def test_a_ranking_of_several_trainings(tmp_path):
    reviewed = read_reviewed(write_trainings(tmp_path))
    assert (reviewed.orders, reviewed.method) == ("5 trainings", "influence-function")
    first = reviewed[0]
    assert (first.influence_se, first.harmful_in) == (0.125, 4)
    assert (first.predicted, first.suggested, first.relabel_gain) == ("0", "2", 0.5)
    # Class 3 is only suggested, 4 only predicted.
    assert [(c.value, c.rows) for c in reviewed.classes] == [
        *[("0", 2), ("1", 2), ("2", 2)],
        *[("3", 0), ("4", 0)],
    ]


def test_a_table_has_readable_feature_names(tmp_path):
    header = ["x__0:sepal length", "x__1:sepal width", "x__2", "v:same", "w:same", "y:label"]
    rows = [["5.1", "3.50", "1e-3", "7", "8", k] for k in range(3)]
    reviewed = read_reviewed(write_ranking(tmp_path / "r.csv", header, rows))
    assert reviewed.feature_names == ("sepal length", "sepal width", "x__2", "v", "w")
    assert reviewed[0].features == ("5.1", "3.50", "1e-3", "7", "8")
    assert (reviewed[0].images, reviewed[0].loss, reviewed[0].predicted) == ((), None, None)
    assert (reviewed.orders, reviewed.method, reviewed.unseen) == (None, None, 0)
    assert reviewed.classes == (Class("0", None, 1), Class("1", None, 1), Class("2", None, 1))


def test_several_image_columns_arrays_and_files_that_are_none(tmp_path):
    save_image(tmp_path / "a.png", noise(3, 3))
    np.save(tmp_path / "picture.npy", noise(3, 4))
    np.save(tmp_path / "vector.npy", np.arange(5))
    (tmp_path / "m.csv").write_text("1,2\n", encoding="utf-8")
    absolute = str(tmp_path / "a.png")
    row = [".\\a.png", absolute, "picture.npy", "vector.npy", "m.csv", "gone.png", 1]
    header = ["x__0:left", "x__1:right", "p", "v", "m", "z", "y"]
    reviewed = read_reviewed(write_ranking(tmp_path / "r.csv", header, [row, row]))
    assert reviewed.image_columns == ("x__0", "x__1", "p", "z")
    assert reviewed.feature_names == ("v", "m")
    first = reviewed[0]
    assert first.images == tuple(
        tmp_path / name for name in ("a.png", "a.png", "picture.npy", "gone.png")
    )
    assert first.files == (".\\a.png", absolute, "picture.npy", "gone.png")
    assert first.features == ("vector.npy", "m.csv")


def test_a_target_picture_is_shown_as_one(tmp_path):
    save_image(tmp_path / "a.png", noise(3, 3))
    path = write_ranking(tmp_path / "r.csv", ["x", "y"], [["a.png", "a.png"], ["a.png", "a.png"]])
    reviewed = read_reviewed(path)
    assert (reviewed.image_columns, reviewed.label_column) == (("x", "y"), None)
    named = read_reviewed(path, label_column="y")
    assert (named.image_columns, named.label_column, named[0].given) == (("x",), "y", "a.png")
    assert named.classes == ()


def test_columns_added_after_the_results_are_comments(tmp_path):
    path = write_csv(
        tmp_path / "r.csv",
        ["x", "y", "influence", "datasource_index", "decision", "label"],
        [["1", "0", "-1", "0", "keep", ""], ["2", "1", "1", "1", "relabel", "0"]],
    )
    reviewed = read_reviewed(path)
    assert reviewed.comment_names == ("decision", "label")
    assert reviewed[1].comments == ("relabel", "0")


@pytest.mark.parametrize(
    ("labels", "predicted", "given", "shown", "values"),
    [
        (["0", "1", "1"], ["0", "1", "0"], ["0", "1", "1"], ["0", "1", "0"], ["0", "1"]),
        (["3.0", "3", "1e1"], ["3.0", "10", "-0"], ["3", "3", "10"], ["3", "10", "0"], None),
        (["-1", "1", "1"], ["1", "1", "1"], ["-1", "1", "1"], ["1", "1", "1"], ["-1", "1"]),
        # What is only predicted is a class as well.
        (["0", "0", "2"], ["5", "0", "2"], ["0", "0", "2"], ["5", "0", "2"], ["0", "2", "5"]),
        # A regression has no classes, be it for its labels or for its predictions.
        (["0.50", "1", "2"], ["0", "1", "2"], ["0.50", "1", "2"], ["0", "1", "2"], []),
        (["1", "2", "30"], ["1.2999999523162842", "2", "31"], ["1", "2", "30"], None, []),
        (["a", "b", " c "], ["0", "1", "2"], ["a", "b", "c"], ["0", "1", "2"], []),
        (["nan", "1", "2"], ["0", "1", "2"], ["nan", "1", "2"], ["0", "1", "2"], []),
    ],
)
def test_labels_and_predictions(tmp_path, labels, predicted, given, shown, values):
    rows = [["1", label, value] for label, value in zip(labels, predicted)]
    results = ("influence", "datasource_index", "predicted")
    reviewed = read_reviewed(write_ranking(tmp_path / "r.csv", ["x", "y"], rows, results))
    assert [row.given for row in reviewed] == given
    assert [row.predicted for row in reviewed] == (shown or ["1.3", "2", "31"])
    assert [c.value for c in reviewed.classes] == (["0", "3", "10"] if values is None else values)
    assert [c.rows for c in reviewed.classes] == [given.count(c.value) for c in reviewed.classes]


@pytest.mark.parametrize("header", [["y__0", "y__1"], ["label", "t"], ["y", "y"]])
def test_without_a_single_label_column_there_are_no_classes(tmp_path, header):
    reviewed = read_reviewed(write_ranking(tmp_path / "r.csv", header, [["0", "1"], ["1", "0"]]))
    assert (reviewed.label_column, reviewed.classes, reviewed[0].given) == (None, (), None)
    assert reviewed[0].features == ("0", "1")


def test_the_label_column_can_be_named_by_variable_or_header_cell(tmp_path):
    header = ["y__0:first", "y__1", "t:kind;no;yes"]
    path = write_ranking(tmp_path / "r.csv", header, [["0", "1", "0"], ["1", "0", "1"]])
    for name, label, names in [
        ("t", "t", ["no", "yes"]),
        ("t:kind;no;yes", "t", ["no", "yes"]),
        ("y__0:first", "y__0:first", [None, None]),
        ("y__1", "y__1", [None, None]),
    ]:
        reviewed = read_reviewed(path, label_column=name)
        assert (reviewed.label_column, [c.name for c in reviewed.classes]) == (label, names)


@pytest.mark.parametrize("name", ["z", "y", "influence"])
def test_a_label_column_that_is_missing_or_several(tmp_path, name):
    path = write_ranking(tmp_path / "r.csv", ["y__0", "y__1", "#c"], [["0", "1", "2"]] * 2)
    with pytest.raises(DatasetError, match=rf"r\.csv: .*'{name}'; name one of 'y__0', 'y__1' "):
        read_reviewed(path, label_column=name)


@pytest.mark.parametrize(
    ("label", "names"),
    [("y:label;;b", [None, "b"]), ("y:label;a", ["a", None]), ("y:l;a;a", ["a (0)", "a (1)"])],
)
def test_names_in_the_header(tmp_path, label, names):
    reviewed = read_reviewed(write_ranking(tmp_path / "r.csv", [label], [["0"], ["1"]]))
    assert [c.name for c in reviewed.classes] == names


@pytest.mark.parametrize(("header", "reason"), [(["y"], "'y'"), (["x"], "no label column")])
def test_names_of_classes_that_there_are_not(tmp_path, header, reason):
    path = write_ranking(tmp_path / "r.csv", header, [["0.5"], ["1"]])
    with pytest.raises(DatasetError, match=rf"r\.csv: .*{reason}.*--class-names"):
        read_reviewed(path, class_names="a,b")


def names_of(path, names=None):
    return {c.value: c.name for c in read_reviewed(path, class_names=names).classes}


def test_names_in_order_are_not_those_of_classes_from_1(tmp_path):
    path = write_ranking(tmp_path / "r.csv", ["y"], [["1"], ["2"], ["3"]])
    with pytest.raises(DatasetError, match=r"cat,dog,bird: .*r\.csv are 1, 2, 3; .* 1,cat"):
        read_reviewed(path, class_names="cat,dog,bird")
    assert names_of(path, "none,cat,dog,bird") == {"1": "cat", "2": "dog", "3": "bird"}
    file = tmp_path / "names.txt"
    for text, names in {
        "1,cat\n2,dog\n3,bird\n": ["cat", "dog", "bird"],
        "0,none\n1,cat\n": ["cat", None, None],  # by number, some are enough
    }.items():
        file.write_text(text)
        assert list(names_of(path, file).values()) == names
    file.write_text("cat\ndog\nbird\n")
    with pytest.raises(DatasetError, match="in this order, but the labels of"):
        read_reviewed(path, class_names=file)
    # Those of the header are left out rather than put beside another class.
    path = write_ranking(tmp_path / "h.csv", ["y:label;cat;dog"], [["1"], ["2"]])
    assert names_of(path) == {"1": None, "2": None}


@pytest.mark.parametrize(
    ("labels", "predicted", "are_classes"),
    [
        ([20, 31, 20], [20.5, 30.25, 19.75], False),  # ages
        ([0, 1, 0], [0, 1, 1], True),
        (range(150), None, False),  # as many as rows
        ([k // 2 for k in range(300)], None, True),
        (range(150), range(150), True),  # persons, of whom there is one picture each
        (range(20), None, True),
    ],
)
def test_whether_labels_are_classes_is_the_same_for_review_and_cleanse(
    tmp_path, labels, predicted, are_classes
):
    train = write_csv(tmp_path / "t.csv", ["x", "y"], [[k, v] for k, v in enumerate(labels)])
    scores = Scores(
        np.arange(1.0, len(labels) + 1), predicted=None if predicted is None else list(predicted)
    )
    Ranking(open_dataset(train, []), scores).write(tmp_path / "r.csv")
    assert bool(read_reviewed(tmp_path / "r.csv").classes) is are_classes
    source = open_rows(tmp_path / "r.csv", train)
    assert (read_labels(source, "y").classes is not None) is are_classes


def test_what_protects_spreadsheets_from_a_cell_is_not_shown(tmp_path):
    save_image(tmp_path / "-a.png", noise(3, 3))
    cells = ["-a.png", 0, "=1+1"]
    train = write_csv(tmp_path / "t.csv", ["x", "y", "#c"], [cells, cells])
    Ranking(open_dataset(train, []), Scores(np.array([1.0, -1.0]))).write(tmp_path / "r.csv")
    assert "./-a.png" in (tmp_path / "r.csv").read_text(encoding="utf-8")
    row = read_reviewed(tmp_path / "r.csv")[0]
    assert (row.files, row.comments) == (("-a.png",), ("=1+1",))
    assert row.images[0].samefile(tmp_path / "-a.png")
