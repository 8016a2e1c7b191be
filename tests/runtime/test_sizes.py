"""How many rows a call has: found with simulated times, remembered for each machine."""

import json
import math
import threading
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.runtime import sizes, trial
from motet.runtime.sizes import MOST, START, STEPS, BatchSize, RememberedSizes, next_to_try
from motet.runtime.trial import try_sizes


class Spent:
    """Calls whose cost is simulated: what was called, and the seconds that took."""

    def __init__(self, cost):
        self.cost, self.calls, self.seconds = cost, [], 0.0

    def __call__(self, rows):
        seconds = self.cost(rows)
        self.calls.append(rows)
        self.seconds += seconds
        return seconds


def settle(size, cost):
    """Play calls until the number is found; `cost` says how long a call with so many rows takes."""
    spent = Spent(cost)
    for _ in range(1000):
        if size.settled:
            return spent
        size.took(size.rows, spent(size.rows))
    raise AssertionError("not settled after 1000 calls")


def find(size, cost):
    """Find the number by calls that do not count."""
    spent = Spent(cost)
    size.find(spent)
    return spent


def linear(overhead, row):
    """A cost of an overhead and so much a row."""
    return lambda rows: overhead + rows * row


def curve(best, row=1e-5):
    """A cost whose least seconds a row are at one number of rows, as of what fits into a cache."""
    return lambda rows: rows * row * (1 + 0.3 * abs(math.log2(rows / best)))


@pytest.mark.parametrize(
    ("overhead", "row", "most_calls", "most_seconds"),
    [
        (0.0126, 12.5e-6, 8, 0.25),  # a forest of 300 trees
        (0.1, 80e-6, 8, 1.6),  # one of 2,000
        (0.0021, 7e-6, 16, 0.2),  # boosting
        (0.0041, 0.5e-6, 16, 0.1),  # a pipeline over a frame
        (20e-6, 0.6e-6, 28, 0.05),  # a linear model
        (5.0, 1e-5, 7, 32.0),  # a program that is started for each call
    ],
)
def test_a_model_whose_calls_are_mostly_overhead_gets_large_calls(overhead, row, most_calls, most_seconds):
    learned = BatchSize()
    settle(learned, linear(overhead, row))
    assert learned.best == MOST
    size = BatchSize()
    spent = find(size, linear(overhead, row))
    assert size.best == size.rows == MOST
    assert len(spent.calls) <= most_calls
    assert spent.seconds <= most_seconds


@pytest.mark.parametrize(("row", "most_rows"), [(0.01, 34), (1.0, 5), (100.0, 5)])
def test_a_slow_model_without_overhead_is_not_tried_with_large_calls(row, most_rows):
    size = BatchSize()
    spent = find(size, linear(0.0, row))
    assert sum(spent.calls) <= most_rows
    assert size.best in spent.calls
    assert size.best > 1


def test_a_first_call_that_warms_up_is_not_taken_for_overhead_that_stays():
    warm = [0.5]
    size = BatchSize()
    spent = find(size, lambda rows: 0.002 * rows + (warm.pop() if warm else 0.0))
    assert spent.seconds < 1.0
    assert size.best >= 4


@pytest.mark.parametrize("best", [8, 12, 24, 32, 48, 64, 96, 128, 256])
def test_the_fastest_number_of_rows_is_found_where_it_is_in_the_middle(best):
    size = BatchSize()
    spent = settle(size, curve(best))
    assert size.best == size.rows == best
    assert max(spent.calls) <= 32 * max(best, START)


def test_one_slow_number_of_rows_is_no_reason_to_stop():
    size = BatchSize()
    settle(size, lambda rows: 1e-3 + 1e-6 * rows + (0.01 if rows == 128 else 0.0))
    assert size.best == MOST


def test_one_slow_call_does_not_count():
    size, slow = BatchSize(), [1]
    settle(size, lambda rows: 0.004 if rows == 32 and slow and slow.pop() else curve(32)(rows))
    assert size.best == 32


@given(
    st.floats(0, 10), st.floats(1e-9, 1), st.floats(0, 1), st.integers(1, 10_000), st.one_of(st.none(), st.integers(1, 10_000))
)  # fmt: skip
def test_no_number_is_settled_on_that_was_not_tried(overhead, row, bend, best, limit):
    size = BatchSize(limit=limit)
    spent = settle(size, lambda rows: overhead + rows * row * (1 + bend * abs(math.log2(rows / best))))
    assert size.best == size.rows <= (limit or MOST)
    assert size.best in spent.calls or limit <= START
    assert len(set(spent.calls)) <= 24


