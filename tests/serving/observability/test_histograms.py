"""Histograms of arrays are those that prometheus_client makes of the same values."""

import math

import numpy as np
import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.serving.observability.buckets import ROWS, SECONDS, SHOWN_SECONDS, coarse, quantile
from motet.serving.observability.counters import Counters
from motet.serving.observability.metrics import Histogram

seconds = st.one_of(st.floats(0, 200), st.floats(1e-6, 1e-3), st.sampled_from(SECONDS))


def of_prometheus(values, bounds):
    """Cumulative counts and the sum."""
    theirs = prometheus_client.Histogram("h", "", registry=None, buckets=bounds)
    for value in values:
        theirs.observe(value)
    samples = next(iter(theirs.collect())).samples
    counts = [sample.value for sample in samples if sample.name == "h_bucket"]
    return counts, next(sample.value for sample in samples if sample.name == "h_sum")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return Counters(tmp_path_factory.mktemp("cells"))


@given(batches=st.lists(st.lists(seconds, min_size=1, max_size=40), max_size=5), singles=st.lists(seconds, max_size=5))
def test_counts_and_sum_are_those_of_prometheus_client(cells, batches, singles):
    place = cells.at("counter", "times", len(SECONDS) + 2)
    for number in range(len(SECONDS) + 2):
        cells.values[place + number] = 0
    histogram = Histogram(cells, "times", SECONDS)
    for value in singles:
        histogram.observe(value)
    for batch in batches:
        histogram.observe_sorted(sorted(batch))
    values = cells.values[place : place + len(SECONDS) + 2].tolist()
    everything = singles + [value for batch in batches for value in batch]
    counts, added = of_prometheus(everything, SHOWN_SECONDS)
    assert coarse(values[:-1], SECONDS, SHOWN_SECONDS).tolist() == counts
    assert values[-1] == pytest.approx(added)


@given(many=st.lists(st.floats(0, 1), min_size=1, max_size=40), plus=st.floats(0, 1))
def test_adding_to_each_value_shifts_them_all(tmp_path_factory, many, plus):
    cells = Counters(tmp_path_factory.mktemp("cells"), capacity=2000)
    shifted, one_by_one = (Histogram(cells, name, SECONDS) for name in ("shifted", "one_by_one"))
    shifted.observe_sorted(sorted(many), plus)
    for value in many:
        one_by_one.observe(value + plus)
    size = len(SECONDS) + 2
    got, want = cells.values[:size].tolist(), cells.values[size : 2 * size].tolist()
    assert sum(got[:-1]) == sum(want[:-1]) == len(many)
    assert got[-1] == pytest.approx(want[-1])
    exact = [value for value in many if min(abs(value + plus - bound) for bound in SECONDS) > 1e-12]
    if len(exact) == len(many):  # where a sum lies on a bound, the last bit decides
        assert got[:-1] == want[:-1]


def test_the_bounds_that_are_shown_are_among_those_that_are_counted():
    assert set(SHOWN_SECONDS) < set(SECONDS)
    assert list(SECONDS) == sorted(SECONDS)
    assert SHOWN_SECONDS[:4] == (5e-05, 0.0001, 0.00025, 0.0005)
    assert SHOWN_SECONDS[-2:] == (50.0, 100.0)
    assert ROWS[-1] == 16384


@given(values=st.lists(st.floats(2e-5, 90), min_size=1, max_size=200), part=st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_value_that_it_is(tmp_path_factory, values, part):
    cells = Counters(tmp_path_factory.mktemp("cells"), capacity=2000)
    Histogram(cells, "times", SECONDS).observe_sorted(sorted(values))
    got = quantile(np.array(cells.values[: len(SECONDS) + 1]), SECONDS, part)
    true = sorted(values)[max(0, math.ceil(part * len(values)) - 1)]
    above = next(bound for bound in SECONDS if bound >= true)
    below = max((bound for bound in SECONDS if bound < true), default=0)
    assert below <= got <= above * 1.0000001


def test_no_values_have_no_quantile():
    assert quantile(np.zeros(len(SECONDS) + 1, int), SECONDS, 0.5) is None


def test_values_beyond_the_last_bound_count_as_the_last_bound(tmp_path):
    cells = Counters(tmp_path, capacity=2000)
    Histogram(cells, "times", SECONDS).observe_sorted([1000.0, 2000.0])
    assert quantile(np.array(cells.values[: len(SECONDS) + 1]), SECONDS, 0.5) == 100.0
