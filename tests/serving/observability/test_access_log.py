"""The access log is written by one thread, bounded in memory and on disk, and never makes anyone wait."""

import json
import os
import sys
import threading

import pytest

from motet.errors import GraphError, MissingExtraError
from motet.serving.config.observability import LogConfig, ObservabilityConfig, TraceConfig
from motet.serving.observability.access_log import Access, access_log
from motet.serving.observability.observability import Observability
from motet.system.line_writer import Lines, LineWriter
from serving.observability.observability_parts import total


def entry(number=0, **more):
    return Access(1_795_000_000.25, "POST", f"/v2/models/m{number}/infer", 200, 0.0123456789, **more)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_who_asked_what_and_how_long_it_took(tmp_path):
    log = access_log(LogConfig(str(tmp_path / "logs" / "access.jsonl")))
    assert log.put(entry(1, rows=3, name="ann", sent_bytes=99, trace="ab"))
    assert log.put(entry(2, error="DeadlineError"))
    log.close()
    first, second = lines_of(tmp_path / "logs" / "access.jsonl")
    assert first == {
        "time": "2026-11-18T11:06:40.250+00:00",
        "method": "POST",
        "path": "/v2/models/m1/infer",
        "status": 200,
        "seconds": 0.012346,
        "sent_bytes": 99,
        "name": "ann",
        "rows": 3,
        "trace": "ab",
    }
    assert second["error"] == "DeadlineError"
    assert log.num_written == 2
    assert os.stat(tmp_path / "logs" / "access.jsonl").st_mode & 0o077 == 0


def test_a_path_cannot_break_a_line_and_is_cut(tmp_path):
    log = access_log(LogConfig(str(tmp_path / "a")))
    log.put(Access(1.0, "GET", '/"\n{"status": 200}\r\n' + "x" * 5000, 404, 0.1))
    log.put(Access(1.0, "GET", "/half \ud800", 404, 0.1))  # cannot be written: counted, and the others are
    log.put(entry(1))
    log.close()
    first, second = [line for line in lines_of(tmp_path / "a") if "dropped" not in line]
    assert first["path"].startswith('/"\n{"status": 200}\r\n')
    assert len(first["path"]) == 2048
    assert second["path"] == "/v2/models/m1/infer"
    assert log.num_dropped == 1


def test_lines_beyond_the_bound_are_dropped_counted_and_said(tmp_path):
    lines = Lines(LogConfig(str(tmp_path / "a"), waiting=3), json_line, where="log")
    assert [lines.put(number) for number in range(5)] == [True, True, True, False, False]
    assert lines.num_dropped == 2
    while lines.flush():
        pass
    assert lines.put("room again")
    lines.flush()
    lines.close()
    got = lines_of(tmp_path / "a")
    assert got[:3] == [0, 1, 2]
    assert got[3]["dropped"] == 2
    assert got[4:] == ["room again"]


def json_line(record):
    return json.dumps(record).encode()


def test_files_are_bounded_and_no_line_is_cut(tmp_path):
    lines = Lines(LogConfig(str(tmp_path / "a"), file_bytes=4096, files=3), json_line, where="log")
    for number in range(200):
        lines.put({"number": number, "text": "x" * 90})
        lines.flush()
    lines.close()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.1", "a.2", "a.lock"}
    kept = [line["number"] for name in ("a.2", "a.1", "a") for line in lines_of(tmp_path / name)]
    assert kept == list(range(200 - len(kept), 200))
    assert all((tmp_path / name).stat().st_size < 4096 + 200 for name in ("a", "a.1", "a.2"))


def test_one_file_alone_begins_anew(tmp_path):
    lines = Lines(LogConfig(str(tmp_path / "a"), file_bytes=4096, files=1), json_line, where="log")
    for number in range(100):
        lines.put({"number": number, "text": "x" * 90})
        lines.flush()
    lines.close()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a.lock"}
    assert lines_of(tmp_path / "a")[-1]["number"] == 99


