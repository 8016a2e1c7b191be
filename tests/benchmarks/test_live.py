"""The live benchmark's own parts: what a driver reports, processor time, verdicts on bad requests, growth of memory."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.live_parts.bad_requests import Bad, bad_requests, judge, send_all
from benchmarks.live_parts.bodies import Answer, Ask, asks, meaning
from benchmarks.live_parts.client import Traffic, split_answer
from benchmarks.live_parts.load import Driven, LoadError, drive, driver, read_report, written
from benchmarks.live_parts.peers.answering import Models
from benchmarks.live_parts.report import Round, table_of
from benchmarks.live_parts.servers import ServerError, cpu_s, free_port, graph_file, rss_bytes, started
from benchmarks.live_parts.slow import KINDS, hold
from benchmarks.live_parts.soak import Sample, growth
from benchmarks.live_parts.work import WORKS

import motet as mt

IMAGES = np.arange(2 * 784, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
ASKS = [Ask("/good", b"abc"), Ask("/good", b"")]
SERVER = textwrap.dedent(
    """
    import asyncio, sys

    async def answer(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode("latin-1")
                length = next((int(line.split(":")[1]) for line in head.split("\\r\\n") if "ength" in line), 0)
                body = b'{"error": "%d"}' % len(await reader.readexactly(length))
                status = b"200 OK" if "/good" in head else b"404 Not Found"
                writer.write(b"HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (status, len(body), body))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            writer.close()

    async def main():
        await (await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]))).serve_forever()

    asyncio.run(main())
    """
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A tiny server: `/good` is answered with 200, all else with 404."""
    port = free_port()
    with started([sys.executable, "-c", SERVER, str(port)], port, tmp_path_factory.mktemp("server")) as found:
        found.wait(lambda: found.ask(ASKS[0])[0] == 200)
        yield found


class TestReports:
    LINE = (
        '{"requests": 1000, "duration_us": 2000000, "p50_us": 1500, "p99_us": 9000, "max_us": 12000, '
        '"bad_status": 100, "broken": 3}'
    )

    def test_the_last_line_of_json_counts(self) -> None:
        found = read_report(f"Running 2s test\n  1 threads\n{self.LINE}\n")
        assert found == Driven(1000, 2.0, 1.5, 9.0, 12.0, 100, 3)
        assert found.per_s == 450
        assert found.errors == 103

    def test_a_driver_that_says_nothing_is_an_error(self) -> None:
        with pytest.raises(LoadError, match="reported nothing; it said: 'unable to connect'"):
            read_report("unable to connect")

    @pytest.mark.parametrize("wrk", ["", driver()] if driver() else [""])
    def test_a_server_is_driven(self, server: Any, tmp_path: Path, wrk: Any) -> None:
        found = drive(server.port, written(ASKS, tmp_path, "good"), 4, 1, tmp_path, wrk)
        assert found.requests > 50
        assert found.errors == 0
        assert 0.9 < found.seconds < 5
        assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms

    @pytest.mark.parametrize("wrk", ["", driver()] if driver() else [""])
    def test_bad_statuses_are_counted(self, server: Any, tmp_path: Path, wrk: Any) -> None:
        found = drive(server.port, written([*ASKS, Ask("/bad", b"")], tmp_path, "some"), 3, 1, tmp_path, wrk)
        assert abs(found.bad_status - found.requests / 3) <= 3
        assert found.broken == 0

    def test_nobody_listens(self, tmp_path: Path) -> None:
        found = drive(free_port(), written(ASKS, tmp_path, "good"), 1, 0.2, tmp_path)
        assert found.requests == 0
        assert found.broken > 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
