"""Cores and memory that this process may use: those of the machine, its affinity, and the limits of its control groups.

A limit holds for a group and all groups in it, so the least one on the way up counts. Version 2 says `cpu.max` and
`memory.max`; version 1 has a hierarchy for each controller, with `cpu.cfs_quota_us` and `memory.limit_in_bytes`. In a
container the folder that is mounted is the container's own group, and what `/proc/self/cgroup` says may begin above it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

__all__ = ["THREADS", "at_most", "limit_threads", "memory_bytes", "num_cores"]

THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
"""What tells the common libraries of numbers how many threads to use."""


def num_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1: by its affinity, and by the quota of its control groups, rounded.

    Args:
        root: where `proc` and the control groups are looked for.
    """
    return max(1, int(min(_affinity(), _quota(root)) + 0.5))


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this process may use, in bytes: the machine's, or less where a control group says so.

    Args:
        root: where `proc` and the control groups are looked for.
    """
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), _memory(root))


def at_most(num_bytes: int, part: int, root: Path = Path("/")) -> int:
    """So many bytes, or that part of the memory that this process may use, where that is less.

    Args:
        num_bytes: what is held where there is enough.
        part: 8 for an eighth.
        root: where `proc` and the control groups are looked for.
    """
    return min(num_bytes, memory_bytes(root) // part)


def limit_threads(root: Path = Path("/")) -> None:
    """Let libraries that are loaded from here on use no more threads than a quota has cores; what is set already stays.

    They count the machine's cores, and would be stopped again and again for having used up their time.
    """
    if _quota(root) < _affinity():
        for name in THREADS:
            os.environ.setdefault(name, str(num_cores(root)))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _quota(root: Path) -> float:
    """Cores by quota, infinite where there is none; a part of one is less than 1."""
    return min((limit for group, version in _groups(root, "cpu") for limit in _QUOTA[version](group)), default=math.inf)


@cache
def _memory(root: Path) -> int:
    names = {1: "memory.limit_in_bytes", 2: "memory.max"}
    found = (_numbers(group / names[version]) for group, version in _groups(root, "memory"))
    return min((limit for limits in found for limit in limits[:1]), default=1 << 62)


def _quota_1(group: Path) -> list[float]:
    quota, period = _numbers(group / "cpu.cfs_quota_us"), _numbers(group / "cpu.cfs_period_us")
    return [quota[0] / period[0]] if quota and period and quota[0] > 0 < period[0] else []


def _quota_2(group: Path) -> list[float]:
    said = _numbers(group / "cpu.max")
    return [said[0] / said[1]] if len(said) == 2 and said[1] > 0 else []


_QUOTA: dict[int, Callable[[Path], list[float]]] = {1: _quota_1, 2: _quota_2}


def _numbers(file: Path) -> list[int]:
    """The numbers that a file says; none where it is not there, or says `max`."""
    try:
        words = file.read_text(encoding="ascii").split()
        return [int(word) for word in words]
    except (OSError, ValueError):
        return []


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of this process's group and of those around it, in each hierarchy that may limit the controller."""
    for mounted, above, version in _mounts(root, controller):
        inside = PurePosixPath(_own_group(root, controller, version))
        relative = inside.relative_to(above) if inside.is_relative_to(above) else PurePosixPath()
        folder = root / mounted.lstrip("/")
        yield folder, version
        for part in relative.parts:
            folder = folder / part
            yield folder, version


def _own_group(root: Path, controller: str, version: int) -> str:
    """The group that this process is in, as `/proc/self/cgroup` names it; `/` where it does not say, or names one outside."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if (controller in controllers.split(",")) if version == 1 else not controllers:
            return path if path.startswith("/") and ".." not in path.split("/") else "/"
    return "/"


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, str, int]]:
    """Where hierarchies are mounted, the group that is mounted there, and their version."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, options = after.split(" ", 1)[0], after.rpartition(" ")[2].split(",")
        fields = before.split(" ")
        if len(fields) > 4 and (kind == "cgroup2" or (kind == "cgroup" and controller in options)):
            yield fields[4], fields[3], 2 if kind == "cgroup2" else 1


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
