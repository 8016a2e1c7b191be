"""Hamilton: a function a step in a module that is made here, a driver without and with cache."""

import os
import time

os.environ["HAMILTON_TELEMETRY_ENABLED"] = "false"
from benchmarks.workflow_parts.timing import arguments, ms_a_step, report

folder, steps = arguments()
began = time.perf_counter()
from hamilton import ad_hoc_utils, driver  # noqa: E402

import_s = time.perf_counter() - began


def main() -> None:
    space: dict[str, object] = {}
    exec("def x0() -> int: return 0\n", space)
    for place in range(1, steps + 1):
        exec(f"def x{place}(x{place - 1}: int) -> int: return x{place - 1} + 1\n", space)
    functions = [value for name, value in space.items() if name.startswith("x")]
    module = ad_hoc_utils.create_temporary_module(*functions, module_name="chain")
    last = f"x{steps}"
    bare = driver.Builder().with_modules(module).build()
    plain = ms_a_step(lambda: bare.execute([last])[last], steps)
    kept = driver.Builder().with_modules(module).with_cache(path=folder).build()
    cold = ms_a_step(lambda: kept.execute([last])[last], steps, 1)
    report(import_s=import_s, plain=plain, cold=cold, warm=ms_a_step(lambda: kept.execute([last])[last], steps))


if __name__ == "__main__":
    main()
