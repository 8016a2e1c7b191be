"""How many rows a call has: found with injected times, remembered for each machine."""

import json
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.runtime import sizes
from motet.runtime.sizes import CANDIDATES, BatchSize, RememberedSizes


def settle(size, cost, *, most=1000):
    """Play calls until the number is found; `cost` says how long a call with so many rows takes."""
    tried = []
    for _ in range(most):
        if size.settled:
            return tried
        tried.append(size.rows)
        size.took(size.rows, cost(size.rows))
    raise AssertionError(f"not settled after {most} calls")


def per_row(**seconds):
    """The cost of a call where a row takes so many seconds at each number of rows."""
    table = {int(rows.strip("_")): each for rows, each in seconds.items()}
    return lambda rows: rows * table[rows]


def curve(best):
    """A cost whose least seconds a row are at one number of rows."""
    return lambda rows: rows * (1 + abs(math.log2(rows / best)))


@pytest.mark.parametrize("best", [*CANDIDATES, 12, 24, 48, 96, 768, 1536])
def test_the_fastest_number_of_rows_is_found(best):
    size = BatchSize()
    tried = settle(size, curve(best))
    assert size.best == size.rows == best
    assert max(tried) <= max(64, 6 * best)


def test_one_slow_number_of_rows_is_no_reason_to_stop():
    costs = dict(zip(CANDIDATES, [8, 7, 6, 5, 9, 4, 3, 2, 1], strict=True))
    size = BatchSize()
    settle(size, lambda rows: rows * costs.get(rows, 10))
    assert size.best == 2048


def test_the_smallest_are_tried_first_and_each_the_same_number_of_times():
    tried = settle(BatchSize(), lambda rows: rows / (rows + 1.0) ** 2 * rows)
    assert tried[-1] == 1536  # last what is beside the best
    assert tried[: -sizes.SAMPLES] == sorted(tried[: -sizes.SAMPLES])
    assert set(tried) == {*CANDIDATES, 1536}
    assert len(tried) <= (sizes.SAMPLES + 2) * (len(CANDIDATES) + 1)


def test_one_slow_call_does_not_count():
    size, slow = BatchSize(), [1]

    def cost(rows):
        if rows == 32 and slow:
            slow.pop()
            return 1e9
        return curve(32)(rows)

    settle(size, cost)
    assert size.best == 32


def test_a_number_found_earlier_stays():
    size = BatchSize(256)
    size.took(256, 1e9)
    assert (size.settled, size.rows, size.best) == (True, 256, 256)


@pytest.mark.parametrize(("limit", "rows"), [(1, 1), (5, 5), (7, 7)])
def test_a_limit_below_all_candidates_is_the_number(limit, rows):
    size = BatchSize(limit=limit)
    assert (size.settled, size.rows, size.best) == (True, rows, rows)


@given(st.integers(1, 4096), st.one_of(st.none(), st.integers(1, 4096)))
def test_a_limit_is_kept(limit, fixed):
    size = BatchSize(fixed, limit)
    assert size.best <= limit
    for rows in settle(size, lambda rows: rows**0.5):
        assert rows <= limit
    assert size.rows <= limit
    assert size.best <= limit


def test_few_rows_are_called_with_the_best_number_so_far():
    size = BatchSize()
    assert size.rows_of(3) == sizes.START  # the caller cuts it to what there is
    while size.rows < 256:
        size.took(size.rows, curve(32)(size.rows) if size.rows < 64 else size.rows * 1.0)
    assert size.rows_of(100) == size.best
    assert size.rows_of(100) != 256
    assert size.rows_of(256) == 256


def test_calls_of_other_numbers_teach_nothing():
    size = BatchSize()
    for _ in range(100):
        size.took(3, 0.0)
    assert (size.settled, size.rows) == (False, CANDIDATES[0])


def test_what_is_too_big_is_never_asked_again():
    size = BatchSize()
    while size.rows < 256:
        size.took(size.rows, 1 / size.rows)
    size.took(256, 1e-9)  # worked once, and fast, before memory ran out
    size.too_big(256)
    assert size.limit == 128
    tried = settle(size, lambda rows: 1 / rows)
    assert max([*tried, size.best, size.rows]) <= 128
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
        size.too_big(size.rows)
    assert (size.rows, size.best, size.limit, size.settled) == (1, 1, 1, True)


def test_several_threads_may_learn_at_once():
    size, errors = BatchSize(), []

    def learn(seed):
        try:
            for _ in range(300):
                rows = size.rows_of(4096)
                if seed == 0 and rows > 64:
                    size.too_big(rows)
                size.took(rows, curve(64)(rows) if rows in CANDIDATES else rows)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=learn, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert 1 <= size.rows <= 64


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
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key: size}))
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


def test_the_first_calls_warm_up_and_do_not_count():
    size, cost = BatchSize(), iter([1e9, 1e9, *[8.0] * sizes.SAMPLES])
    asked = 0
    while size.rows == CANDIDATES[0]:
        size.took(size.rows, next(cost))
        asked += 1
    assert asked == 2 + sizes.SAMPLES
    assert next(cost, None) is None
