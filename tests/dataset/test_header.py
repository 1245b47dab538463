from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnabla.utils.data_source_implements import CsvDataSource

from nnabla_influence.dataset.header import columns_of, parse_column, parse_header

# The characters that the grammar gives a meaning, and some that it does not.
CELLS = st.text(st.sampled_from("xy_:#1é "), min_size=1, max_size=8)


@given(CELLS)
def test_a_header_cell_is_read_as_nnabla_reads_it(cell):
    # nnabla's parser, without a file.
    source = CsvDataSource.__new__(CsvDataSource)
    source._process_header([cell])
    column = parse_column(0, cell)
    assert source._columns == [(column.name, column.index, column.label)]


@given(st.lists(CELLS, min_size=1, max_size=5))
def test_comments_are_left_out_as_nnabla_leaves_them_out(cells):
    source = CsvDataSource.__new__(CsvDataSource)
    kept = list(cells)
    source._remove_comment_cols(kept, [])
    assert [c.cell for c in parse_header(cells) if not c.is_comment] == kept


def test_a_vector_follows_the_order_of_its_columns_whatever_their_indices_say():
    columns = parse_header(["x__2", "y:label", "x__0:first", "#x__1", "x__1"])
    assert [c.position for c in columns_of(columns, "x")] == [0, 2, 4]


@pytest.mark.parametrize("cells", [["x:a", "x:b"], ["x", "x__0"], ["x__0", "x"]])
def test_a_variable_that_occurs_twice_is_refused(cells):
    with pytest.raises(ValueError, match="'x' occurs more than once"):
        columns_of(parse_header(cells), "x")


def test_a_missing_variable_does_not_list_hundreds():
    columns = parse_header([f"v{i}" for i in range(100)])
    with pytest.raises(ValueError, match=r"input 'y' .*'v7' and 92 more"):
        columns_of(columns, "y")
