"""Files that steps write and read: each consumer gets what it depends on, and what changes meanwhile is not kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.errors import StepError, WorkflowError
from motet.workflow.memo.cache import Cache
from motet.workflow.play.session import Session


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@mt.step(cache=True)
def write(text: Any) -> Any:
    path = Path("out.txt")
    path.write_text(text)
    return path


@mt.step(cache=True)
def write_too(text: Any) -> Any:
    path = Path("out.txt")
    path.write_text(text)
    return mt.File(path)


@mt.step(cache=True)
def write_folder(name: Any) -> Any:
    folder = Path("folder")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(name)
    return folder


@mt.step
def read(path: Any) -> Any:
    return Path(path).read_text()


@mt.step(cache=True)
def read_kept(path: Any) -> Any:
    return Path(path).read_text()


@mt.step(process=True)
def read_apart(path: Any) -> Any:
    return Path(path).read_text()


@mt.step
def names(folder: Any) -> Any:
    return sorted(each.name for each in folder.iterdir())


@mt.step
def all_names(folder: Any) -> Any:
    walked = os.walk(folder, followlinks=True)
    return sorted(
        os.path.relpath(os.path.join(at, name), folder) for at, inside, names in walked for name in (*inside, *names)
    )


@mt.step
def hand_on(path: Any) -> Any:
    return path


@mt.step
def add_to(path: Any) -> Any:
    path.write_text(path.read_text() + "!")
    return path


@mt.workflow
def in_order(reader: Any, first: Any, second: Any) -> Any:
    one = first("one")
    two = second("two").after(one)
    return [reader(one).after(two), reader(two)]


@pytest.mark.parametrize("reader", [read, read_kept, read_apart])
@pytest.mark.parametrize("writers", [(write, write), (write, write_too)])
def test_each_consumer_of_one_path_gets_its_own_content(reader: Any, writers: Any) -> None:
    for _ in range(3):
        assert in_order(reader, *writers).run(resume=False).output == ["one", "two"]


def test_what_is_handed_on_keeps_its_content_and_its_name() -> None:
    @mt.workflow
    def flow(step: Any) -> Any:
        one = write("one")
        two = write("two").after(one)
        return [read(step(one).after(two)), read(step(two)), step(one).after(two), two, one]

    for _ in range(2):
        output = flow(hand_on).run(resume=False).output
        assert output[:2] == ["one", "two"]
        assert [path.read_text() for path in output[2:]] == ["one", "two", "one"]
        assert {path.name for path in output[2:]} == {"out.txt"}
        assert flow(add_to).run(resume=False).output[:2] == ["one!", "two!"]


def test_a_folder_holds_only_what_its_step_has_seen_in_it() -> None:
    @mt.workflow
    def flow() -> Any:
        one = write_folder("one")
        two = write_folder("two").after(one)
        return [names(one).after(two), names(two)]

    for _ in range(2):
        assert flow().run(resume=False).output == [["one.txt"], ["one.txt", "two.txt"]]


def test_empty_folders_and_what_links_lead_to_are_put_back() -> None:
    @mt.step(cache=True)
    def lay(text: Any) -> Any:
        for each in ("folder/empty", "folder/deep/empty", "far/below"):
            Path(each).mkdir(parents=True)
        Path("far/below/a.txt").write_text(text)
        Path("folder/link").symlink_to("../far")
        return mt.File("folder")

    @mt.workflow
    def flow() -> Any:
        return all_names(lay("one"))

    first = flow().run(resume=False)
    shutil.rmtree("folder")
    shutil.rmtree("far")
    again = flow().run(resume=False)
    assert again.steps[0].state == "hit"
    assert first.output == again.output == ["deep", "deep/empty", "empty", "link", "link/below", "link/below/a.txt"]
    assert Path("folder/link/below/a.txt").read_text() == "one"


def test_a_folder_whose_links_lead_round_in_a_circle_is_told_of() -> None:
    for each in ("one", "two"):
        Path(each).mkdir()
    Path("one/two").symlink_to("../two")
    Path("two/one").symlink_to("../one")

    @mt.workflow
    def flow() -> Any:
        return names(mt.File("one"))

    with pytest.raises(WorkflowError, match=r"one/two/one.*|Too many levels of symbolic links"):
        flow().run(resume=False)


@pytest.mark.parametrize("kind", [Path, mt.File])
def test_programs_that_are_put_back_can_be_run(kind: Any) -> None:
    @mt.step(cache=True)
    def lay(runs: Any) -> Any:
        Path("folder/in").mkdir(parents=True, exist_ok=True)
        for each in ("run.sh", "folder/run.sh", "folder/in/run.sh", "folder/data.sh"):
            Path(each).write_text("#!/bin/sh\necho ran\n")
            Path(each).chmod(0o755 if runs and "data" not in each else 0o644)
        return kind("run.sh"), kind("folder")

    @mt.step(cache=True)
    def which(made: Any) -> Any:
        inside = [os.fspath(made[0]), *(os.path.join(made[1], each) for each in ("run.sh", "in/run.sh", "data.sh"))]
        return [os.access(each, os.X_OK) for each in inside]

    @mt.workflow
    def flow(runs: Any) -> Any:
        made = lay(runs)
        return which(made), made

    for runs, state in ((True, "done"), (False, "done"), (True, "hit"), (False, "hit")):
        run = flow(runs).run(resume=False)
        assert [each.state for each in run.steps] == [state, state]
        wanted = [runs, runs, runs, False]
        assert run.output[0] == wanted
        shutil.rmtree("folder")
        Path("run.sh").unlink()
        script, folder = flow(runs).run(resume=False).output[1]
        if runs:
            for each in (script, os.path.join(folder, "in/run.sh")):
                assert subprocess.run([os.path.abspath(each)], capture_output=True, check=True).stdout == b"ran\n"
        assert not os.access(os.path.join(folder, "data.sh"), os.X_OK)
    kept = flow(True).run(resume=False).output[1]
    programs = [Path(kept[0]), Path(kept[1], "in", "run.sh")]
    for each in programs:
        each.chmod(0o644)  # and nothing else of it
    flow(True).run(resume=False)
    assert all(os.access(each, os.X_OK) for each in programs)


def test_a_lone_path_stays_where_it_is() -> None:
    @mt.workflow
    def flow() -> Any:
        return hand_on(write("one"))

    run = flow().run()
    assert run.output == Path("out.txt")
    Path("out.txt").write_text("another")
    assert run.output.read_text() == "one"


@pytest.mark.parametrize("late", [False, True])
def test_steps_that_write_one_path_at_the_same_time_are_refused(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    both, refused = threading.Barrier(2, timeout=60), threading.Event()
    claim, put = Session.claim_files, Cache.put

    def claimed(*args: Any) -> None:
        try:
            claim(*args)
        except StepError:
            refused.set()
            raise

    def put_late(*args: Any) -> None:
        assert refused.wait(60)
        put(*args)

    if late:  # the other keeps its result when it has been refused
        monkeypatch.setattr(Session, "claim_files", claimed)
        monkeypatch.setattr(Cache, "put", put_late)

    @mt.step(cache=True)
    def side_by_side(text: Any) -> Any:
        both.wait()
        Path("out.txt").write_text(text)
        both.wait()
        return Path("out.txt")

    @mt.workflow
    def flow() -> Any:
        return [side_by_side("a"), side_by_side("b")]

    for _ in range(2):  # nothing of it was kept
        refused.clear()
        with pytest.raises(StepError, match="ran at the same time and both returned out.txt"):
            flow().run(resume=False)


def test_one_who_reads_while_another_writes_reads_again() -> None:
    reading, written = threading.Event(), threading.Event()
    calls = []

    @mt.step
    def slow_write(text: Any) -> Any:
        if text == "two":
            assert reading.wait(60)
        Path("out.txt").write_text(text)
        return Path("out.txt") if text == "one" else told()

    def told() -> Any:
        written.set()
        return Path("out.txt")

    @mt.step(cache=True)
    def slow_read(path: Any) -> Any:
        calls.append(path)
        reading.set()
        assert written.wait(60)
        return path.read_text()

    @mt.workflow
    def flow() -> Any:
        one = slow_write("one")
        return slow_read(one), slow_write("two").after(hand_on(one))

    assert flow().run().output[0] == "one"
    assert len(calls) == 2


@pytest.mark.parametrize("process", [False, True])
def test_a_named_file_that_changes_while_a_step_runs_is_not_kept(process: bool) -> None:
    Path("r.txt").write_text("A")
    use = change_apart if process else change

    @mt.workflow
    def flow(text: Any) -> Any:
        return use(mt.File("r.txt"), "new.txt")

    Path("new.txt").write_text("B")
    run = flow("B").run()
    assert (run.output, run.steps[0].state) == ("B", "done")
    assert "r.txt was changed while it ran, so its result is not kept" in run.steps[0].why
    Path("r.txt").write_text("A")
    Path("new.txt").unlink()
    assert flow("A").run().output == "A"
    assert flow("A").run().steps[0].state == "hit"


def _changed(file: Any, new: Any) -> Any:
    if Path(new).exists():
        Path(file).write_text(Path(new).read_text())
    return Path(file).read_text()


@mt.step(cache=True)
def change(file: Any, new: Any) -> Any:
    return _changed(file, new)


@mt.step(cache=True, process=True)
def change_apart(file: Any, new: Any) -> Any:
    return _changed(file, new)


def test_a_folder_that_grows_while_a_step_runs_is_not_kept() -> None:
    Path("data").mkdir()
    Path("data/a").write_text("a")

    @mt.step(cache=True)
    def count(folder: Any) -> Any:
        Path("data/b").write_text("b")
        return len(list(Path(folder).iterdir()))

    @mt.workflow
    def flow() -> Any:
        return count(mt.File("data"))

    assert "data was changed while it ran" in flow().run().steps[0].why
    assert flow().run().steps[0].state == "done"
    assert flow().run().steps[0].state == "hit"
