"""Decisions as reviewers and spreadsheets write them."""

from __future__ import annotations

import pytest

from nnabla_influence.cleansing import cleanse
from nnabla_influence.errors import DatasetError
from tests.cleansing.common import N, write_ranking, write_table

PLAIN = "datasource_index,decision,label\n4,remove,\n7,keep,\n9,relabel,2\n"
FULL_WIDTH = (
    "\uff44atasource_index,\uff24ecision,label,メモ\n\uff14,\uff52emove,,表\n"
    "\uff19,relabel,\uff12.0\n"
)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
        PLAIN.replace(",label", ",label,メモ").replace("keep,", "keep,,猫").encode("cp932"),
        "\n" + PLAIN.replace("\n", "\n\n") + ",,\n , ,\n",
        " Datasource_Index , DECISION ,Label\n 4 , Remove , \n7,KEEP,\n9, ReLabel , 2 \n",
        "label,influence,decision,x,datasource_index\n,0,remove,0.5,4.0\n2,,relabel,,9\n",
        PLAIN + "4,remove,\n5,,\n6\n8,keep,1.0\n",
        # A label beside the decision to remove is not needed, and does no harm.
        PLAIN.replace("4,remove,", "4,remove,3"),
        # The line that names the separator for Excel, also as Excel saves it.
        "sep=,\n" + PLAIN,
        "\ufeffSEP=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
        "sep=;\n" + PLAIN,
        '"sep=;"\n' + PLAIN.replace(",", ";"),
        ("sep=\t\n" + PLAIN.replace(",", "\t")).encode("utf-16"),
        # Full-width, as Japanese keyboards type.
        FULL_WIDTH,
        FULL_WIDTH.encode("cp932"),
        FULL_WIDTH.replace(",", ";").replace("\n", "\r\n").encode("cp932"),
        # ASCII where it matters.
        PLAIN.replace(",label", ",label,\xe9").encode("latin-1") + b"4,remove,,\xff\xa0\xfd\n",
        '"datasource_index","decision","label"\n"4","remove","remarks, etc."\n"9","relabel","2"\n',
    ],
)
def test_forms(table, text):
    done = table.decide(text)
    assert (done.removed, done.relabelled) == ((4,), {9: "2"})


@pytest.mark.parametrize(("label", "refused"), [("1e-9", True), ("0.333333", False)])
def test_a_real_label_beside_keep_may_be_rounded(tmp_path, label, refused):
    train = write_table(tmp_path / "t.csv", [k / 3 for k in range(N)])
    ranking = write_ranking(train, tmp_path / "r.csv")
    decisions = tmp_path / "d.csv"
    decisions.write_text(f"datasource_index,decision,label\n1,keep,{label}\n2,remove,\n")
    arguments = {"output": tmp_path / "c.csv", "decisions": decisions}
    if refused:
        with pytest.raises(DatasetError, match="'1e-9' is not the row's label"):
            cleanse(ranking, **arguments)
    else:
        assert cleanse(ranking, **arguments).removed == (2,)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("datasource_index,label,influence,decision,label", "9,3,-1.5e-7,relabel,2"),
        ("label,influence,datasource_index,label,decision", "3,-1.5e-7,9,2,relabel"),
        ("datasource_index,decision,label_before,label,x,label", "9,relabel,3,2,1.125,3"),
    ],
)
def test_of_several_label_columns_the_one_beside_the_decision_counts(table, header, cells):
    """As where the dataset has a column of that name, and a new one was added to its ranking."""
    assert table.decide(f"{header}\n{cells}\n").relabelled == {9: "2"}


def test_labels_of_the_dataset_itself_are_not_decisions(tmp_path):
    train = write_table(tmp_path / "t.csv")
    train.write_text(train.read_text().replace("y", "label", 1))
    ranking = write_ranking(train, tmp_path / "r.csv")
    (tmp_path / "d.csv").write_text("x,label,datasource_index,decision\n0.5,1,4,remove\n1,3,7,\n")
    done = cleanse(
        ranking, output=tmp_path / "c.csv", decisions=tmp_path / "d.csv", label_column="label"
    )
    assert done.removed == (4,)
    assert cleanse(
        ranking,
        output=tmp_path / "again.csv",
        decisions=done.removed_list,
        label_column="label",
    ).removed == (4,)