@given(st.dictionaries(st.sampled_from(STEPS), st.floats(1e-6, 10), min_size=1), st.integers(1, MOST))
def test_what_is_tried_next_was_not_tried(seconds, most):
    seconds = {1: 0.1} | {rows: each for rows, each in seconds.items() if rows <= most}
    following = next_to_try(seconds, most)
    assert following is None or (following not in seconds and 1 <= following <= most)


def test_a_number_found_earlier_stays():
    size = BatchSize(256)
    size.took(256, 1e9)
    assert (size.settled, size.rows, size.best) == (True, 256, 256)


@pytest.mark.parametrize("limit", [1, 5, 7, 32, 100, 8192])
def test_a_limit_is_reached_where_calls_are_overhead(limit):
    size = BatchSize(limit=limit)
    settle(size, linear(0.01, 1e-6))
    assert size.best == limit


@pytest.mark.parametrize("waiting", [1, 5, 31, 32])
def test_few_rows_are_one_call_from_the_first(waiting):
    assert BatchSize().rows_of(waiting) == START  # the caller cuts it to what there is


def test_few_rows_are_called_together_while_larger_calls_are_better():
    size = BatchSize()
    while size.rows < 500:
        size.took(size.rows, linear(0.01, 1e-6)(size.rows))
    assert size.rows_of(300) == 300
    assert size.rows_of(100) == size.best  # the caller cuts it to what there is
    assert size.rows_of(10_000) == size.rows


def test_few_rows_are_called_with_the_best_number_where_larger_calls_are_worse():
    size = BatchSize()
    while size.rows <= 128:
        size.took(size.rows, curve(32)(size.rows))
    assert size.rows_of(100) == size.best == 32


def test_calls_of_other_numbers_teach_nothing():
    size = BatchSize()
    for _ in range(100):
        size.took(3, 0.0)
    assert (size.settled, size.rows) == (False, START)


def test_what_is_too_big_is_never_asked_again():
    size = BatchSize()
    while size.rows < 512:
        size.took(size.rows, linear(0.01, 1e-6)(size.rows))
    size.too_big(512)
    assert size.limit == 256
    spent = settle(size, linear(0.01, 1e-6))
    assert max([*spent.calls, size.best, size.rows]) == 256
    size.too_big(128)
    assert (size.rows, size.best, size.limit) == (64, 64, 64)


@given(st.lists(st.integers(1, 4096), min_size=1, max_size=12))
def test_limits_only_go_down_and_end_at_one_row(refused):
    size, last = BatchSize(), 10_000
    for rows in refused:
        size.too_big(rows)
        assert 1 <= size.rows <= size.limit <= last
        assert size.best <= size.limit
        last = size.limit
    for _ in range(14):
        size.too_big(size.limit)
    assert (size.rows, size.best, size.limit) == (1, 1, 1)


def test_several_threads_may_learn_at_once():
    size, errors = BatchSize(), []

    def learn(seed):
        try:
            for _ in range(300):
                rows = size.rows_of(4096)
                if seed == 0 and rows > 64:
                    size.too_big(rows)
                size.took(rows, curve(64)(rows))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=learn, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert 1 <= size.rows <= 256


# tried before the first call that counts


class Tried:
    """A model whose calls take simulated time; rows in `bad` make a call raise."""

    def __init__(self, monkeypatch, cost, bad=(), most=math.inf):
        self.cost, self.bad, self.most, self.now, self.calls = cost, set(bad), most, 0.0, []
        clock = types.SimpleNamespace(perf_counter=lambda: self.now, thread_time=lambda: self.now)
        monkeypatch.setattr(sizes, "time", clock)

    def __call__(self, columns, rows):
        assert len(columns["x"]) == rows
        self.calls.append(rows)
        self.now += self.cost(rows)
        if self.bad & set(columns["x"].tolist()):
            raise ValueError("a bad row")
        if rows > self.most:
            raise MemoryError


@pytest.mark.parametrize("rows", [1, 3, 700, 5000])
def test_large_calls_are_tried_with_few_rows_too(monkeypatch, rows):
    size, model = BatchSize(), Tried(monkeypatch, linear(0.01, 1e-6))
    assert try_sizes(size, model, {"x": np.arange(rows)})
    assert (size.settled, size.best) == (True, MOST)
    assert size.best in model.calls