def test_a_file_that_was_moved_away_is_made_anew(tmp_path):
    lines = Lines(LogConfig(str(tmp_path / "a")), json_line, where="log")
    lines.put(1)
    lines.flush()
    (tmp_path / "a").rename(tmp_path / "moved")
    lines.put(2)
    lines.flush()
    lines.close()
    assert (lines_of(tmp_path / "moved"), lines_of(tmp_path / "a")) == ([1], [2])


def test_processes_that_share_a_file_rotate_it_once(tmp_path):
    config = LogConfig(str(tmp_path / "a"), file_bytes=4096, files=9)
    both = [Lines(config, json_line, where="log") for _ in range(2)]
    for number in range(100):
        for lines in both:
            lines.put({"number": number, "text": "x" * 90})
            lines.flush()
    for lines in both:
        lines.close()
    everything = [line["number"] for path in tmp_path.glob("a*") if path.suffix != ".lock" for line in lines_of(path)]
    assert sorted(everything) == sorted([*range(100), *range(100)])


def test_a_disk_that_cannot_be_written_loses_lines_and_says_so_once(tmp_path, caplog):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    (tmp_path / "a").symlink_to("/dev/full")
    lines = Lines(LogConfig(str(tmp_path / "a")), json_line, where="log")
    for number in range(3):
        lines.put(number)
        lines.flush()
    lines.close()
    assert lines.num_dropped == 3
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1


def test_a_reader_that_does_not_read_does_not_stop_those_who_put(tmp_path):
    read, write = os.pipe()
    lines = LineWriter(LogConfig(str(tmp_path / "a"), waiting=50), where="log")
    os.dup2(write, lines._file._file)  # a pipe that nobody reads: the thread stands still once it is full
    text = "x" * 4096
    put = [lines.put(text) for _ in range(10_000)]
    assert not all(put)
    assert len(lines._waiting) <= 50
    lines.close(timeout_s=0.2)
    os.close(read)
    os.close(write)


def test_standard_error_takes_lines_too(capfd):
    lines = LineWriter(LogConfig("stderr"), where="log")
    lines.put({"a": 1})
    lines.close()
    assert capfd.readouterr().err == '{"a":1}\n'


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path):
    with pytest.raises(GraphError, match=r"observability.access_log: '.*' cannot be written: Is a directory"):
        access_log(LogConfig(str(tmp_path)))


def test_the_log_can_be_changed_while_the_server_runs(tmp_path):
    one, two = (ObservabilityConfig(access_log=LogConfig(str(tmp_path / name))) for name in ("one", "two"))
    seen = Observability(ObservabilityConfig(), tmp_path / "seen")
    seen.wrote(entry(0))  # nobody writes it
    seen.take(one)
    seen.wrote(entry(1))
    seen.take(two)
    seen.wrote(entry(2))
    with pytest.raises(GraphError):
        seen.take(ObservabilityConfig(access_log=LogConfig(str(tmp_path))))
    seen.wrote(entry(3))
    seen.close()
    assert [line["path"] for line in lines_of(tmp_path / "one")] == ["/v2/models/m1/infer"]
    assert [line["path"] for line in lines_of(tmp_path / "two")] == ["/v2/models/m2/infer", "/v2/models/m3/infer"]


def test_a_log_that_is_not_taken_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    seen, before = Observability(ObservabilityConfig(), tmp_path / "seen"), threading.enumerate()
    with pytest.raises(MissingExtraError):
        seen.take(ObservabilityConfig(access_log=LogConfig(str(tmp_path / "one")), trace=TraceConfig()))
    assert seen.access is None
    assert {*threading.enumerate()} <= {*before}
    seen.close()


def test_lost_lines_are_shown_as_a_metric_also_when_the_log_has_changed(tmp_path):
    one, two = (ObservabilityConfig(access_log=LogConfig(str(tmp_path / name), waiting=1)) for name in ("one", "two"))
    seen = Observability(one, tmp_path / "seen")
    dropped = 0
    for config in (two, one):
        while not seen.access.num_dropped:
            seen.wrote(entry(0))
        seen.wrote(entry(0))
        dropped += seen.access.num_dropped
        seen.take(config)
    seen.status()
    assert total(tmp_path / "seen", "motet_log_lines_dropped", log="access") >= dropped >= 2
    seen.close()
