"""Motet: `@step` and `@step(cache=True)`."""

import os
import time

from benchmarks.workflow_parts.timing import arguments, ms_a_step, report

folder, steps = arguments()
os.environ["MOTET_CACHE_DIR"] = folder
began = time.perf_counter()
import motet.workflow as mw  # noqa: E402

import_s = time.perf_counter() - began


@mw.step
def bare(x: int) -> int:
    return x + 1


@mw.step(cache=True)
def kept(x: int) -> int:
    return x + 1


@mw.workflow
def chain(use: str, start: int, num: int):  # type: ignore[no-untyped-def]
    x = start
    for _ in range(num):
        x = {"bare": bare, "kept": kept}[use](x)
    return x


def main() -> None:
    chain("bare", 0, 1).run()
    plain = ms_a_step(lambda: chain("bare", 0, steps).run(resume=False).output, steps)
    cold = ms_a_step(lambda: chain("kept", 0, steps).run(resume=False).output, steps, 1)
    warm = ms_a_step(lambda: chain("kept", 0, steps).run(resume=False).output, steps)
    warm_cpu = ms_a_step(lambda: chain("kept", 0, steps).run(resume=False).output, steps, clock=time.process_time)
    report(import_s=import_s, plain=plain, cold=cold, warm=warm, warm_cpu=warm_cpu)


if __name__ == "__main__":
    main()
