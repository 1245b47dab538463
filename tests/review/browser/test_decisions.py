from __future__ import annotations

import csv
import io
import re
import shlex

import numpy as np
import pytest
from playwright.sync_api import Error

from nnabla_influence.cleansing import cleanse as cleansed
from nnabla_influence.cleansing.decisions import ranking_id
from nnabla_influence.commands.main import main
from nnabla_influence.dataset import open_dataset
from nnabla_influence.errors import DatasetError
from nnabla_influence.ranking import Ranking, Scores
from tests.review.browser.rankings import N_ROWS, Project
from tests.review.browser.review_page import ReviewPage

pytestmark = pytest.mark.slow

FULL_WIDTH = "".join(chr(ord(letter) + 0xFEE0) for letter in "REMOVE")
NO_STORAGE = """Object.defineProperty(window, 'localStorage', {
    get() { throw new DOMException('forbidden', 'SecurityError'); } });"""
FULL_STORAGE = "Storage.prototype.setItem = () => { throw new DOMException('full'); };"


@pytest.fixture
def page(visit, images):
    page = visit(images.page)
    page.enter_list()
    return page


def relabel(project: Project, rank: int) -> str:
    """A new label for a row: one digit."""
    return str((int(project.rows()[rank]["y:label"]) + 1) % 4)


def order_of(project) -> list[int]:
    return [int(row["datasource_index"]) for row in project.rows()]


def decisions_of(content: bytes) -> dict[int, tuple[str, str]]:
    header, *lines = csv.reader(io.StringIO(content.decode("utf-8-sig")))
    assert header[:3] == ["datasource_index", "decision", "label"]
    rows = [int(row) for row, *_ in lines]
    assert rows == sorted(rows)
    return {int(row): (decision, label) for row, decision, label, *_ in lines}


