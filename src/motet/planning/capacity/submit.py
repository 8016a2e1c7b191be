"""What is submitted to have a plan played: commands, with the options that engines have today. Words in capitals are to be filled in."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from motet.errors import UnknownNameError
from motet.planning.capacity.pools import PoolPlan, StagePool

__all__ = ["SUBMITTED", "commands"]


def commands(plan: PoolPlan, engine: str, graph: str, inputs: Sequence[str]) -> list[str]:
    """Lines for a shell; those that begin with `#` say what they are.

    Args:
        plan: the plan.
        engine: what plays it.
        graph: the graph's file, with the hints of the plan.
        inputs: what is read.

    Raises:
        UnknownNameError: when there is no such engine.
    """
    if engine not in SUBMITTED:
        raise UnknownNameError("engine", engine, list(SUBMITTED), where="plan")
    return list(SUBMITTED[engine](plan, graph, inputs or ["INPUT"]))


def _run(engine: str, graph: str, inputs: Sequence[str], options: Sequence[str]) -> str:
    reads = [word for each in inputs for word in ("--input", each)]
    return shlex.join(["motet", "run", graph, *reads, "--output", "OUTPUT/", "--engine", engine, "--", *options])


def _one_stage(plan: PoolPlan) -> list[str]:
    return ["--one-stage"] if len(plan.pools) == 1 else []


def _ray(plan: PoolPlan, graph: str, inputs: Sequence[str]) -> Iterator[str]:
    for machines in _kinds(plan):
        shape = machines.machine
        options = [f"--num-cpus={shape.cpu:g}", f"--memory={shape.memory}"]
        options += [f"--num-gpus={shape.accelerator:g}"] if shape.accelerator else []
        yield f"# on each of {machines.count:,} machines {shape.name!r}"
        yield shlex.join(["ray", "start", "--address=HEAD:6379", *options])
    alone = plan.pools[0]
    options = [f"--num-cpus={alone.threads}"] if len(plan.pools) == 1 and alone.threads > 1 else []
    yield _run("ray", graph, inputs, ["--address", "auto", *options, *_one_stage(plan)])


def _spark(plan: PoolPlan, graph: str, inputs: Sequence[str]) -> Iterator[str]:
    settings: dict[str, object] = {}
    if len(plan.pools) == 1:
        pool = plan.pools[0]
        settings |= {
            "spark.executor.instances": pool.count * pool.tasks,
            "spark.executor.cores": pool.threads,
            "spark.task.cpus": pool.threads,
            "spark.executor.memoryOverhead": f"{math.ceil(pool.need.memory_bytes / (1 << 20))}m",
        }
        if accelerators := math.ceil(pool.need.accelerator):
            settings |= {
                "spark.executor.resource.gpu.amount": accelerators,
                "spark.task.resource.gpu.amount": accelerators,
            }
    else:
        yield "# executors of each stage are made by its resource profile, which needs dynamic allocation"
        settings |= {
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.maxExecutors": max(pool.count * pool.tasks for pool in plan.pools),
        }
    options = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    yield _run("spark", graph, inputs, ["--master", "spark://HOST:7077", *options, *_one_stage(plan)])


def _beam(plan: PoolPlan, graph: str, inputs: Sequence[str]) -> Iterator[str]:
    options = [
        "--runner",
        "DataflowRunner",
        "--project",
        "PROJECT",
        "--region",
        "REGION",
        "--temp_location",
        "gs://BUCKET/temp",
    ]
    most = max(pool.count for pool in plan.pools)
    if plan.shared:
        yield "# --worker_machine_type is Dataflow's name of a machine such as the plan's"
        options += ["--worker_machine_type", plan.pools[0].machine.name, "--num_workers", str(most)]
    else:
        yield "# Dataflow Prime chooses workers for each stage by its hints"
        options += ["--dataflow_service_options", "enable_prime"]
    yield _run("beam", graph, inputs, [*options, "--max_num_workers", str(most), *_one_stage(plan)])


def _kubernetes(plan: PoolPlan, graph: str, inputs: Sequence[str]) -> Iterator[str]:
    pool = plan.slowest
    processes = pool.count * pool.tasks
    yield "# a server plays the whole graph, and its pods ask for what its models do; stages of their own are for runs"
    yield shlex.join(
        ["motet", "export", "kubernetes", graph, "--as", "deployment", "-o", "deploy", "--replicas", f"1:{processes}"]
    )
    yield shlex.join(["kubectl", "apply", "-k", "deploy"])


def _kinds(plan: PoolPlan) -> list[StagePool]:
    """For each kind of machine the stage that has the most of them: others use these again."""
    found: dict[str, StagePool] = {}
    for pool in plan.pools:
        if pool.machine.name not in found or pool.count > found[pool.machine.name].count:
            found[pool.machine.name] = pool
    return list(found.values())


SUBMITTED: Mapping[str, Callable[[PoolPlan, str, Sequence[str]], Iterator[str]]] = {
    "beam": _beam, "ray": _ray, "spark": _spark, "kubernetes": _kubernetes,
}  # fmt: skip
"""What can be submitted to."""
