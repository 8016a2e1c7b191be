"""Answers are given again to requests that are equal, bit for bit, and to no others."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

import motet as mt
from motet.batch import Ragged
from motet.errors import Failure, GraphError
from motet.serving.batching.request import Reply
from motet.serving.batching.response_cache import ResponseCache
from motet.serving.config.cache import ResponseCacheConfig
from motet.serving.config.server import ServeConfig
from motet.testing.fakes import Affine, fake
from serving.batching.batcher_live import submit

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3))


def key_of(column, rows=None, **changed):
    asked = {"graph_name": "g", "versions_digest": "mlp=1"} | changed
    return ResponseCache(1 << 20).key(columns={"x": column}, rows=len(column) if rows is None else rows, **asked)


def same(one, other):
    """Equal in type and bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    return repr(one) == repr(other)


def test_gives_what_was_put():
    cache = ResponseCache(1 << 20)
    key = cache.key("g", "1", {"x": np.zeros(2)}, 2)
    assert cache.get(key) is None
    cache.put(key, {"y": np.array([1, 2])})
    assert cache.get(key)["y"].tolist() == [1, 2]


@given(st_np.arrays(st.sampled_from(["<f4", "<i8", "?", "u1"]), st_np.array_shapes(max_dims=3, max_side=4)))
def test_equal_columns_have_one_key_however_they_lie_in_memory(array):
    apart = np.repeat(array, 2, axis=0)[::2]
    assert key_of(array) == key_of(apart)
    assert key_of(array) != key_of(array[..., None], rows=len(array))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(1, np.float32), np.zeros(1, np.int32)),
        (np.array([0.0]), np.array([-0.0])),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array(["ab", "c"], object), np.array(["a", "bc"], object)),
        (np.array(["1"], object), np.array([b"1"], object)),
        (np.array([1], object), np.array([True], object)),
        (np.array([1], object), np.array([1.0], object)),
        (Ragged.from_rows([[1.0, 2.0], [3.0]]), Ragged.from_rows([[1.0], [2.0, 3.0]])),
        (Ragged.from_rows([[1.0, 2.0]]), np.array([[1.0, 2.0]])),
    ],
)
def test_columns_that_differ_have_keys_that_differ(one, other):
    assert key_of(one, 2) != key_of(other, 2)


@given(VALUES, VALUES)
def test_values_of_any_kind_have_one_key_only_where_they_are_the_same(one, other):
    columns = [np.fromiter([value], object, 1) for value in (one, other)]
    assert (key_of(columns[0]) == key_of(columns[1])) == same(one, other)


def test_the_graph_and_its_versions_count():
    changes = ({}, {"graph_name": "h"}, {"versions_digest": "mlp=2"})
    assert len({key_of(np.zeros(1), **changed) for changed in changes}) == 3


def test_what_cannot_be_told_apart_is_not_kept():
    cache = ResponseCache(1 << 20)
    key = cache.key("g", "1", {"x": np.array([object()], object)}, 1)
    cache.put(key, {"y": np.zeros(1)})
    assert (key, cache.get(key), len(cache)) == (b"", None, 0)


def test_the_least_recently_given_goes_first():
    cache = ResponseCache(4000)
    keys = [cache.key("g", "1", {"x": np.array([number])}, 1) for number in range(5)]
    for key in keys[:4]:
        cache.put(key, {"y": np.zeros(500, np.uint8)})
    cache.get(keys[0])
    cache.put(keys[4], {"y": np.zeros(500, np.uint8)})
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True, True]
    assert cache.held_bytes <= cache.max_bytes


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 300)), max_size=60))
def test_never_holds_more_than_it_may(puts):
    cache = ResponseCache(4000)
    for number, size in puts:
        cache.put(bytes([number]), {"y": np.zeros(size, np.uint8), "t": np.array(["x" * size], object)})
        assert cache.held_bytes <= 4000
    assert cache.held_bytes == sum(size for _, size, _ in cache._entries.values())


def test_an_answer_that_is_too_big_is_not_kept():
    cache = ResponseCache(4000)
    cache.put(b"key", {"y": np.zeros(1000, np.uint8)})
    assert len(cache) == 0


def test_an_answer_is_forgotten_when_it_is_old():
    now = [0.0]
    cache = ResponseCache(1 << 20, 10.0, clock=lambda: now[0])
    cache.put(b"key", {"y": np.zeros(1)})
    now[0] = 9.9
    assert cache.get(b"key") is not None
    now[0] = 10.0
    assert cache.get(b"key") is None
    assert cache.held_bytes == 0


def test_what_is_kept_shares_no_memory_and_cannot_be_changed():
    cache = ResponseCache(1 << 20)
    batch = np.arange(1000)
    cache.keep(b"key", Reply({"y": batch}, 10, 12, None, (), 1000, 0.0, 0.0))
    batch[:] = 0
    found = cache.get(b"key")["y"]
    assert found.tolist() == [10, 11]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1  # type: ignore[index]


def test_rows_that_failed_are_never_kept():
    cache = ResponseCache(1 << 20)
    failure = Failure(1, "n", "m", "1", "ValueError", "no")
    cache.keep(b"key", Reply({"y": np.zeros(1)}, 0, 1, np.array([0]), [failure], 2, 0.0, 0.0))
    assert len(cache) == 0


def test_is_off_where_nothing_is_said():
    assert ServeConfig().cache is None
    assert ResponseCacheConfig.read("64MiB", "cache").max_bytes == 64 << 20
    read = ResponseCacheConfig.read({"ttl_s": 5, "graphs": ["a"]}, "cache")
    assert read == ResponseCacheConfig(64 << 20, 5.0, ("a",))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"ttl": 5}, "cache: unknown key 'ttl'; did you mean 'ttl_s'?"),
        ({"ttl_s": -1}, "cache.ttl_s: must be at least 0; got -1.0"),
        ({"max_bytes": "lots"}, "cache.max_bytes: 'lots' is no amount of memory"),
    ],
)
def test_says_what_is_wrong(written, message):
    with pytest.raises(GraphError) as caught:
        ResponseCacheConfig.read(written, "cache")
    assert message in str(caught.value)


class Moody:
    """`3 * x`, but for a while."""

    well = False

    def __call__(self, x):
        if not Moody.well:
            raise RuntimeError("not now")
        return x * 3


@pytest.fixture
def moody():
    Moody.well = False
    yield fake(Moody, "b")
    Moody.well = False


def averaged(other, **options):
    return mt.ensemble({"a": fake(Affine, "a", scale=2.0), "b": other}, mt.input("x", "float32"), require=1, **options)


def in_turn(other):
    return mt.cascade([other, fake(Affine, "a", scale=2.0)], mt.input("x", "float32"), confidence=0.0)


@pytest.mark.parametrize(
    ("node", "without", "whole"),
    [(averaged, 0.2, 0.25), (partial(averaged, within_ms=60_000), 0.2, 0.25), (in_turn, 0.2, 0.3)],
    ids=["require", "within_ms", "cascade"],
)
def test_an_answer_without_a_member_is_not_given_again(gateways, batcher_loop, moody, node, without, whole):
    repository = gateways(mt.Graph("g", {"y": node(moody).output}))
    batcher = repository.find("g").batcher
    batcher.responder.cache = ResponseCache(1 << 20)

    def asked():
        (each,) = submit(batcher_loop, repository, ("g", {"x": [0.1]}))
        return each.values()

    assert asked() == pytest.approx([without])
    assert not len(batcher.responder.cache)
    Moody.well = True
    assert asked() == pytest.approx([whole])
    Moody.well = False
    assert asked() == pytest.approx([whole])