def cleanse(page, project, content: bytes, monkeypatch) -> list[list[str]]:
    """Run the command that the page shows, in the ranking's folder, on the exported file."""
    (project.folder / "decisions.csv").write_bytes(content)
    monkeypatch.chdir(project.folder)
    program, *arguments = shlex.split(page.page.text_content("#next-command"))
    assert program == "nnabla-influence"
    main(arguments)
    with open(project.folder / "clean.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_what_the_keyboard_decides_drives_cleanse(page, images, monkeypatch):
    order = order_of(images)
    first = images.rows()[3]
    assert page.focused_row() == order[0]
    page.press("k", "x", "x", "r")
    assert f"Row {order[3]}: given" in page.text("#relabel-what")
    given = int(first["y:label"])
    new = next(value for value in (1, 2, 0) if value != given)
    page.page.keyboard.type({1: "猫", 2: "dog", 0: "CAT"}[new])
    page.press("Enter")
    assert page.said().startswith(f"Row {order[3]}: relabel to {new}")
    assert page.focused_row() == order[4]
    page.press("ArrowDown", "n", "p", "Shift+ArrowDown", "Shift+ArrowDown", "x")
    assert page.said() == "3 rows: remove."
    assert page.focused_row() == order[7]

    expected = {order[0]: ("keep", ""), order[3]: ("relabel", str(new))}
    expected.update({order[k]: ("remove", "") for k in (1, 2, 5, 6, 7)})
    exported = page.export()
    assert decisions_of(exported) == expected
    assert page.focused_row() == order[7]

    header, *rows = images.training_cells()
    cleansed = []
    for k, cells in enumerate(rows):
        decision, label = expected.get(k, ("keep", ""))
        if decision == "relabel":
            cleansed.append([*cells[:2], label])
        elif decision == "keep":
            cleansed.append(cells)
    assert cleanse(page, images, exported, monkeypatch) == [header, *cleansed]


def test_decisions_are_taken_back(page, images):
    order = order_of(images)
    page.press("x", "x", "u")
    assert page.said() == f"Undone: row {order[1]} is undecided."
    assert page.focused_row() == order[1]
    page.press("End", "Control+z")
    assert page.focused_row() == order[0]
    page.press("u")
    assert page.said() == "There is nothing to undo."
    page.press("x", "ArrowUp", "Delete")
    assert [row["decision"] for row in page.rows()] == ["undecided"] * N_ROWS
    assert page.text("#progress") == f"0 of {N_ROWS} decided"


def test_all_rows_that_are_shown_are_decided_at_once(page, images):
    page.page.click("#differs")
    wrong = [int(r["datasource_index"]) for r in images.rows() if r["y:label"] != r["predicted"]]
    page.enter_list()
    page.press("Control+a", "x")
    assert {row["row"]: row["decision"] for row in page.rows()} == dict.fromkeys(wrong, "remove")
    page.page.click("#clear-filters")
    removed = [row["row"] for row in page.rows() if row["decision"] == "remove"]
    assert removed == wrong
    done = {line[0][0]: line[-1] for line in page.table("#classes")}
    for value in "0123":
        assert done[value] == str(
            sum(r["y:label"] == value != r["predicted"] for r in images.rows())
        )


def test_rows_that_are_hidden_are_never_decided(page, images):
    page.press("Shift+ArrowDown", "Shift+ArrowDown")
    page.page.click("#only-helpful")
    page.enter_list()
    first = page.focused_row()
    page.press("x")
    page.page.click("#clear-filters")
    assert [row["row"] for row in page.rows() if row["decision"] != "undecided"] == [first]


def test_the_mouse_selects_and_decides_too(page, images):
    order = order_of(images)

    def cell(k, part):
        return page.page.locator(f'.row[data-row="{order[k]}"] {part}')

    cell(2, ".labels").click()
    cell(5, ".labels").click(modifiers=["Shift"])
    cell(3, ".tick").click()
    assert [row["row"] for row in page.rows() if row["selected"]] == [order[k] for k in (2, 4, 5)]
    page.page.click("#bulk [data-decide='1']")
    cell(9, ".remove").click()
    cell(10, ".keep").click()
    cell(10, ".keep").click()
    decided = {k: row["decision"] for k, row in enumerate(page.rows()) if row["decision"][0] != "u"}
    assert decided == {2: "keep", 4: "keep", 5: "keep", 9: "remove"}


def test_deciding_among_the_undecided_keeps_the_focus_in_place(page, images):
    order = order_of(images)
    page.page.select_option("#decision", "0")
    page.enter_list()
    page.press("ArrowDown", "x", "k")
    assert page.focused_row() == order[3]
    assert page.order() == [order[0], *order[3:]]
    page.press("Control+a", "x")
    assert "No row passes" in page.text("#empty")
    assert page.page.evaluate("() => document.activeElement.id") == "empty-clear"
    # Undo and export work all the same.
    assert len(decisions_of(page.export())) == N_ROWS
    page.page.focus("#empty-clear")
    page.press("Control+z")
    assert page.order() == [order[0], *order[3:]]
    page.press("Control+a", "x")
    page.press("u", "Control+a", "x")
    assert page.text("#progress") == f"{N_ROWS} of {N_ROWS} decided"
    page.press("Enter")
    assert len(page.order()) == N_ROWS
    assert page.focused_row() == order[0]


def test_decisions_survive_a_reload(visit, images):
    page = visit(images.page)
    page.enter_list()
    page.press("x", "k", "r", relabel(images, 2), "Enter")
    before = {row["row"]: row["cells"]["decision"] for row in page.rows()}
    assert "not exported yet" in page.text("#counts")
    page.open(images.page)
    assert {row["row"]: row["cells"]["decision"] for row in page.rows()} == before
    assert page.text("#progress") == f"3 of {N_ROWS} decided"
    assert "not exported yet" in page.text("#counts")


@pytest.mark.parametrize("script", [NO_STORAGE, FULL_STORAGE], ids=["forbidden", "full"])
def test_without_storage_the_page_says_so_and_warns(visit, images, script):
    page = visit(images.page, script=script)
    assert "Export them before you close it" in page.text("#storage-warning")
    assert "only while this page is open" in page.text("#kept-where")
    page.enter_list()
    page.press("x", "k")
    asked = []
    page.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    with pytest.raises(Error, match="ERR_ABORTED"):
        page.page.goto("about:blank")
    assert asked == ["beforeunload"]
    decided = decisions_of(page.export())
    page.page.goto("about:blank")
    assert asked == ["beforeunload"]
    assert [decision for decision, _ in decided.values()].count("remove") == 1


def test_an_import_brings_decisions_back_and_can_be_undone(page, images, tmp_path):
    page.press("x", "k", "r", relabel(images, 2), "Enter")
    content = page.export()
    page.page.click("#forget")
    page.page.click("#forget-dialog .danger")
    assert page.text("#progress") == f"0 of {N_ROWS} decided"
    path = tmp_path / "decided.csv"
    path.write_bytes(content)
    page.import_file(path)
    assert page.said() == "decided.csv: 3 decisions imported."
    page.enter_list()
    assert page.export() == content
    page.press("u")
    assert page.text("#progress") == f"0 of {N_ROWS} decided"


def test_a_list_of_removed_rows_and_a_spreadsheets_csv_can_be_imported(page, images, tmp_path):
    order = order_of(images)
    labels = {k: int(row["y:label"]) for k, row in zip(order, images.rows())}
    new = (labels[order[2]] + 1) % 4
    path = tmp_path / "clean.removed.csv"
    text = (
        "\ufefflabel;datasource_index;note;Decision;label\r\n"
        f'9;{order[0]};"a;b\r\n""c""";{FULL_WIDTH};\r\n'
        f"9;{order[1]};;;\r\n\r\n"
        f"9;{order[2]}.0;;relabel;{new}.0\r\n"
    )
    path.write_bytes(text.encode("utf-16"))
    page.import_file(path)
    page.enter_list()
    assert decisions_of(page.export()) == {
        order[0]: ("remove", ""),
        order[2]: ("relabel", str(new)),
    }


# What the problem names, in this order.
WRONG = {
    "a,b\n1,2\n": "datasource_index decision",
    "datasource_index,decision\n0,keep\n99,keep\n": "line 3: “99”",
    "datasource_index,decision\n0,drop\n1,drop\n": "line 2: “drop” 1 more line wrong",
    "datasource_index,decision,label\n0,relabel,7\n": "line 2: “7” class",
    "datasource_index,decision,label\n0,relabel,cat\n": "line 2: “cat” class",
    "datasource_index,decision\n1.000,remove\n": "line 2: “1.000” row",
    "datasource_index,decision\n1e1,remove\n": "line 2: “1e1” row",
    "datasource_index,decision\n4,keep\n5,keep\n4,remove\n": "line 4: line 2 row 4",
    "datasource_index,decision,label\n4,keep,2\n": "line 2: “2” keep",
    "datasource_index,decision,label\n4,,2\n": "line 2: “2” no decision",
    "datasource_index,decision\n0,relabel\n": "line 2: label missing",
    "datasource_index,decision,influence\n4,drop,\n4,remove,7.5\n": (
        "line 3: “7.5” influence row 4 another ranking"
    ),
    "datasource_index,decision,ranking\n4,keep,\n99,remove,r0123456789abcdef\n": (
        "line 3: r0123456789abcdef another ranking"
    ),
}


def test_a_wrong_import_is_refused_with_its_line(page, tmp_path):
    path = tmp_path / "decided.csv"
    for text, names in WRONG.items():
        path.write_text(text)
        page.import_file(path)
        problem = page.text("#import-problem")
        assert re.search(".*".join(["^decided.csv: ", *map(re.escape, names.split())]), problem)
        assert problem.endswith("Nothing was imported.")
    assert page.text("#progress") == f"0 of {N_ROWS} decided"


@pytest.mark.parametrize("separator", ["", "sep=,\n", "sep=;\r\n"])
def test_what_belongs_here_is_imported_in_the_forms_of_spreadsheets(
    page, images, tmp_path, separator
):
    """With semicolons, decimal commas, rounded influences, ids or neither."""
    row = next(row for row in images.rows() if row["datasource_index"] == "4")
    id_ = ranking_id(images.ranking)
    text = (
        "datasource_index,decision,label,influence,y:label;cat;dog,Ranking\n"
        f"4.0,keep,0,{float(row['influence']):.3e},0,\n6,remove,,0.125,2,{id_.upper()}\n"
        "5,,,1,9,9\n7,keep,,,,\n"
    )
    path = tmp_path / "decided.csv"
    if ";" in separator:
        text = text.replace("y:label;cat;dog", "y").replace(",", ";").replace(".", ",", 2)
        text = text.replace("4,0;", "4;").replace("0.125", "0,125")
    path.write_text(separator + text, encoding="utf-8")
    page.import_file(path)
    assert page.text("#import-problem") == ""
    assert "does not say which ranking" in page.said()  # of row 7
    page.enter_list()
    assert decisions_of(page.export()) == {4: ("keep", ""), 6: ("remove", ""), 7: ("keep", "")}


def test_the_export_names_the_ranking_beside_each_row(page, images, tmp_path):
    page.press("Control+a", "k")
    exported = page.export()
    lines = list(csv.DictReader(io.StringIO(exported.decode("utf-8-sig"))))
    expected = sorted(images.rows(), key=lambda row: int(row["datasource_index"]))
    for line, row in zip(lines, expected):
        assert float(line.pop("influence")) == float(row["influence"])
        assert list(line.items()) == [
            ("datasource_index", row["datasource_index"]),
            ("decision", "keep"),
            ("label", ""),
            ("ranking", ranking_id(images.ranking)),
            ("given", row["y:label"]),
            ("file x", row["x:image"].replace("./=", "'=")),
        ]
    assert len(lines) == N_ROWS
    # So cleanse refuses them for another ranking, of the same rows as well.
    other = images.folder / "other.csv"
    Ranking(open_dataset(images.train, []), Scores(np.arange(1.0, N_ROWS + 1))).write(other)
    (tmp_path / "decisions.csv").write_bytes(exported)
    with pytest.raises(DatasetError, match="line 2, column 'ranking'"):
        cleansed(other, output=tmp_path / "c.csv", decisions=tmp_path / "decisions.csv")


def test_what_another_tab_decides_leaves_the_undo_of_this_one(page, images):
    order = order_of(images)
    page.press("x", "x", "x")
    other = ReviewPage(page.page.context.new_page()).open(images.page)
    other.page.locator(f'.row[data-row="{order[1]}"] .keep').click()
    other.page.locator(f'.row[data-row="{order[5]}"] .keep').click()
    page.page.wait_for_selector(f'.row[data-row="{order[5]}"][data-decision=keep]')
    page.press("u")
    assert page.said() == f"Undone: row {order[2]} is undecided."
    page.press("u", "u")
    assert page.said() == "There is nothing to undo."
    decided = {row["row"]: row["decision"] for row in page.rows() if row["decision"][0] != "u"}
    assert decided == {order[1]: "keep", order[5]: "keep"}


def test_a_new_label_must_be_another_class(page, images):
    own = images.rows()[0]["y:label"]
    for typed, names in {
        "zz": "“zz”",
        own: f"{own} is the label already",
        "o": "classes: ",
    }.items():
        page.press("r")
        page.page.fill("#relabel-text", typed)
        page.press("Enter")
        assert names in page.text("#relabel-problem")
        page.press("Escape")
    assert page.text("#progress") == f"0 of {N_ROWS} decided"
    assert page.focused_row() == order_of(images)[0]
    offered = page.page.eval_on_selector_all("#relabel-classes option", "(all) => all.length")
    assert offered == 4
    # It is decided, and the next row in focus, before another key can come.
    page.press("r")
    page.page.fill("#relabel-text", relabel(images, 0))
    done = page.page.evaluate("""() => {
        document.getElementById('relabel-form').requestSubmit();
        return [document.getElementById('progress').textContent,
            Number(document.activeElement.dataset.row)];
    }""")
    assert done == [f"1 of {N_ROWS} decided", order_of(images)[1]]


def test_real_labels_are_relabelled_with_a_number(visit, regression, monkeypatch):
    page = visit(regression.page)
    page.enter_list()
    order = order_of(regression)
    page.press("x", "r", "1", ".", ",", "Enter")
    assert "“1.,”" in page.text("#relabel-problem")
    page.page.fill("#relabel-text", "-2.5e0")
    page.press("Enter")
    exported = page.export()
    assert decisions_of(exported) == {order[0]: ("remove", ""), order[1]: ("relabel", "-2.5e0")}
    header, *rows = regression.training_cells()
    rows[order[1]][1] = "-2.5e0"
    del rows[order[0]]
    assert cleanse(page, regression, exported, monkeypatch) == [header, *rows]


def test_class_values_are_exported_as_cleanse_reads_them(visit, table, monkeypatch):
    page = visit(table.page)
    page.enter_list()
    order = order_of(table)
    header, *rows = table.training_cells()
    new = {"1.0": "2.0", "2.0": "1.0"}[rows[order[1]][-1]]
    page.press("ArrowDown", "r", new[0], "Enter")  # the other class has it for a name
    exported = page.export()
    assert exported.decode().splitlines()[0] == (
        "datasource_index,decision,label,ranking,influence,given"
    )
    rows[order[1]][-1] = new
    assert cleanse(page, table, exported, monkeypatch) == [header, *rows]
