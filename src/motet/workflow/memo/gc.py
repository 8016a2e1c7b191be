"""Removing what nobody needs: by age since the last hit, and by size, the least recently used first.

Never removed is what was used or written less than an hour ago, what is pinned (`pins/NAME.json`), what runs noted that
may have to go on, and what steps of a cluster have left for each other (`results/`, run_step.py) within two weeks. Files are
removed, nothing else, so a run that meets a gap makes the result anew.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from motet.errors import InputError
from motet.system.whole_files import write_whole
from motet.workflow.memo.artifacts import KeptValue
from motet.workflow.memo.cache import Cache
from motet.workflow.memo.index import Index

__all__ = ["GcReport", "collect", "pin", "pins", "unpin", "verify"]

GRACE_S = 3600.0
RESULT_S = 14 * 86_400.0
"""How long what a step of a cluster has left stays: Argo takes it again for a week, in runs that may take long themselves."""
PIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,120}")


@dataclass(frozen=True)
class GcReport:
    """What is removed, or would be.

    Attributes:
        entries: the keys of entries.
        artifacts: the digests of artifacts that no entry names any more.
        freed_bytes: the size of these artifacts.
        left_entries, left_bytes: what stays.
        spared: entries that are over the age or size and stay, because they are pinned or were used just now.
    """

    entries: tuple[str, ...]
    artifacts: tuple[str, ...]
    freed_bytes: int
    left_entries: int
    left_bytes: int
    spared: int


def collect(
    cache: Cache,
    index: Index,
    *,
    max_age_s: float | None = None,
    max_bytes: int | None = None,
    live: Iterable[KeptValue] = (),
    dry_run: bool = False,
    grace_s: float = GRACE_S,
) -> GcReport:
    """Remove entries, and the artifacts that none of the others names.

    Args:
        cache: the cache.
        index: its index.
        max_age_s: seconds since the last hit after which an entry goes; None is for ever.
        max_bytes: how much may stay; the least recently used go first. None is without limit.
        live: results that stay, of runs that may have to go on.
        dry_run: whether nothing is removed.
        grace_s: what was used or written less than so long ago stays.
    """
    index.sync()
    now = cache.clock()
    used = _times(cache.root / "entries", ".json")
    pinned_keys, pinned_artifacts = pins(cache)
    pinned_artifacts |= {
        leaf.digest for kept in (*live, *_results(cache.root / "results", now)) for leaf in kept.leaves
    }
    by_entry, count, sizes = _refs(index)
    total = sum(sizes.values())
    gone: list[str] = []
    spared = 0
    for key in sorted(used, key=lambda each: used[each]):
        age_s = now - used[key]
        old = max_age_s is not None and age_s > max_age_s
        if not old and (max_bytes is None or total <= max_bytes):
            continue
        if age_s < grace_s or key in pinned_keys:
            spared += 1
            continue
        gone.append(key)
        for artifact in by_entry.get(key, ()):
            count[artifact] -= 1
            if not count[artifact]:
                total -= sizes[artifact]
    found = _times(cache.artifacts.root, "")
    free = [
        name
        for name, changed in found.items()
        if not count.get(name) and name not in pinned_artifacts and now - changed >= grace_s
    ]
    freed = sum(_size(cache.artifacts.path(name)) for name in free)
    if not dry_run:
        _remove(cache, index, gone, free, used, now)
    return GcReport(tuple(gone), tuple(free), freed, len(used) - len(gone), max(total, 0), spared)


def _results(root: Path, now: float) -> Iterator[KeptValue]:
    """What steps of a cluster have left, and others may take."""
    for name, changed in _times(root, ".json").items():
        if now - changed < RESULT_S:
            with suppress(OSError, ValueError, LookupError, TypeError):  # a damaged one is refused where it is taken
                found = orjson.loads((root / name[:2] / f"{name}.json").read_bytes())
                if found["kept"] is not None:
                    yield KeptValue.from_json(found["kept"])


def _refs(index: Index) -> tuple[dict[str, list[str]], dict[str, int], dict[str, int]]:
    by_entry: dict[str, list[str]] = {}
    count: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for artifact, key, size in index.refs():
        by_entry.setdefault(key, []).append(artifact)
        count[artifact] = count.get(artifact, 0) + 1
        sizes[artifact] = size
    return by_entry, count, sizes


def _remove(
    cache: Cache, index: Index, keys: list[str], artifacts: list[str], used: dict[str, float], now: float
) -> None:
    """Remove entries first, so that none names an artifact that is gone; one that was hit meanwhile stays."""
    removed = []
    for key in keys:
        path = cache.path(key)
        with suppress(OSError):
            if os.stat(path).st_mtime <= used[key]:
                os.unlink(path)
                removed.append(key)
    index.remove(removed)
    kept = set(keys) - set(removed)
    still = {artifact for artifact, key, _ in index.refs() if key in kept}
    for name in artifacts:
        if name not in still:
            cache.artifacts.path(name).unlink(missing_ok=True)
    codes = index.codes()
    for name in _times(cache.root / "code", ".json"):
        if name not in codes:
            (cache.root / "code" / name[:2] / f"{name}.json").unlink(missing_ok=True)
    results = cache.root / "results"
    for folder in (cache.artifacts.root, cache.root / "entries", cache.root / "code", results):
        _remove_older([*folder.glob(".new-*"), *folder.glob("*/.new-*")], now - GRACE_S)
    _remove_older([*results.glob("*/*.json"), *results.glob("runs/*/*")], now - RESULT_S)
    for run in results.glob("runs/*"):
        with suppress(OSError):
            run.rmdir()  # where nothing is left of it


def _remove_older(paths: Iterable[Path], than: float) -> None:
    for path in paths:
        with suppress(OSError):
            if path.stat().st_mtime < than:
                path.unlink()


def _times(root: Path, end: str) -> dict[str, float]:
    """The times of change of the files in the folders of a folder, by name without its end."""
    found: dict[str, float] = {}
    with suppress(FileNotFoundError):
        for file in _files(root):
            if file.name.endswith(end) and file.name[0] != ".":
                with suppress(FileNotFoundError):
                    found[file.name.removesuffix(end)] = file.stat().st_mtime
    return found


def _files(root: Path) -> Iterator[os.DirEntry[str]]:
    """What is in the folders of a folder, until one of them is gone."""
    with os.scandir(root) as folders:
        for folder in folders:
            if folder.is_dir():
                with os.scandir(folder) as files:
                    yield from files


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def pin(cache: Cache, name: str, keys: Iterable[str], artifacts: Iterable[str] = ()) -> None:
    """Keep entries, and artifacts, whatever their age, until `unpin`; a second pin of the name takes the place of the first.

    Args:
        cache: the cache.
        name: letters, digits and `._@-`.
        keys: keys of entries; their artifacts stay with them.
        artifacts: digests of artifacts.
    """
    if not PIN_NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name of a pin", hint="letters, digits and ._@-")
    keys = list(keys)
    entries = [entry for key in keys if (entry := cache.peek(key)) is not None]
    every = [*artifacts, *(leaf.digest for entry in entries for leaf in entry.kept.leaves)]
    found = {"keys": keys, "artifacts": every, "created": time.time()}
    write_whole(cache.root / "pins" / f"{name}.json", orjson.dumps(found))


def unpin(cache: Cache, name: str) -> None:
    """Take a pin away; one that is not there is gone already."""
    (cache.root / "pins" / f"{name}.json").unlink(missing_ok=True)


def pins(cache: Cache) -> tuple[set[str], set[str]]:
    """The keys and the artifacts that are pinned."""
    keys: set[str] = set()
    artifacts: set[str] = set()
    for path in (cache.root / "pins").glob("*.json"):
        with suppress(OSError, ValueError, LookupError):
            found = orjson.loads(path.read_bytes())
            keys |= set(found["keys"])
            artifacts |= set(found["artifacts"])
    return keys, artifacts


def verify(cache: Cache, index: Index, *, remove: bool = False) -> dict[str, str]:
    """Look at every entry and its artifacts: what is wrong, by key. With `remove` such entries go."""
    index.sync()
    wrong: dict[str, str] = {}
    for key in _times(cache.root / "entries", ".json"):
        entry = cache.peek(key)
        fault = "its entry is damaged" if entry is None else cache.artifacts.fault(entry.kept)
        if fault:
            wrong[key] = fault
    if remove:
        for key in wrong:
            with suppress(OSError):
                os.unlink(cache.path(key))
        index.remove(wrong)
    return wrong