def test_a_row_at_fault_does_not_end_it(monkeypatch):
    size, model = BatchSize(), Tried(monkeypatch, linear(0.01, 1e-6), bad=[30])
    assert try_sizes(size, model, {"x": np.arange(5000)})
    assert size.best == MOST


def test_nothing_is_found_where_every_row_fails(monkeypatch):
    size, model = BatchSize(), Tried(monkeypatch, linear(0.01, 1e-6), bad=range(5000))
    assert not try_sizes(size, model, {"x": np.arange(5000)})
    assert not size.settled
    assert len(model.calls) <= 8


def test_calls_that_do_not_fit_into_memory_bound_it(monkeypatch):
    size, model = BatchSize(), Tried(monkeypatch, linear(0.01, 1e-6), most=300)
    assert try_sizes(size, model, {"x": np.arange(5000)})
    assert size.best <= 300
    assert size.best in model.calls


def test_rows_of_many_bytes_are_not_tried_in_large_calls(monkeypatch):
    monkeypatch.setattr(trial, "BYTES", 1000 * 80)
    size, model = BatchSize(), Tried(monkeypatch, linear(0.01, 1e-6))
    assert try_sizes(size, model, {"x": np.arange(10), "image": np.zeros((10, 9))})
    assert size.best == max(model.calls) == 1000


# remembered


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "batch-sizes.json"


def test_sizes_are_remembered(file):
    RememberedSizes(file).put({"a": 32, "b": 64})
    again = RememberedSizes(file)
    assert (again.get("a"), again.get("b"), again.get("c")) == (32, 64, None)
    again.put({"a": 128})
    assert (RememberedSizes(file).get("a"), RememberedSizes(file).get("b")) == (128, 64)


def test_sizes_are_those_of_the_machine(file, monkeypatch):
    monkeypatch.setattr(sizes, "machine", lambda: "this one, 2 cores")
    RememberedSizes(file).put({"a": 32})
    monkeypatch.setattr(sizes, "machine", lambda: "another, 64 cores")
    other = RememberedSizes(file)
    assert other.get("a") is None
    other.put({"a": 256})
    monkeypatch.setattr(sizes, "machine", lambda: "this one, 2 cores")
    assert RememberedSizes(file).get("a") == 32


def test_the_file_is_bounded_and_the_oldest_go_first(file, monkeypatch):
    monkeypatch.setattr(RememberedSizes, "LIMIT", 3)
    known = RememberedSizes(file)
    for name in "abc":
        known.put({name: 8})
    known.put({"a": 16})
    known.put({"d": 8})
    assert [known.get(name) for name in "abcd"] == [16, None, 8, 8]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"a"', "null"])
def test_a_file_that_is_broken_is_as_good_as_none(file, text):
    file.parent.mkdir()
    file.write_text(text)
    known = RememberedSizes(file)
    assert known.get("a") is None
    known.put({"a": 8})
    assert known.get("a") == 8


@pytest.mark.parametrize("size", [0, -1, 2**40, "8", None, 1.5, True])
def test_numbers_that_cannot_be_are_not_believed(file, size):
    known = RememberedSizes(file)
    known.put({"a": 8})
    kept = json.loads(file.read_text())
    kept["found"] = dict.fromkeys(kept["found"], size)
    file.write_text(json.dumps(kept))
    assert known.get("a") is None


def test_readers_never_see_half_of_the_file(file):
    known = RememberedSizes(file)
    known.put({f"model-{number}": 8 for number in range(200)})
    wrong, done = [], threading.Event()

    def read():
        while not done.is_set():
            if RememberedSizes(file).get("model-7") != 8:
                wrong.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        known.put({f"other-{number}": number + 1})
    done.set()
    reader.join()
    assert wrong == []
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_nothing_to_remember_writes_nothing(file):
    RememberedSizes(file).put({})
    assert not file.parent.exists()


def test_the_file_is_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path))
    assert RememberedSizes().path == tmp_path / "batch-sizes.json"
    monkeypatch.setenv("MOTET_CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert RememberedSizes().path == tmp_path / "home" / ".cache" / "motet" / "batch-sizes.json"


def test_what_an_older_version_found_does_not_count(file):
    file.parent.mkdir()
    file.write_text(json.dumps({f"a on {sizes.machine()}": 32}))
    known = RememberedSizes(file)
    assert known.get("a") is None
    known.put({"b": 64})
    assert (known.get("a"), known.get("b")) == (None, 64)
