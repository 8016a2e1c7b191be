"""Cores and memory as control groups limit them, in trees of files as kernels, Docker and Kubernetes make them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from motet.system.limits import THREADS, at_most, limit_threads, memory_bytes, num_cores

V2 = "31 23 0:28 {above} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
CPU_1 = "32 31 0:29 {above} /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
MEMORY_1 = "35 31 0:32 {above} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
OTHER = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw"
MIB = 1 << 20


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def root(folder: Path, mounts: list[str], group: str, files: Mapping[str, str]) -> Path:
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/mountinfo").write_text("\n".join([OTHER, *mounts]) + "\n")
    (folder / "proc/self/cgroup").write_text(group + "\n")
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("said", "cores"),
    [
        ("max 100000", 8), ("50000 100000", 1), ("100000 100000", 1), ("140000 100000", 1), ("150000 100000", 2),
        ("250000 100000", 3), ("1000 100000", 1), ("1600000 100000", 8), ("", 8), ("what", 8),
    ],
)  # fmt: skip
def test_a_quota_of_version_2_is_rounded_and_at_least_one(tmp_path: Path, said: str, cores: int) -> None:
    assert num_cores(root(tmp_path, [V2.format(above="/")], "0::/", {"cpu.max": said})) == cores


def test_the_least_of_nested_groups_counts(tmp_path: Path) -> None:
    files = {
        "kubepods/cpu.max": "600000 100000", "kubepods/pod1/cpu.max": "200000 100000", "kubepods/pod1/a/cpu.max": "max 100000",
        "kubepods/memory.max": str(900 * MIB), "kubepods/pod1/memory.max": "max", "kubepods/pod1/a/memory.max": str(300 * MIB),
    }  # fmt: skip
    made = root(tmp_path, [V2.format(above="/")], "0::/kubepods/pod1/a", files)
    assert (num_cores(made), memory_bytes(made)) == (2, 300 * MIB)


@pytest.mark.parametrize(
    ("quota", "cores"), [("-1", 8), ("50000", 1), ("200000", 2), ("350000", 4), ("0", 8)]
)  # fmt: skip
def test_version_1_has_a_hierarchy_for_each_controller(tmp_path: Path, quota: str, cores: int) -> None:
    """Docker without a namespace of groups: the folder that is mounted is the container's group, /proc names it from above."""
    mounts = [CPU_1.format(above="/docker/4f"), MEMORY_1.format(above="/docker/4f")]
    group = "9:name=systemd:/\n4:memory:/docker/4f\n2:cpu,cpuacct:/docker/4f\n0::/docker/4f"
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": quota, "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(256 * MIB),
    }  # fmt: skip
    made = root(tmp_path, mounts, group, files)
    assert (num_cores(made), memory_bytes(made)) == (cores, 256 * MIB)


def test_nested_groups_of_version_1(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/a/cpu.cfs_quota_us": "75000", "cpu,cpuacct/a/cpu.cfs_period_us": "50000",
        "cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1", "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "9223372036854771712", "memory/a/memory.limit_in_bytes": str(64 * MIB),
    }  # fmt: skip
    made = root(
        tmp_path, [CPU_1.format(above="/"), MEMORY_1.format(above="/")], "4:memory:/a/b\n2:cpu,cpuacct:/a/b", files
    )
    assert (num_cores(made), memory_bytes(made)) == (2, 64 * MIB)


def test_what_is_held_is_a_part_of_a_small_memory(tmp_path: Path) -> None:
    made = root(tmp_path, [V2.format(above="/")], "0::/", {"memory.max": str(512 * MIB)})
    assert [at_most(256 * MIB, 8, made), at_most(32 * MIB, 8, made), at_most(256 * MIB, 8)] == [
        64 * MIB,
        32 * MIB,
        256 * MIB,
    ]


def test_both_versions_at_once(tmp_path: Path) -> None:
    """What systemd calls hybrid: controllers in version 1, and a tree of version 2 without them."""
    hybrid = V2.format(above="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    assert num_cores(root(tmp_path, [hybrid, CPU_1.format(above="/")], "2:cpu,cpuacct:/\n0::/", files)) == 3


@pytest.mark.parametrize("group", ["0::/../other", "0::/gone/away", "nonsense", ""])
def test_a_group_that_cannot_be_seen_leaves_what_is_mounted(tmp_path: Path, group: str) -> None:
    made = root(tmp_path, [V2.format(above="/")], group, {"cpu.max": "100000 100000", "memory.max": str(MIB)})
    assert (num_cores(made), memory_bytes(made)) == (1, MIB)


def test_without_groups_the_machine_and_the_affinity_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert (num_cores(tmp_path), memory_bytes(tmp_path)) == (8, machine)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert num_cores(tmp_path) == 1


def test_libraries_of_numbers_follow_a_quota_and_what_is_set_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "7"})
    limit_threads(tmp_path / "none")
    assert os.environ == {"OMP_NUM_THREADS": "7"}
    limit_threads(root(tmp_path / "some", [V2.format(above="/")], "0::/", {"cpu.max": "200000 100000"}))
    assert [os.environ[name] for name in THREADS] == ["7", *["2"] * (len(THREADS) - 1)]


def test_a_quota_of_this_kernel_is_seen(tmp_path: Path) -> None:
    """Where this machine lets a test make a group of its own."""
    group = Path("/sys/fs/cgroup/cpu", f"motet-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        pytest.skip(f"no control group of version 1 can be made here: {error}")
    ask = "from motet.system.limits import num_cores; from motet.engines.local.options import BulkOptions; print(num_cores(), BulkOptions().num_workers)"
    try:
        enter = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c '{ask}'"
        assert subprocess.run(["sh", "-c", enter], capture_output=True, text=True, check=True).stdout == "1 1\n"
    finally:
        group.rmdir()
