"""joblib: `Memory.cache`. It has no DAG and no run; `plain` is a loop over a function."""

import time

from benchmarks.workflow_parts.timing import arguments, ms_a_step, report

folder, steps = arguments()
began = time.perf_counter()
from joblib import Memory  # noqa: E402

import_s = time.perf_counter() - began


def add(x: int) -> int:
    return x + 1


def chain(step) -> int:  # type: ignore[no-untyped-def]
    x = 0
    for _ in range(steps):
        x = step(x)
    return x


def main() -> None:
    memory = Memory(folder, verbose=0)
    kept = memory.cache(add)
    plain = ms_a_step(lambda: chain(add), steps)
    cold = ms_a_step(lambda: chain(kept), steps, 1)
    report(import_s=import_s, plain=plain, cold=cold, warm=ms_a_step(lambda: chain(kept), steps))


if __name__ == "__main__":
    main()
