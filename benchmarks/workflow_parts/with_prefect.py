"""Prefect: `@task` in `@flow`, with its own server in the process's folder."""

import logging
import os
import time

from benchmarks.workflow_parts.timing import arguments, ms_a_step, report

folder, steps = arguments()
os.environ |= {
    "PREFECT_HOME": folder,
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
began = time.perf_counter()
from prefect import flow, task  # noqa: E402
from prefect.cache_policies import INPUTS  # noqa: E402

import_s = time.perf_counter() - began
REPEATS = 3


@task
def bare(x: int) -> int:
    return x + 1


@task(cache_policy=INPUTS, persist_result=True)
def kept(x: int) -> int:
    return x + 1


@flow
def plain_chain() -> int:
    x = 0
    for _ in range(steps):
        x = bare(x)
    return x


@flow
def kept_chain() -> int:
    x = 0
    for _ in range(steps):
        x = kept(x)
    return x


def main() -> None:
    logging.disable(logging.CRITICAL)
    plain_chain()  # starts the server
    plain = ms_a_step(plain_chain, steps, REPEATS)
    cold = ms_a_step(kept_chain, steps, 1)
    report(import_s=import_s, plain=plain, cold=cold, warm=ms_a_step(kept_chain, steps, REPEATS))


if __name__ == "__main__":
    main()