class TestWatching:
    BURN = "import time\nwhile time.process_time() < 0.25: pass\n"

    def test_processor_time_of_descendants_counts_also_when_they_have_ended(self) -> None:
        code = (
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {self.BURN!r}]); print(flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            process.stdout.readline()
            assert 0.2 <= cpu_s(process.pid) < 2
            process.communicate("\n")

    def test_memory_is_that_of_the_process(self) -> None:
        code = "import sys; kept = b'x' * int(sys.argv[1]); print(flush=True); input()"
        found = []
        for size in (0, 64 << 20):
            with subprocess.Popen(
                [sys.executable, "-c", code, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                process.stdout.readline()
                found.append(rss_bytes(process.pid))
                process.communicate("\n")
        assert 0 < found[0] < found[1] - (48 << 20)

    def test_a_process_that_is_gone_has_neither(self) -> None:
        assert cpu_s(2**30) == rss_bytes(2**30) == 0

    def test_a_server_that_ends_says_why(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", "import sys; print('no such graph'); sys.exit(2)"]
        with (
            started(command, 1, tmp_path) as server,
            pytest.raises(ServerError, match="exit code 2; it said: no such graph"),
        ):
            server.wait(lambda: False)

    def test_a_server_is_ended_with_its_children(self, tmp_path: Path) -> None:
        port = free_port()
        (tmp_path / "server.py").write_text(SERVER)
        command = ["/bin/sh", "-c", f"{sys.executable} {tmp_path / 'server.py'} {port} & wait"]
        with started(command, port, tmp_path) as server:
            server.wait(lambda: server.ask(ASKS[0])[0] == 200)
        with pytest.raises(OSError):
            server.ask(ASKS[0])


class TestBodies:
    @pytest.mark.parametrize("name", WORKS)
    def test_requests_say_their_length(self, name: Any) -> None:
        work = WORKS[name]
        images = np.zeros((2 * work.rows, 28, 28), np.uint8)
        for dialect in ("oip", "plain"):
            data = [ask.data() for ask in asks(dialect, work, images)]
            assert len(data) == 2
            for each in data:
                head, _, body = each.partition(b"\r\n\r\n")
                assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")

    def test_answers_are_understood(self) -> None:
        labels, scores = np.array([3, 9]), np.array([0.5, 0.25], np.float32)
        wanted = Answer(labels, scores)
        plain = meaning("plain", {}, labels.tobytes() + scores.tobytes(), "binary")
        text = meaning("plain", {}, b'{"label": [3, 9], "score": [0.5, 0.25]}', "json")
        header = (
            b'{"outputs": [{"name": "label", "datatype": "INT64", "parameters": {"binary_data_size": 16}},'
            b'{"name": "name", "datatype": "BYTES", "parameters": {"binary_data_size": 2}},'
            b'{"name": "score", "datatype": "FP32", "data": [0.5, 0.25]}]}'
        )
        length = {"inference-header-content-length": str(len(header))}
        oip = meaning("oip", length, header + labels.tobytes() + b"ab", "binary")
        assert [each.difference(wanted) for each in (plain, text, oip)] == ["", "", ""]
        assert Answer(labels, scores * 2).difference(wanted) == "scores [1.0, 0.5], not [0.5, 0.25]"
        assert Answer(labels + 1, scores).difference(wanted) == "labels [4, 10], not [3, 9]"

    @pytest.mark.parametrize("job", ["mlp", "ensemble"])
    def test_the_graphs_of_the_jobs_answer_as_the_peers_do(self, tmp_path: Path, job: str) -> None:
        answer = mt.load(graph_file(job, tmp_path))({"image": IMAGES})
        labels, scores = Models(job)(IMAGES)
        assert Answer(np.array(answer["label"]), np.array(answer["score"])).difference(Answer(labels, scores)) == ""


class TestAbuse:
    def test_bad_requests_are_all_different(self) -> None:
        kinds = bad_requests("mlp_only", IMAGES[:1])
        assert len({bad.name for bad in kinds}) == len({bad.data for bad in kinds}) == len(kinds) >= 20

    def test_verdicts(self) -> None:
        def answer(status: Any, body: Any) -> Any:
            return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

        bad = Bad("some", b"", frozenset({505}))
        assert judge(bad, answer(422, '{"error": "no"}')) == (422, "", "no")
        assert judge(bad, answer(505, '{"error": "no"}')) == (505, "", "no")
        assert judge(bad, answer(500, '{"error": "no"}'))[1] == 'status 500: b\'{"error": "no"}\''
        assert judge(bad, answer(200, ""))[1] == "status 200: b''"
        assert judge(bad, answer(400, "no"))[1] == "status 400 without an error: b'no'"
        assert judge(bad, b"")[1] == "no answer"
        assert judge(bad, b"HTTP/1.1 4")[1] == "no whole answer: b'HTTP/1.1 4'"
        assert judge(bad, b"HTTP/1.1 400 x\r\n\r\n")[1].startswith("no answer of HTTP")

    def test_bad_requests_are_sent_beside_good_ones(self, server: Any) -> None:
        async def play() -> Any:
            traffic = Traffic(
                server.port, [ask.data() for ask in ASKS], 2, lambda place, headers, body: "" if place else "odd"
            )
            await traffic.start()
            verdicts = await send_all(
                server.port, [Bad("bad", Ask("/bad", b"").data()), Bad("cut", b"\r\n\r\nx")], 6, 2
            )
            return await traffic.stop(), verdicts

        seen, verdicts = asyncio.run(play())
        assert verdicts["bad"].statuses == {404: 3}
        assert not verdicts["bad"].wrong
        assert seen.requests > 0
        assert seen.broken == seen.bad_status == 0
        assert abs(seen.num_wrong - seen.requests / 2) <= 2
        assert seen.wrong[0] == "odd"

    def test_slow_clients_tell_what_became_of_them(
        self, server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        fates = asyncio.run(hold(server.port, len(KINDS), ASKS[0].data()))
        assert capsys.readouterr().out == "ready\n"
        assert set(fates) == {kind.name for kind in KINDS}
        assert fates["silent"] == {"open": 1}

    def test_answers_are_taken_apart(self) -> None:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a:b\r\n\r\nokHTTP"
        assert split_answer(data) == (200, {"content-length": "2", "x": "a:b"}, 46, 48)
        assert split_answer(data[:47]) is split_answer(data[:30]) is None

    def test_growth_counts_from_when_the_server_is_warm(self) -> None:
        def samples(*memory: Any) -> Any:
            return [Sample(10 * place + 1, 0, float(place), each) for place, each in enumerate(memory)]

        assert growth(samples(50, 100, 104, 102, 110)) == pytest.approx(0.1)
        assert growth(samples(50)) is None


class TestTables:
    def test_ratios_are_by_round(self) -> None:
        def played(*rates: Any) -> Any:
            return [Round(rate, 1.0, 2.0, 10 / rate, 0) for rate in rates]

        rounds = {"motet": played(100, 300), "other": [*played(50), None], "third": [None, None]}
        lines = table_of("some, 64 connections", rounds, {"fourth": "not\n installed"}).splitlines()
        assert "2.00 (2.00 to 2.00)" in lines[2]
        assert lines[3].split() == ["third", "failed"]
        assert lines[4] == "fourth: not installed"
