"""The same with a real Postgres, started for these tests; skipped where there is none."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from helpers.until import until_async
from motet.errors import GraphError
from motet.serving.batching.request import Reply
from motet.serving.sinks.items import AnsweredRequest
from motet.types import ColumnType, Signature
from serving.sinks.sink_rows import SIGNATURE, offer, opened

psycopg = pytest.importorskip("psycopg")


def program(name):
    found = [*sorted(glob(f"/usr/lib/postgresql/*/bin/{name}")), shutil.which(name)]
    return next((each for each in reversed(found) if each), None)


def user():
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("Postgres does not run as root, and there is no user postgres")


class Server:
    """A cluster in a folder of its own, on a port of its own."""

    def __init__(self, folder):
        self.folder, self._user = folder, user()
        if program("initdb") is None or program("pg_ctl") is None:
            pytest.skip("there is no Postgres: apt-get install postgresql")
        if self._user:
            shutil.chown(folder, self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.run("initdb", "-E", "UTF8", "-A", "trust", "-U", "postgres", "--no-sync")
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, name, *arguments):
        command = [program(name), "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(
            command, user=self._user, cwd=self.folder, capture_output=True, text=True, timeout=60, env={"LC_ALL": "C"}
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def start(self):
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -F"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self):
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")

    def ask(self, query):
        with psycopg.connect(self.url) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description else []


@pytest.fixture(scope="module")
def server():
    with TemporaryDirectory(prefix="motet-postgres-") as folder:  # where its user may go, unlike pytest's own
        made = Server(Path(folder))
        made.start()
        yield made
        made.stop()


@pytest.fixture
def config(server, request):
    name = request.node.name.partition("[")[0]
    return {"to": server.url, "table": name, "name": "p", "batch_s": 0.01, "retry_s": 0.1, "timeout_s": 5}


def test_every_type_is_written(tmp_path, server, config):
    values = {
        "bool": [True, False], "int8": [-128, 127], "int64": [-(2**63), 2**63 - 1], "uint64": [0, 2**64 - 1],
        "float32": [0.5, float("inf")], "float64": [1e300, float("nan")], "string": ["a'b%", None], "bytes": [b"\0\xff", b""],
        "int32[2]": [[1, 2], [3, 4]], "any": [{"a": 1}, None],
    }  # fmt: skip
    kinds = {f"y{place}": ColumnType.parse(kind) for place, kind in enumerate(values)}

    async def go():
        async with opened(tmp_path, config, signature=Signature({}, kinds)) as made:
            columns = {}
            for (name, kind), given in zip(kinds.items(), values.values(), strict=True):
                objects = np.fromiter(given, object, 2) if kind.is_object else None  # type: ignore[call-overload]
                columns[name] = np.array(given, kind.numpy_dtype) if objects is None else objects
            for number in range(300):  # more than one statement, and types that differ from row to row
                reply = Reply(columns, 0, 2, None, (), 2, 0.0, 0.0)
                made.offer("g", AnsweredRequest(f"r{number:03d}", "me", 0.0, {}, 2, reply))
        assert (made.stats["p"].written, made.stats["p"].rejected) == (600, 0)

    asyncio.run(go())
    names = ", ".join(f"output_{name}" for name in kinds)
    found = server.ask(f"SELECT {names} FROM {config['table']} WHERE id LIKE 'r299:%' ORDER BY id")
    first, second = found
    assert first == (True, -128, -(2**63), "0", 0.5, 1e300, "a'b%", b"\0\xff", "[1,2]", '{"a":1}')
    assert repr(second) == repr(
        (False, 127, 2**63 - 1, str(2**64 - 1), float("inf"), float("nan"), None, b"", "[3,4]", None)
    )


def test_the_same_record_stands_there_once(tmp_path, server, config):
    async def go():
        for _ in range(2):
            async with opened(tmp_path, config) as made:
                for number in range(50):
                    offer(made, f"r{number}", [number, number])

    asyncio.run(go())
    assert server.ask(f"SELECT count(*), count(DISTINCT id) FROM {config['table']}") == [(100, 100)]


def test_a_table_gets_the_columns_that_it_does_not_have_and_keeps_its_types(tmp_path, server, config):
    server.ask(
        f"CREATE TABLE {config['table'][:63]} (id VARCHAR PRIMARY KEY, output_scores JSONB, output_label SMALLINT)"
    )
    config = {**config, "table": config["table"][:63]}

    async def go(signature):
        async with opened(tmp_path, config, signature=signature) as made:
            offer(made, "r", [7])

    asyncio.run(go(SIGNATURE))
    assert server.ask(f"SELECT output_scores->0, output_label, input_user FROM {config['table']}") == [(1.0, 7, "bob")]
    with pytest.raises(GraphError, match="column 'output_label' is SMALLINT in the table, and string now"):
        asyncio.run(go(Signature({}, {"label": ColumnType.parse("string")})))


def test_what_the_database_refuses_costs_no_other(tmp_path, server, config):
    async def go():
        async with opened(tmp_path, config) as made:
            for number in range(100):
                offer(made, f"r{number}", [number], user="nul\0" if number == 40 else "bob")
        assert (made.stats["p"].written, made.stats["p"].rejected) == (99, 1)

    asyncio.run(go())
    assert server.ask(f"SELECT count(*) FROM {config['table']}") == [(99,)]


def test_processes_that_start_at_once_make_one_table(tmp_path, server, config):
    async def one(number):
        async with opened(tmp_path / str(number), config) as made:
            offer(made, f"r{number}", [number])

    async def go():
        await asyncio.gather(*(one(number) for number in range(6)))

    asyncio.run(go())
    assert server.ask(f"SELECT count(*) FROM {config['table']}") == [(6,)]


@pytest.mark.parametrize("durable", [False, True])
def test_a_database_that_goes_away_and_comes_back_gets_everything_once(tmp_path, server, config, durable):
    config = {**config, "table": f"down_{durable}".lower()}

    async def go():
        async with opened(tmp_path, config, durable=durable) as made:
            stats = made.stats["p"]
            offer(made, "r0", [0])
            await until_async(lambda: stats.written == 1)
            await asyncio.to_thread(server.stop)
            for number in range(1, 50):
                wait = offer(made, f"r{number}", [number])
                if durable and number % 20 == 0:
                    assert await asyncio.wait_for(wait, 10) is True
            await until_async(lambda: stats.spooled == 49)
            await asyncio.to_thread(server.start)
            offer(made, "r50", [50])
            await until_async(lambda: stats.written >= 51)
            assert stats.dropped == 0

    asyncio.run(go())
    assert server.ask(f"SELECT count(*), count(DISTINCT id) FROM {config['table']}") == [(51, 51)]


def test_a_server_starts_while_its_database_is_down(tmp_path, server, config):
    async def go():
        await asyncio.to_thread(server.stop)
        try:
            async with opened(tmp_path, config) as made:
                offer(made, "r0", [0])
                await until_async(lambda: made.stats["p"].spooled == 1)
        finally:
            await asyncio.to_thread(server.start)
        async with opened(tmp_path, config) as made:
            await until_async(lambda: made.stats["p"].written == 1)

    asyncio.run(go())
    assert server.ask(f"SELECT output_label FROM {config['table']}") == [(0,)]
