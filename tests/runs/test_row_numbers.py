from __future__ import annotations

import contextlib

import numpy as np
import pytest
from nnabla.config import nnabla_config
from nnabla.logger import logger
from nnabla.utils.data_iterator import (
    data_iterator,
    data_iterator_cache,
    data_iterator_concat_datasets,
    data_iterator_csv_dataset,
    data_iterator_simple,
)
from nnabla.utils.data_source import DataSource
from nnabla.utils.data_source_implements import CsvDataSource

from nnabla_influence.errors import UnsupportedError
from nnabla_influence.runs import row_numbers
from nnabla_influence.runs.row_numbers import WatchedIterator


@pytest.fixture(autouse=True)
def _quiet():
    level = logger.level
    logger.setLevel("ERROR")
    yield
    logger.setLevel(level)


def csv_of(folder, n):
    """A data set whose only variable is the row's own number."""
    path = folder / "rows.csv"
    path.write_text("x\n" + "".join(f"{row}\n" for row in range(n)))
    return str(path)


def simple(folder, n, batch_size, **options):
    return data_iterator_simple(
        lambda i: (np.array([i], np.float32),),
        n,
        batch_size,
        rng=np.random.RandomState(5),
        **options,
    )


def from_csv(folder, n, batch_size, **options):
    return data_iterator_csv_dataset(
        csv_of(folder, n), batch_size, rng=np.random.RandomState(5), **options
    )


def from_csv_kept_in_a_cache(folder, n, batch_size, **options):
    (folder / "cache").mkdir(exist_ok=True)
    return from_csv(folder, n, batch_size, cache_dir=str(folder / "cache"), **options)


def from_cache(folder, n, batch_size, **options):
    from_csv_kept_in_a_cache(folder, n, batch_size, shuffle=True).close()
    return data_iterator_cache(
        str(folder / "cache"), batch_size, rng=np.random.RandomState(6), **options
    )


def sliced(folder, n, batch_size, **options):
    return simple(folder, 2 * n, batch_size, **options).slice(
        np.random.RandomState(3), slice_start=3, slice_end=3 + n
    )


def sliced_and_cached(folder, n, batch_size, **options):
    return simple(folder, 2 * n, batch_size, **options).slice(
        np.random.RandomState(3), slice_start=3, slice_end=3 + n, use_cache=True
    )


class OwnOrder(DataSource):
    """A source as scripts write them: the rows in an order of its own, drawn with each epoch."""

    def __init__(self, n, rng, shuffle=False, deal=None):
        super().__init__(shuffle=shuffle, rng=rng)
        self._variables, self._size = ("x",), n
        self._deal = deal or (lambda rng, n: rng.permutation(n))
        self.reset()

    def reset(self):
        self._indexes = self._deal(self._rng, self._size) if self.shuffle else range(self._size)
        super().reset()

    def _get_data(self, position):
        return (np.array([self._indexes[position]], np.float32),)


def own_order(folder, n, batch_size, shuffle=False, deal=None, **caches):
    caches = {"with_memory_cache": False, "with_file_cache": False, **caches}
    source = OwnOrder(n, np.random.RandomState(5), shuffle, deal)
    return data_iterator(source, batch_size, np.random.RandomState(7), **caches)


MAKERS = {
    "own order": (own_order, {}),
    "own order, no thread": (own_order, {"use_thread": False}),
    "own order, memory cache": (own_order, {"with_memory_cache": True}),
    "simple": (simple, {}),
    "simple, no thread": (simple, {"use_thread": False}),
    "simple, memory cache": (simple, {"with_memory_cache": True}),
    "simple, file cache": (simple, {"with_file_cache": True}),
    "simple, both caches": (simple, {"with_file_cache": True, "with_memory_cache": True}),
    "csv as it is by default": (from_csv, {}),
    "csv, no thread": (from_csv, {"use_thread": False}),
    "csv, no cache": (from_csv, {"with_file_cache": False, "with_memory_cache": False}),
    "csv, memory cache": (from_csv, {"with_file_cache": False}),
    "csv, file cache": (from_csv, {"with_memory_cache": False}),
    "csv, cache folder": (from_csv_kept_in_a_cache, {}),
    "cache": (from_cache, {}),
    "cache, from the files": (from_cache, {"with_memory_cache": False}),
    "slice": (sliced, {}),
    "slice in memory": (sliced_and_cached, {}),
}
SIZES = [(12, 4), (13, 5), (250, 60)]


