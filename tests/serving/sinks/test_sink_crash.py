"""What may be lost when a server is killed, and what not."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.until import until_async
from serving.sinks.sink_rows import lines, offer, opened, table
from serving.sinks.test_sink_places import _parts

TESTS = Path(__file__).parents[2]
CONFIGS = {
    "sql": {"to": "sqlite:///p.db", "name": "p", "durable": True, "batch_s": 0.05},
    "jsonl": {"to": "p.jsonl", "name": "p", "durable": True},
    "parquet": {"to": "p.parquet", "name": "p", "durable": True, "batch_s": 0.05},
}


async def serve(folder, config):
    """Answer request after request, and print the name of each when its answer may go."""
    async with opened(folder, config) as made:
        for number in range(1_000_000):
            waits = {f"r{number:06d}-{each}": offer(made, f"r{number:06d}-{each}", [number]) for each in range(5)}
            for name, wait in waits.items():
                assert await wait is True
                print(name, flush=True)  # noqa: T201


def killed(folder, config, answers):
    """The requests that were answered by a server that was killed in the middle."""
    code = (
        f"import sys, asyncio; sys.path.insert(0, {str(TESTS)!r}); from serving.sinks import test_sink_crash as t; from pathlib import Path;"
        "asyncio.run(t.serve(Path(sys.argv[1]), t.CONFIGS[sys.argv[2]]))"
    )
    server = subprocess.Popen([sys.executable, "-c", code, str(folder), config], stdout=subprocess.PIPE, text=True)
    names = [server.stdout.readline().strip() for _ in range(answers)]
    os.kill(server.pid, signal.SIGKILL)
    rest = server.stdout.read().split("\n")
    server.wait(30)
    server.stdout.close()
    return [name for name in (*names, *rest[:-1]) if name]


@pytest.mark.parametrize("config", CONFIGS)
def test_no_durable_answer_is_lost_by_a_kill_and_none_is_there_twice(tmp_path, config):
    answered = killed(tmp_path, config, 103)

    async def restart():
        async with opened(tmp_path, CONFIGS[config]) as made:
            (spools,) = (list((tmp_path / "spool").glob("p.*.jsonl")) if (tmp_path / "spool").exists() else [],)
            await until_async(lambda: not any(path.exists() for path in spools))
            assert made.stats["p"].rejected == 0

    asyncio.run(restart())
    if config == "sql":
        found = [each for each, _ in table(tmp_path / "p.db")]
    else:
        rows = lines(tmp_path / "p.jsonl") if config == "jsonl" else _parts(tmp_path)
        found = [each["id"] for each in rows]
    assert len(answered) >= 103
    assert {f"{name}:0" for name in answered} <= set(found)
    assert len(found) == len(set(found))
