"""Datasets: batches that are the same for the same seed and epoch, cached once, shared out without loss."""

from __future__ import annotations

import fcntl
import gzip
import multiprocessing
import os
import pickle
import shutil
import struct
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from motet.errors import InputError, UnknownNameError
from motet.training.data import cache
from motet.training.data.cache import DiskCache


def numbers(num_rows: int) -> mt.data.Dataset:
    return mt.data.arrays(x=np.arange(num_rows), y=np.arange(num_rows) * 2.0)


def streamed(num_rows: int, block_rows: int = 7) -> mt.data.Dataset:
    def blocks() -> Any:
        for first in range(0, num_rows, block_rows):
            x = np.arange(first, min(first + block_rows, num_rows))
            yield {"x": x, "y": x * 2.0}

    return mt.data.blocks(blocks)


def seen(dataset: mt.data.Dataset, rows: int = 4, **options: Any) -> list[list[int]]:
    return [batch["x"].tolist() for batch in dataset.batches(rows, **options)]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


def plus(columns: Any, by: int = 1) -> Any:
    return {**columns, "x": columns["x"] + by}


def noisy(columns: Any, random: np.random.Generator) -> Any:
    return {"x": random.integers(0, 1 << 30, len(columns["x"]))}


@pytest.fixture(params=["arrays", "stream", "memory", "disk"])
def any_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes a dataset of so many rows, held in one of the ways there are."""

    def make(num_rows: int) -> mt.data.Dataset:
        match request.param:
            case "arrays":
                return numbers(num_rows)
            case "stream":
                return streamed(num_rows)
            case "memory":
                return streamed(num_rows).cache()
            case _:
                return streamed(num_rows).cache(tmp_path / "cache", key=str(num_rows))

    return make


def test_rows_come_in_order_and_the_last_is_dropped_unless_kept(any_kind: Any) -> None:
    rows = any_kind(10)
    assert seen(rows) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert seen(rows, drop_last=False)[-1] == [8, 9]
    assert [batch["y"].tolist() for batch in rows.batches(5)] == [[0, 2, 4, 6, 8], [10, 12, 14, 16, 18]]


@given(
    num_rows=st.integers(1, 60), rows=st.integers(1, 9), num_workers=st.integers(1, 5), epoch=st.integers(0, 3),
    skip=st.integers(0, 3), shuffled=st.booleans(), window=st.none() | st.integers(1, 20),
)  # fmt: skip
def test_workers_share_out_each_epoch(
    any_kind: Any, num_rows: int, rows: int, num_workers: int, epoch: int, skip: int, shuffled: bool, window: int | None
) -> None:
    dataset = any_kind(num_rows)
    if shuffled:
        dataset = dataset.shuffle(5, window_rows=window)
    shards = [dataset.shard(rank, num_workers) for rank in range(num_workers)]
    kept = [seen(shard, rows, epoch=epoch, drop_last=False) for shard in shards]
    whole = [seen(shard, rows, epoch=epoch) for shard in shards]

    assert sorted(flat([flat(batches) for batches in kept])) == list(range(num_rows))
    assert len({len(batches) for batches in kept}) == 1
    assert {len(batches) for batches in whole} == {num_rows // (rows * num_workers)}
    assert all(len(batch) == rows for batches in whole for batch in batches)
    assert [seen(shard, rows, epoch=epoch, skip=skip) for shard in shards] == [batches[skip:] for batches in whole]
    # The rows of a global batch do not depend on the number of workers.
    alone = seen(dataset, rows * num_workers, epoch=epoch)
    assert [flat(list(parts)) for parts in zip(*whole, strict=True)] == alone


def test_epochs_differ_and_come_again(any_kind: Any) -> None:
    rows = any_kind(40).shuffle(1)
    first, second = (flat(seen(rows, epoch=epoch)) for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(40))
    assert flat(seen(rows, epoch=0)) == first
    assert flat(seen(any_kind(40).shuffle(2), epoch=0)) != first


def test_parts_of_a_dataset(any_kind: Any) -> None:
    rows = any_kind(20)
    assert flat(seen(rows.rows(0, 8))) == list(range(8))
    assert flat(seen(rows.rows(12))) == list(range(12, 20))
    assert flat(seen(rows.rows(4).rows(2, 6), 2)) == [6, 7, 8, 9]
    assert sorted(flat(seen(rows.rows(12).shuffle(3)))) == list(range(12, 20))


def test_a_function_is_applied_once_before_the_cache_and_each_time_after(tmp_path: Path) -> None:
    calls: list[str] = []

    def before(columns: Any) -> Any:
        calls.append("before")
        return columns

    def after(columns: Any) -> Any:
        calls.append("after")
        return columns

    for where in ("memory", tmp_path):
        calls.clear()
        rows = streamed(8, 8).map(before).cache(where, key="calls").map(after)
        assert [flat(seen(rows, epoch=epoch)) for epoch in range(3)] == [list(range(8))] * 3
        assert calls == ["before", *["after"] * 6]


def test_random_choices_are_fixed_by_seed_epoch_batch_and_worker() -> None:
    rows = numbers(16).shuffle(1).map(noisy, random=True)
    everything = [
        value for epoch in range(2) for rank in range(2) for value in flat(seen(rows.shard(rank, 2), 2, epoch=epoch))
    ]
    assert len(set(everything)) == len(everything)
    assert seen(rows, 2, epoch=1) == seen(rows, 2, epoch=1)
    assert seen(rows, 2, epoch=1, skip=3) == seen(rows, 2, epoch=1)[3:]


def test_a_disk_cache_holds_until_the_source_or_a_function_changes(tmp_path: Path) -> None:
    path, cache = tmp_path / "rows.parquet", tmp_path / "cache"

    def entries() -> int:
        return len(list(cache.glob("*/about.json")))

    pq.write_table(pa.table({"x": [1, 2, 3]}), path)
    for expected in (1, 1):
        assert flat(seen(mt.data.stored(path, x="int64").map(plus).cache(cache), 1)) == [2, 3, 4]
        assert entries() == expected
    assert flat(seen(mt.data.stored(path, x="int64").map(plus, by=5).cache(cache), 1)) == [6, 7, 8]
    pq.write_table(pa.table({"x": [1, 2, 9]}), path)
    assert flat(seen(mt.data.stored(path, x="int64").map(plus).cache(cache), 1)) == [2, 3, 10]
    assert entries() == 3


def test_a_disk_cache_keeps_only_so_many_entries(tmp_path: Path) -> None:
    for key in "abc":
        assert len(seen(numbers(8).cache(tmp_path, key=key, max_entries=2))) == 2
    assert len(list(tmp_path.glob("*/about.json"))) == 2


def test_entries_that_another_process_drops_meanwhile_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "ab":
        seen(numbers(8).cache(tmp_path, key=key, max_entries=2))
    rename, glob = os.rename, Path.glob

    def renamed(old: Any, new: Any) -> None:
        """Another one has just filled an entry, and drops all others, that one too."""
        rename(old, new)
        shutil.rmtree(new)

    def found(path: Path, pattern: str) -> Any:
        """And a third one drops what this one has just found."""
        entries = list(glob(path, pattern))
        shutil.rmtree(entries[0].parent)
        return entries

    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(Path, "glob", found)
    assert flat(seen(numbers(8).cache(tmp_path, key="c", max_entries=1))) == list(range(8))
    monkeypatch.undo()
    assert list(tmp_path.glob("*/about.json")) == []


def test_a_damaged_entry_is_filled_again(tmp_path: Path) -> None:
    rows = numbers(8).cache(tmp_path)
    seen(rows)
    damaged = next(tmp_path.glob("*/0.bin"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert flat(seen(pickle.loads(pickle.dumps(rows)))) == list(range(8))


def test_who_waits_for_an_entry_has_it_when_the_other_ends_and_gives_up_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = numbers(8).cache(tmp_path)
    seen(rows)
    entry = next(tmp_path.glob("*/about.json")).parent
    shutil.rmtree(entry)
    with open(tmp_path / f".{entry.name}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with monkeypatch.context() as patch:
            patch.setattr(cache, "_WAIT_S", 0.0)
            with pytest.raises(InputError, match="another process has been filling this entry for 0 s"):
                seen(pickle.loads(pickle.dumps(rows)))
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(seen(pickle.loads(pickle.dumps(rows)))))
        waiting.start()
        assert found == []
    waiting.join()
    assert flat(found[0]) == list(range(8))


def test_a_lock_that_was_removed_with_its_entry_meanwhile_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, flock = numbers(8).cache(tmp_path, key="a"), fcntl.flock
    with ExitStack() as stack:

        def late(held: int, how: int) -> None:
            """Another process drops the entry as this one has opened its lock, and a third one begins to fill it."""
            monkeypatch.setattr(fcntl, "flock", flock)
            (lock,) = tmp_path.glob(".*.lock")
            lock.unlink()
            flock(stack.enter_context(open(lock, "a")), fcntl.LOCK_EX)
            flock(held, how)

        monkeypatch.setattr(fcntl, "flock", late)
        monkeypatch.setattr(cache, "_WAIT_S", 0.0)
        with pytest.raises(InputError, match="another process has been filling this entry for 0 s"):
            seen(rows)
    monkeypatch.undo()
    assert flat(seen(rows)) == list(range(8))


def test_what_killed_processes_have_begun_is_removed_and_what_others_fill_is_not(tmp_path: Path) -> None:
    for key in ("killed", "filled"):
        (tmp_path / f".building-{key}").mkdir()
        (tmp_path / f".building-{key}" / "about.json").write_text("{}")
    with open(tmp_path / ".filled.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seen(numbers(8).cache(tmp_path, key="a", max_entries=1))
    assert [each.name for each in tmp_path.glob(".building-*")] == [".building-filled"]
    assert len(list(tmp_path.glob(".*.lock"))) == 2  # of the entry, and of what is filled


def _fill(folder: str, counted: Any) -> None:
    def blocks() -> Any:
        counted.put(1)
        yield {"x": np.arange(8)}

    assert flat(seen(mt.data.blocks(blocks).cache(folder, key="shared"))) == list(range(8))


def test_one_process_fills_what_several_want(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    counted = context.Queue()
    processes = [context.Process(target=_fill, args=(str(tmp_path), counted)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert counted.get(timeout=5) == 1
    assert counted.empty()


def test_a_dataset_goes_to_another_process_without_its_cached_rows() -> None:
    rows = mt.data.made(_made, 4096).cache().shuffle(2)
    before = flat(seen(rows, 64))
    packed = pickle.dumps(rows)
    assert len(packed) < 2000
    assert flat(seen(pickle.loads(packed), 64)) == before


def _made(ids: Any) -> Any:
    return {"x": ids, "y": ids * 2.0}


def write_idx(path: Path, array: Any) -> Path:
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    head = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read(tmp_path: Path, dtype: str, suffix: str) -> None:
    images = np.random.default_rng(0).integers(0, 100, (11, 3, 2)).astype(dtype)
    x = write_idx(tmp_path / f"images{suffix}", images)
    y = write_idx(tmp_path / f"labels{suffix}", np.arange(11, dtype=np.uint8))
    (batch,) = mt.data.idx(image=x, label=y).batches(11)
    assert batch["image"].dtype == images.dtype
    np.testing.assert_array_equal(batch["image"], images)
    np.testing.assert_array_equal(batch["label"], np.arange(11))


def test_idx_files_that_are_none_are_named(tmp_path: Path) -> None:
    good = write_idx(tmp_path / "good", np.zeros(3, dtype=np.uint8))
    longer = write_idx(tmp_path / "longer", np.zeros(4, dtype=np.uint8))
    (tmp_path / "short").write_bytes(good.read_bytes()[:-2])
    (tmp_path / "other").write_bytes(b"PK\3\4 this is a zip")
    packed = write_idx(tmp_path / "cut.gz", np.arange(200, dtype=np.uint8)).read_bytes()
    (tmp_path / "cut.gz").write_bytes(packed[:60])
    with pytest.raises(InputError, match=r"short: ends 2 bytes too soon"):
        list(mt.data.idx(x=tmp_path / "short").batches(1))
    with pytest.raises(InputError, match=r"cut\.gz: is damaged: Compressed file ended"):
        list(mt.data.idx(x=tmp_path / "cut.gz").batches(1))
    with pytest.raises(InputError, match=r"other: begins with b'PK\\x03\\x04', which no IDX file does"):
        mt.data.idx(x=tmp_path / "other")
    with pytest.raises(InputError, match="files differ in their rows: x has 3, y has 4"):
        mt.data.idx(x=good, y=longer)
    with pytest.raises(InputError, match=r"none: cannot be read: No such file"):
        mt.data.idx(x=tmp_path / "none")


def test_parquet_is_read_by_declared_types(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(24, dtype=np.uint8).reshape(6, 2, 2))
    pq.write_table(pa.table({"image": tensors, "label": pa.array(range(6), pa.int64()), "name": list("abcdef")}), path)
    rows = mt.data.stored(path, image="uint8[2,2]", label="int64", name="string")
    assert rows.num_rows == 6
    (batch,) = rows.batches(6)
    np.testing.assert_array_equal(batch["image"], np.arange(24).reshape(6, 2, 2))
    assert batch["name"].tolist() == list("abcdef")
    assert [b["name"].tolist() for b in rows.cache().batches(3)] == [list("abc"), list("def")]
    with pytest.raises(InputError, match="column 'name' holds Python objects, which have no fixed size"):
        list(rows.cache(tmp_path / "cache").batches(3))
    with pytest.raises(UnknownNameError, match="unknown column 'lable'; did you mean 'label'"):
        mt.data.stored(path, lable="int64")
    with pytest.raises(InputError, match="rows of column 'image' may differ in shape"):
        mt.data.stored(path, image="uint8[?,2]")


def test_a_row_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": pa.array([1, None, 3], pa.int64())}), path)
    with pytest.raises(InputError, match=r"rows\.parquet: row 1: column 'x' is null"):
        list(mt.data.stored(path, x="int64").batches(1))


def test_images_in_folders(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, grey in (("bag", 10), ("coat", 200)):
        (tmp_path / name).mkdir()
        for number in range(2):
            image.new("L", (6, 4), grey + number).save(tmp_path / name / f"{number}.png")
    rows = mt.data.images(tmp_path, (4, 6), grey=True)
    (batch,) = rows.batches(4)
    assert batch["image"].shape == (4, 4, 6)
    assert batch["image"][:, 0, 0].tolist() == [10, 11, 200, 201]
    assert batch["label"].tolist() == [0, 0, 1, 1]
    assert rows.reader.classes == ("bag", "coat")  # type: ignore[attr-defined]
    assert next(mt.data.images(tmp_path, (2, 3)).batches(4))["image"].shape == (4, 2, 3, 3)
    (tmp_path / "bag" / "2.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"bag/2\.png: .*is no image that can be read"):
        list(mt.data.images(tmp_path, (2, 3)).batches(1))
    with pytest.raises(InputError, match="is no folder with one folder of images a class"):
        mt.data.images(tmp_path / "bag", (2, 3))


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="columns differ in their rows: x has 2, y has 3"):
        mt.data.arrays(x=[1, 2], y=[1, 2, 3])
    with pytest.raises(InputError, match="a batch of 0 rows is none"):
        next(numbers(3).batches(0))
    with pytest.raises(InputError, match="there is no worker 2 of 2"):
        numbers(3).shard(2, 2)
    with pytest.raises(InputError, match="has a cache already"):
        numbers(3).cache().cache()
    with pytest.raises(InputError, match="random choices would be made once and kept for all epochs"):
        numbers(3).map(noisy, random=True).cache()
    with pytest.raises(InputError, match="is only a part of its source"):
        numbers(3).rows(1).cache()
    with pytest.raises(InputError, match="the rows take more than 16 bytes"):
        next(numbers(3).cache(max_bytes=16).batches(1))
    with pytest.raises(InputError, match="the rows take more than 16 bytes"):
        next(numbers(3).cache(tmp_path, max_bytes=16).batches(1))
    with pytest.raises(InputError, match="columns differ in their rows: x has 2; 3 rows are expected"):
        next(numbers(3).map(lambda columns: {"x": columns["x"][1:]}).batches(3))
    lock = threading.Lock()
    with pytest.raises(InputError, match=r"holds a value that cannot be digested.*\n  hint: .*key="):
        next(numbers(3).map(lambda columns: columns if lock else {}).cache(tmp_path).batches(1))
    with pytest.raises(InputError, match="there are no rows to cache"):
        next(mt.data.blocks(lambda: iter(())).cache(tmp_path).batches(1))
    assert not list(tmp_path.glob(".building-*"))
    assert DiskCache(tmp_path).max_entries == 8
