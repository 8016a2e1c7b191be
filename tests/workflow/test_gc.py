"""Removing what nobody needs from a cache, and looking at what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import WorkflowError
from motet.workflow.memo.cache import Cache, cache_folder
from motet.workflow.memo.gc import collect, pin, unpin, verify
from motet.workflow.memo.index import Index
from motet.workflow.run_step import result_of, run_step


def filled(clock: Any, count: Any = 6) -> Any:
    """A cache with an array of 10,000 bytes for each number, used a day after each other."""

    @mt.step(cache=True)
    def array(i: Any) -> Any:
        return np.full(9_872, i, "uint8")

    @mt.workflow
    def flow(i: Any) -> Any:
        return array(i)

    cache = Cache(cache_folder(), lambda: clock[0])
    keys = []
    for i in range(count):
        keys.append(flow(i).run().steps[0].key)
        os.utime(cache.path(keys[-1]), (clock[0], clock[0]))
        for leaf in cache.get(keys[-1]).kept.leaves:
            os.utime(cache.artifacts.path(leaf.digest), (clock[0], clock[0]))
        clock[0] += 86400
    return cache, keys


def test_what_was_not_used_for_long_is_removed(clock: Any) -> None:
    cache, keys = filled(clock)
    with Index.of(cache) as index:
        told = collect(cache, index, max_age_s=3.5 * 86400, dry_run=True)
        assert set(told.entries) == set(keys[:3])
        assert all(cache.get(key) for key in keys[3:])
        told = collect(cache, index, max_age_s=3.5 * 86400)
        assert (set(told.entries), len(told.artifacts), told.freed_bytes) == (set(keys[:3]), 3, 30_000)
        assert [cache.get(key) is None for key in keys] == [True] * 3 + [False] * 3
        assert index.totals() == (3, 30_000)
        assert collect(cache, index, max_age_s=3.5 * 86400).entries == ()


def test_beyond_a_size_the_least_recently_used_go_first(clock: Any) -> None:
    cache, keys = filled(clock)
    cache.get(keys[0])
    with Index.of(cache) as index:
        told = collect(cache, index, max_bytes=25_000)
        assert list(told.entries) == keys[1:5]
        assert told.left_bytes == 20_000
        assert verify(cache, index) == {}


def test_what_a_step_of_a_cluster_has_left_stays_for_those_that_take_it_and_goes_after_two_weeks(clock: Any) -> None:
    @mt.step
    def array(i: Any) -> Any:
        return np.full(9_872, i, "uint8")

    @mt.workflow
    def flow() -> Any:
        return array(1)

    cache = Cache(cache_folder(), lambda: clock[0])
    run_step(flow(), "array", run="a run", cache=cache.root)
    files = [path for path in cache.root.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (clock[0], clock[0]))
    killed = [cache.root / each for each in ("code/aa/.new-1", "results/aa/.new-1", "results/.new-room-1")]
    for path in killed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half of it")
        os.utime(path, (clock[0], clock[0]))
    with Index.of(cache) as index:
        clock[0] += 13 * 86400
        assert collect(cache, index, max_bytes=0).artifacts == ()
        assert [path for path in killed if path.exists()] == []
        assert result_of(flow(), "array", "a run", cache.root).tolist() == [1] * 9_872
        clock[0] += 2 * 86400
        assert len(collect(cache, index, max_bytes=0).artifacts) == 1
    assert [*(cache.root / "results").rglob("*.json"), *(cache.root / "results" / "runs").iterdir()] == []
    with pytest.raises(WorkflowError, match="step array has no result in run a run"):
        result_of(flow(), "array", "a run", cache.root)


def test_pinned_results_and_those_of_live_runs_stay(clock: Any) -> None:
    cache, keys = filled(clock)
    live = cache.get(keys[1]).kept
    os.utime(cache.path(keys[1]), (0, 0))
    pin(cache, "fashion@3", [keys[0]])
    clock[0] += 86400 * 100
    with Index.of(cache) as index:
        told = collect(cache, index, max_bytes=0, live=[live])
        assert told.spared == 1
        assert cache.get(keys[0]) is not None
        assert cache.artifacts.fault(live) == ""
        assert cache.get(keys[1]) is None
        unpin(cache, "fashion@3")
        clock[0] += 86400
        assert collect(cache, index, max_bytes=0).left_entries == 0


def test_what_is_damaged_is_found_and_removed(clock: Any) -> None:
    cache, keys = filled(clock, 3)
    leaf = cache.get(keys[1]).kept.leaves[0]
    cache.artifacts.path(leaf.digest).write_bytes(b"")
    with Index.of(cache) as index:
        assert verify(cache, index) == {keys[1]: f"artifact {leaf.digest[:12]} is damaged"}
        verify(cache, index, remove=True)
        assert verify(cache, index) == {}
        assert index.totals()[0] == 2


def test_the_index_is_made_anew_from_the_files(clock: Any, home: Any) -> None:
    cache, keys = filled(clock, 3)
    for path in (home / "indexes").iterdir():
        path.write_bytes(b"no database")
    with Index.of(cache) as index:
        index.sync()
        assert {row.key for row in index.rows()} == set(keys)
        assert [row.arguments for row in index.rows(limit=1)] == ["i=2"]
        os.unlink(cache.path(keys[0]))
        os.utime(Path(cache.path(keys[0])).parent, (5, 5))
        index.sync()
        assert {row.key for row in index.rows()} == set(keys[1:])
