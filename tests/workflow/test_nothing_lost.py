"""What is finished reaches the steps that need it: on full disks, in read-only caches, pickled or not, after a death."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.errors import WorkflowError
from motet.workflow.memo import cache as cache_module
from motet.workflow.memo.artifacts import Artifacts
from motet.workflow.memo.cache import cache_folder, home_folder
from motet.workflow.play.journal import Journal
from motet.workflow.record import logs
from motet.workflow.record.logs import Lenient
from motet.workflow.record.runs import RunRecord
from workflow import flow_steps


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_retries_cover_processes_that_are_killed_crash_or_exit() -> None:
    hows = ["kill", "crash", "exit", "sys.exit"]
    run = flow_steps.deaths(hows).run(threads=4)
    assert run.output == (hows, "left")
    assert [each.attempts for each in run.steps] == [2] * 5


def test_what_pickle_cannot_write_reaches_steps_here_and_in_other_processes() -> None:
    run = flow_steps.unwritten().run()
    assert run.output == [(2.0, [1.0], True), (4.0, [2.0], True), (6.0, [3.0], True), (8.0, [4.0], True)]
    assert "its result cannot be written, so it is not kept: AttributeError" in run.step("trained").why


def test_lists_that_hold_themselves_or_go_deep_reach_the_steps_that_take_them() -> None:
    assert flow_steps.odd_lists().run().output == (1, 900)


def test_what_no_other_process_can_have_is_said_at_once_and_not_tried_again() -> None:
    step = flow_steps.unsent().run(check=False).steps[0]
    assert step.attempts == 1
    assert "cannot be sent to the others: cannot pickle '_thread.lock' object" in step.error


@pytest.mark.parametrize("spare", [True, False])
def test_results_that_a_full_disk_has_no_room_for_reach_their_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spare: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder of artifacts is a file, so that nothing can be written there, by no process; with room elsewhere, or not."""
    (cache_folder() / "entries").mkdir(parents=True)
    (cache_folder() / "artifacts").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path if spare else tmp_path / "none"))
    run = flow_steps.full_disk(4).run()
    assert run.output == [[1.0, 3.0, 5.0, 7.0], [2.0, 4.0, 6.0, 8.0], 1.5]
    assert run.state == "done"
    assert "cannot be written" in run.step("counted").why
    told = [
        each.message
        for each in caplog.records
        if "results reach the steps of this run, and are not kept" in each.message
    ]
    assert len(told) == 1, "once a run"
    assert str(cache_folder()) in told[0]
    assert bool(list(tmp_path.glob("motet-full_disk-*"))) == spare
    del run
    assert not list(tmp_path.glob("motet-full_disk-*"))
    shutil.rmtree(cache_folder() / "entries")
    (cache_folder() / "artifacts").unlink()
    assert flow_steps.full_disk(4).run().step("counted").state == "done", "nothing was noted that is not there"


def test_entries_and_notes_that_cannot_be_written_fail_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    @mt.step(cache=True)
    def kept() -> Any:
        return 1

    @mt.step
    def plain(x: Any) -> Any:
        return x + 1

    @mt.workflow
    def flow() -> Any:
        return plain(kept())

    monkeypatch.setattr(cache_module, "write_whole", full)
    monkeypatch.setattr(Journal, "add", full)
    run = flow().run()
    assert run.output == 2
    assert [f"({os.strerror(errno.ENOSPC)})" in each.why for each in run.steps] == [True, True]


def test_what_only_the_spare_folder_has_is_not_noted_for_later_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put = Artifacts._put
    monkeypatch.setattr(
        Artifacts, "_put", lambda self, leaf, root: full() if root == self.root else put(self, leaf, root)
    )
    assert flow_steps.full_disk(3).run().output[0] == [1.0, 3.0, 5.0]
    assert not list((cache_folder() / "entries").glob("*/*.json"))


READ_ONLY = """
import sys
import motet as mt
sys.path.insert(0, sys.argv[1])
from workflow import flow_steps
for n in (4, 5):
    run = flow_steps.full_disk(n).run()
    print(run.step("counted").state, run.output[2])
"""


def test_a_read_only_cache_is_read_and_what_it_lacks_is_computed(tmp_path: Path) -> None:
    """A disk that is mounted so, as CI mounts the cache of the main branch."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounts need namespaces of users")
    assert flow_steps.full_disk(4).run().output[2] == 1.5
    cache = str(cache_folder())
    mount = (
        f"mount --bind {cache} {cache} && mount -o remount,bind,ro {cache} && exec {sys.executable} -c '{READ_ONLY}' "
    )
    command = [*alone, "sh", "-c", mount + str(Path(__file__).parents[1])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.stdout.splitlines() == ["hit 1.5", "done 2.0"], ended.stderr
    assert ended.stderr.count("cannot be written (Read-only file system)") == 1, "by the run that misses"


def test_files_that_there_was_no_room_to_keep_are_never_taken_for_what_another_step_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps return one path, beside a lambda, so that nothing of it is kept: the first one's is gone, and that is said."""

    @mt.step
    def write(n: Any) -> Any:
        (tmp_path / "model").write_text(str(n))
        return {"path": tmp_path / "model", "scale": lambda x: x}

    @mt.step
    def read(made: Any) -> Any:
        return made["path"].read_text()

    @mt.workflow
    def flow() -> Any:
        first = write(1)
        second = write(2).after(first)
        return read(first).after(second), read.named("last")(second)

    run = flow().run(check=False)
    assert run.step("last").state == "done"
    assert "model has been changed since a step returned it" in run.step("read").error


def test_a_record_that_cannot_be_written_ends_no_run(caplog: pytest.LogCaptureFixture) -> None:
    @mt.step
    def fill() -> Any:
        base = RunRecord.of(home_folder())._base
        (pages,) = base.execute("pragma page_count").fetchone()
        base.execute(f"pragma max_page_count={pages}")
        return "x" * 100

    @mt.step
    def number(n: Any) -> Any:
        return n

    @mt.workflow
    def flow() -> Any:
        first = fill()
        return [number.named(f"number-{i}-{'x' * 200}")(i) for i in range(100)], first

    run = flow().run()
    assert run.output == (list(range(100)), "x" * 100)
    assert "the record of runs cannot be written: database or disk is full; the run goes on" in caplog.text
    record = RunRecord.of(home_folder())
    record._base.execute("pragma max_page_count=1000000")
    assert record.run(run.id).state in ("done", "running")


def test_a_record_that_cannot_be_begun_ends_the_run_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    @mt.step
    def work() -> None:
        ran.append(1)

    @mt.workflow
    def flow() -> None:
        work()

    record = RunRecord.of(home_folder())
    record._base.execute("pragma query_only=true")
    with pytest.raises(WorkflowError, match="the record of runs cannot be written"):
        flow().run()
    record._base.execute("pragma query_only=false")
    assert not ran


def test_prints_that_nobody_has_room_for_fail_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").touch()  # no folder, so no log can be made in it

    @mt.step
    def talks() -> Any:
        sys.stdout.write("a" * 100_000)
        sys.stdout.flush()
        return 1

    @mt.workflow
    def flow() -> Any:
        return talks()

    monkeypatch.setattr(logs, "log_file", lambda folder, step: tmp_path / "logs" / step)
    assert flow().run(capture=True).output == 1
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as file:
        lenient = Lenient(file)
        assert lenient.write("a" * 100_000) == 100_000
        lenient.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
