"""A Redis that ends and is started anew: whoever asks then is counted, though every connection that is kept is broken."""

import asyncio
import os
import shutil
import socket
import subprocess
import time

import pytest

pytest.importorskip("redis")

from motet.errors import OverloadedError
from motet.serving.admission import redis_rates
from motet.serving.admission.redis_rates import RedisRates
from motet.serving.config.admission import Rate

WANTED = [(b"k" * 16, Rate(10_000, 60))]


class Server:
    def __init__(self, folder):
        program = os.environ.get("MOTET_REDIS_SERVER") or shutil.which("redis-server")
        if program is None:
            pytest.skip("no redis-server")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]

    def start(self):
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until

    def kill(self):
        self.process.kill()
        self.process.wait()


def test_a_redis_that_was_started_anew_fails_nobody(tmp_path):
    server = Server(tmp_path)

    async def taken(rates):
        return await asyncio.gather(*(rates.take(WANTED) for _ in range(20)))

    async def main():
        rates = RedisRates(f"redis://127.0.0.1:{server.port}/0")
        found = await taken(rates)
        server.kill()
        with pytest.raises(OverloadedError, match="Redis does not answer"):
            await rates.take(WANTED)
        server.start()
        found += await taken(rates)
        server.kill()
        server.start()
        found += await taken(rates)
        await rates.close()
        return found

    server.start()
    try:
        assert asyncio.run(main()) == [0.0] * 60
    finally:
        server.kill()


def test_those_who_wait_for_a_connection_wait_no_longer_than_those_who_have_one(monkeypatch):
    """A Redis that hangs would else hold up all who came before that was known, two seconds after each other."""
    monkeypatch.setattr(redis_rates, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(redis_rates, "AT_ONCE", 2)
    connected = []

    async def hang(reader, writer):
        connected.append(writer)

    async def main():
        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            rates = RedisRates(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
            found = await asyncio.gather(*(rates.take(WANTED) for _ in range(20)), return_exceptions=True)
            await rates.close()
            for writer in connected:
                writer.close()
        return found

    found = asyncio.run(main())
    assert {type(each) for each in found} == {OverloadedError}
    assert len(connected) < 10  # two, and who got the place of one that was given up, not 20 after each other
