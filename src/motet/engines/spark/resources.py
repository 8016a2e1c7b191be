"""What workers must have, as Spark's scheduler is told it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from motet.engines.needs import PLAIN
from motet.engines.splits.engine import imported
from motet.errors import InputError
from motet.runtime.resources.need import Need

__all__ = ["hints_of", "profile_of"]


def profile_of(setting: Callable[[str, str], Any], need: Need) -> Any:
    """What Spark's scheduler is told that a task needs, and with dynamic allocation an executor; None for nothing.

    Where executors are there already, memory is not theirs to give; a process that is master and worker at once has no scheduler.

    Args:
        setting: gives what the cluster's setting of a name is, or else a default.
        need: of a worker.

    Raises:
        InputError: when the executors that are there have less, of which Spark would wait for others without end.
    """
    hints = hints_of(need)
    task = {name: count for name, count in hints.items() if name != "memoryOverhead"}
    dynamic = setting("spark.dynamicAllocation.enabled", "false") == "true"
    if re.match(r"local(\[|$)", setting("spark.master", "")) or not (hints if dynamic else task):
        return None
    spark = imported("pyspark.resource", "spark")
    cpus, gpus = task.get("cpus", 1), task.get("gpu", 0)
    if not dynamic:
        _check_room(setting, cpus, gpus)
    tasks, executors = spark.TaskResourceRequests().cpus(cpus), spark.ExecutorResourceRequests().cores(cpus)
    if gpus:
        tasks, executors = tasks.resource("gpu", gpus), executors.resource("gpu", math.ceil(gpus))
    if "memoryOverhead" in hints:
        executors = executors.memoryOverhead(hints["memoryOverhead"])
    builder = spark.ResourceProfileBuilder().require(tasks)
    return (builder.require(executors) if dynamic else builder).build


def _check_room(setting: Callable[[str, str], Any], cpus: int, gpus: float) -> None:
    master, gpu = str(setting("spark.master", "")), "spark.executor.resource.gpu.amount"
    cores = _cores(master, setting("spark.executor.cores", ""))
    for what, needed, has, name in (
        ("cores", cpus, cores, "spark.executor.cores"),
        ("GPUs", gpus, float(setting(gpu, "0")), gpu),
    ):
        if needed > has:
            said = f"a task asks for {needed:g} {what}, and an executor has {has:g}"
            hint = f"begin Spark with {name}={math.ceil(needed)}, or ask for less under resources"
            raise InputError(said, where="engine spark", hint=hint)


def _cores(master: str, told: Any) -> float:
    """How many an executor has; more than any task asks for where it has all of a machine that nobody knows."""
    if told:
        return float(told)
    if found := re.match(r"local-cluster\[\s*\d+\s*,\s*(\d+)", master):
        return float(found[1])
    return math.inf if master.startswith("spark:") else 1.0


def hints_of(need: Need) -> dict[str, Any]:
    """What a worker must have, by Spark's names; what nobody asks for is left out."""
    found: dict[str, Any] = {}
    if need.cpu > PLAIN.cpu:
        found["cpus"] = math.ceil(need.cpu)
    if need.accelerator:
        found["gpu"] = need.accelerator if need.accelerator <= 0.5 else math.ceil(need.accelerator)
    if need.memory_bytes:
        found["memoryOverhead"] = f"{math.ceil(need.memory_bytes / 2**20)}m"
    return found