def make(folder, name, n, batch_size, shuffle):
    maker, options = MAKERS[name]
    return maker(folder, n, batch_size, shuffle=shuffle, **options)


def drawn(iterator, count):
    return [iterator.next()[0].reshape(-1).astype(int).tolist() for _ in range(count)]


def watched_rows(iterator, count):
    """Draw from a watched iterator; return the rows of the data, and those that were reported."""
    noted = []
    with WatchedIterator(iterator, lambda rows: noted.append(rows.tolist())) as watched:
        return drawn(watched, count), noted


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize(("n", "batch_size"), SIZES)
@pytest.mark.parametrize("name", MAKERS)
def test_rows_are_those_of_the_data_and_nothing_is_drawn_otherwise(
    tmp_path, name, n, batch_size, shuffle
):
    count = 4 * n // batch_size + 2
    with make(tmp_path, name, n, batch_size, shuffle) as unwatched:
        expected = drawn(unwatched, count)
    got = watched_rows(make(tmp_path, name, n, batch_size, shuffle), count)
    assert got == (expected, expected)


@pytest.mark.parametrize(
    "name",
    ["csv as it is by default", "csv, memory cache", "cache", "own order, memory cache"],
)
def test_data_larger_than_the_memory_cache(tmp_path, name, monkeypatch):
    sizes = dict(nnabla_config.items("DATA_ITERATOR"))
    monkeypatch.setattr(
        nnabla_config,
        "get",
        lambda section, key: {**sizes, "data_source_buffer_max_size": "0"}[key],
    )
    with make(tmp_path, name, 250, 60, True) as unwatched:
        expected = drawn(unwatched, 17)
    assert watched_rows(make(tmp_path, name, 250, 60, True), 17) == (expected, expected)


def test_a_failure_is_handed_on_and_does_not_hang_the_iterator(tmp_path, monkeypatch):
    noted = []
    with WatchedIterator(simple(tmp_path, 12, 3), noted.append) as watched:
        watched.next()
        monkeypatch.delattr(row_numbers, "_order_of_simple")
        assert drawn(watched, 3)[2] == [9, 10, 11]
    assert noted[0].tolist() == [0, 1, 2]
    assert isinstance(noted[3], NameError)


@pytest.mark.parametrize(
    "name", ["simple", "simple, both caches", "csv as it is by default", "own order"]
)
@pytest.mark.parametrize("before", [1, 2, 5])
def test_an_iterator_that_was_used_before(tmp_path, name, before):
    iterator = make(tmp_path, name, 12, 3, True)
    drawn(iterator, before)
    data, noted = watched_rows(iterator, 9)
    assert data == noted


@pytest.mark.parametrize("name", ["simple", "simple, both caches", "csv as it is by default"])
def test_the_whole_set_as_one_shuffled_batch(tmp_path, name):
    _, noted = watched_rows(make(tmp_path, name, 7, 7, True), 3)
    assert [sorted(rows) for rows in noted] == [list(range(7))] * 3


class Dealt(OwnOrder):
    """Shuffles without saying so."""

    def reset(self):
        self._shuffle = True
        super().reset()
        self._shuffle = False


def dealt(folder, n, batch_size, shuffle):
    caches = {"with_memory_cache": False, "with_file_cache": False}
    return data_iterator(Dealt(n, np.random.RandomState(5)), batch_size, **caches)


_ACROSS, _ENDED = "across the end of an epoch", "ended an epoch"


