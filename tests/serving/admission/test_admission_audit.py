import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from helpers.until import until
from motet.errors import GraphError
from motet.serving.admission import AuditConfig, AuditEntry, audit_log


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def all_lines(folder):
    return [line for file in folder.glob("audit.jsonl*") if file.suffix != ".lock" for line in lines(file)]


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "audit.jsonl")


class Held:
    """Keeps a log from writing, as a disk would that hangs."""

    def __init__(self, file):
        self.lock = open(f"{file}.lock", "ab")  # noqa: SIM115

    def __enter__(self):
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def __exit__(self, *error):
        self.lock.close()


def test_what_was_written_is_in_the_file_when_the_log_is_closed(file):
    log = audit_log(AuditConfig(file))
    for number in range(2500):
        assert log.put(AuditEntry(at=number + 0.5, name="alice", kind="key", klass="gold", rows=3, status=200))
    log.close()
    found = lines(file)
    assert [line["at"] for line in found] == [number + 0.5 for number in range(2500)]
    assert found[0] == {"at": 0.5, "name": "alice", "kind": "key", "class": "gold", "status": 200, "rows": 3}
    assert (log.num_written, log.num_dropped) == (2500, 0)
    assert os.stat(file).st_mode & 0o077 == 0


def test_names_with_line_breaks_stay_in_their_line(file):
    log = audit_log(AuditConfig(file))
    log.put(AuditEntry(at=1, name='a\n{"at": 2}\u2028', asked="POST /\r\n"))
    log.close()
    assert Path(file).read_bytes().count(b"\n") == 1
    assert json.loads(Path(file).read_text())["name"] == 'a\n{"at": 2}\u2028'


def test_a_disk_that_hangs_makes_nobody_wait_and_what_is_too_much_is_counted(file):
    log = audit_log(AuditConfig(file, waiting=100))
    with Held(file):
        kept = sum(log.put(AuditEntry(at=1)) for _ in range(5000))
    log.close()
    assert 100 <= kept <= 100 + 2 * 1000
    found = lines(file)
    assert sum("at" in line for line in found) == kept
    assert sum(line.get("dropped", 0) for line in found) == log.num_dropped == 5000 - kept


def test_full_files_are_put_aside_and_the_oldest_deleted(file, tmp_path):
    log = audit_log(AuditConfig(file, file_bytes=2000, files=3))
    for number in range(50):
        before = log.num_written
        log.put(AuditEntry(at=number, name="x" * 500))
        until(lambda before=before: log.num_written > before)  # type: ignore[misc]
    log.close()
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.lock"]
    kept = [line["at"] for name in ("audit.jsonl.2", "audit.jsonl.1", "audit.jsonl") for line in lines(tmp_path / name)]
    assert kept == list(range(50 - len(kept), 50))
    assert all((tmp_path / name).stat().st_size < 2000 + 600 for name in names)


def test_logs_that_share_a_file_lose_nothing_when_it_rotates(file, tmp_path):
    logs = [audit_log(AuditConfig(file, file_bytes=20_000, files=100)) for _ in range(3)]

    def write(log, who):
        for number in range(1000):
            log.put(AuditEntry(at=number, name=str(who)))

    writing = [threading.Thread(target=write, args=(log, who)) for who, log in enumerate(logs)]
    for each in writing:
        each.start()
    for each in writing:
        each.join()
    for log in logs:
        log.close()
    found = [(line["name"], line["at"]) for line in all_lines(tmp_path)]
    assert sorted(found) == sorted((str(who), number) for who in range(3) for number in range(1000))


def test_a_file_that_cannot_be_written_is_counted_and_tried_again(file, tmp_path, caplog):
    folder = tmp_path / "logs"
    log = audit_log(AuditConfig(str(folder / "audit.jsonl"), file_bytes=1, files=2))
    log.put(AuditEntry(at=1))
    until(lambda: log.num_written)
    aside = folder / "audit.jsonl.1"
    aside.mkdir()
    (aside / "in the way").touch()
    log.put(AuditEntry(at=2))
    until(lambda: "audit.jsonl cannot be written" in caplog.text)
    assert log.num_dropped == 1
    (aside / "in the way").unlink()
    aside.rmdir()
    log.put(AuditEntry(at=3))
    log.close()
    assert sorted(line["at"] for line in all_lines(folder) if "dropped" not in line) == [1, 3]
    assert (log.num_written, log.num_dropped) == (2, 1)


def test_an_entry_that_cannot_be_written_as_text_harms_no_other(file):
    log = audit_log(AuditConfig(file))
    for name in ("alice", "\ud800", "bob"):
        log.put(AuditEntry(at=1, name=name))
    log.close()
    assert [line["name"] for line in lines(file) if "dropped" not in line] == ["alice", "bob"]
    assert (log.num_written, log.num_dropped) == (2, 1)


def test_a_closed_log_takes_nothing_more(file):
    log = audit_log(AuditConfig(file))
    log.close()
    assert not log.put(AuditEntry(at=1))
    log.close()
    assert log.num_dropped == 1


def test_a_file_that_cannot_be_opened_is_told_when_a_server_starts(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphError, match=r"admission.audit.file: .*cannot be written"):
        audit_log(AuditConfig(str(tmp_path / "file" / "audit.jsonl")))
