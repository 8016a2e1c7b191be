"""Metrics outlive a time in which no file can be opened, and say how many are."""

import asyncio
import errno
import logging
import os
import resource

from motet.serving.config.observability import ObservabilityConfig
from motet.serving.observability.observability import Observability


def test_metrics_go_on_when_files_can_be_opened_again(tmp_path, monkeypatch, caplog):
    async def main():
        seen = Observability(ObservabilityConfig(), tmp_path / "seen")
        loop = asyncio.get_running_loop()

        def full():
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(seen._totals, "read", full)
            for count in (0, 2):
                seen._tick(loop, count)
                assert not seen._timer.cancelled()
                seen._timer.cancel()
        assert [each.message for each in caplog.records if each.levelno == logging.ERROR] == [
            "metrics are not kept up to date now: [Errno 24] Too many open files"
        ]
        seen._tick(loop, 0)
        await seen._looking
        shown = {line.split()[0]: float(line.split()[1]) for line in await text(seen) if not line.startswith("#")}
        seen.close()
        return shown

    before = len(os.listdir("/proc/self/fd"))
    shown = asyncio.run(main())
    assert before < shown["process_open_fds"] < before + 64
    assert shown["process_max_fds"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def text(seen):
    return (await seen.exposition())[0].decode().splitlines()