@pytest.mark.parametrize(
    ("maker", "options", "batch_size", "before", "message"),
    [
        (simple, {}, 4, 2, _ACROSS),
        (dealt, {}, 4, 2, _ACROSS),
        (from_csv, {"with_file_cache": False}, 2, 7, _ENDED),
        (own_order, {"with_memory_cache": True}, 2, 3, None),
        # The fifth mini-batch is drawn ahead, and with it the epoch's end.
        (own_order, {"with_memory_cache": True}, 2, 4, _ENDED),
        (own_order, {"with_memory_cache": True}, 2, 7, _ENDED),
    ],
)
def test_an_iterator_that_was_used_for_too_long(
    tmp_path, maker, options, batch_size, before, message
):
    with (
        maker(tmp_path, 10, batch_size, shuffle=True, **options) as iterator,
        contextlib.ExitStack() as stack,
    ):
        drawn(iterator, before)
        if message is not None:
            stack.enter_context(pytest.raises(UnsupportedError, match=message))
        WatchedIterator(iterator, print)


def test_a_file_cache_over_an_own_order(tmp_path):
    caches = {"with_memory_cache": False, "with_file_cache": True}
    data, noted = watched_rows(own_order(tmp_path, 10, 3, **caches), 7)
    assert data == noted
    with (
        own_order(tmp_path, 10, 3, shuffle=True, **caches) as iterator,
        pytest.raises(UnsupportedError, match="with_file_cache=False"),
    ):
        WatchedIterator(iterator, print)


@pytest.mark.parametrize(
    "deal",
    [
        lambda rng, n: rng.randint(0, n, n),
        lambda rng, n: rng.permutation(n) + 1,
        lambda rng, n: [(0, row) for row in range(n)],
    ],
    ids=["with replacement", "from 1", "pairs"],
)
def test_an_own_order_that_is_not_of_the_rows(tmp_path, deal):
    source = OwnOrder(9, np.random.RandomState(5), True, deal)
    source._get_data = lambda position: (np.zeros(1),)
    with (
        data_iterator(source, 3, with_memory_cache=False) as iterator,
        pytest.raises(UnsupportedError, match="OwnOrder, whose _indexes"),
    ):
        WatchedIterator(iterator, print)


class OwnSource(DataSource):
    def __init__(self):
        super().__init__()
        self._variables, self._size = ("x",), 9

    def _get_data(self, position):
        return (np.array([position]),)

    def reset(self):
        super().reset()


class OwnDraws(OwnOrder):
    """Draws past the order that it has inherited."""

    def _get_data(self, position):
        return (np.array([self._rng.randint(self.size)], np.float32),)


def concatenated(folder):
    source = CsvDataSource(csv_of(folder, 9))
    return data_iterator_concat_datasets([source], 3, with_memory_cache=False)


def slice_over_a_cache(folder):
    return from_csv(folder, 9, 3).slice(None, slice_start=2, slice_end=8)


def slice_of_a_shuffled_csv(folder):
    plain = from_csv(folder, 9, 3, shuffle=True, with_memory_cache=False, with_file_cache=False)
    return plain.slice(None, slice_start=2, slice_end=8)


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        (lambda folder: iter([1]), "list_iterator"),
        (lambda folder: data_iterator(OwnSource(), 3), "OwnSource"),
        (lambda folder: data_iterator(OwnDraws(9, np.random.RandomState(5)), 3), "OwnDraws"),
        (concatenated, "ConcatDataSource"),
        (slice_over_a_cache, "SlicedDataSource over a DataSourceWithMemoryCache over"),
        (slice_of_a_shuffled_csv, "slice of a shuffled CSV"),
    ],
)
def test_what_is_unknown_is_refused_with_the_way_out(tmp_path, maker, message):
    iterator = maker(tmp_path)
    with pytest.raises(UnsupportedError, match=message) as caught:
        WatchedIterator(iterator, print)
    assert "recorder.step(rows)" in str(caught.value)
    if hasattr(iterator, "close"):
        iterator.close()


@pytest.mark.parametrize(
    "content", [None, "0,zero\n", "0,1\n1,0\n", "".join(f"{i},0\n" for i in range(10))]
)
def test_a_cache_of_unknown_rows_is_refused(tmp_path, content):
    iterator = from_cache(tmp_path, 10, 2)
    order = tmp_path / "cache" / "order.csv"
    order.unlink() if content is None else order.write_text(content)
    with iterator, pytest.raises(UnsupportedError, match="order"):
        WatchedIterator(iterator, print)
