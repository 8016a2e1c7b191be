"""Files that steps write and read: each consumer gets what it depends on, and what changes meanwhile is not kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import motet as mt
from motet.errors import StepError
from motet.workflow.memo.cache import Cache
from motet.workflow.play.session import Session


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@mt.step(cache=True)
def write(text):
    path = Path("out.txt")
    path.write_text(text)
    return path


@mt.step(cache=True)
def write_too(text):
    path = Path("out.txt")
    path.write_text(text)
    return mt.File(path)


@mt.step(cache=True)
def write_folder(name):
    folder = Path("folder")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(name)
    return folder


@mt.step
def read(path):
    return Path(path).read_text()


@mt.step(cache=True)
def read_kept(path):
    return Path(path).read_text()


@mt.step(process=True)
def read_apart(path):
    return Path(path).read_text()


@mt.step
def names(folder):
    return sorted(each.name for each in folder.iterdir())


@mt.step
def hand_on(path):
    return path


@mt.step
def add_to(path):
    path.write_text(path.read_text() + "!")
    return path


@mt.workflow
def in_order(reader, first, second):
    one = first("one")
    two = second("two").after(one)
    return [reader(one).after(two), reader(two)]


@pytest.mark.parametrize("reader", [read, read_kept, read_apart])
@pytest.mark.parametrize("writers", [(write, write), (write, write_too)])
def test_each_consumer_of_one_path_gets_its_own_content(reader, writers):
    for _ in range(3):
        assert in_order(reader, *writers).run(resume=False).output == ["one", "two"]


def test_what_is_handed_on_keeps_its_content_and_its_name():
    @mt.workflow
    def flow(step):
        one = write("one")
        two = write("two").after(one)
        return [read(step(one).after(two)), read(step(two)), step(one).after(two), two, one]

    for _ in range(2):
        output = flow(hand_on).run(resume=False).output
        assert output[:2] == ["one", "two"]
        assert [path.read_text() for path in output[2:]] == ["one", "two", "one"]
        assert {path.name for path in output[2:]} == {"out.txt"}
        assert flow(add_to).run(resume=False).output[:2] == ["one!", "two!"]


def test_a_folder_holds_only_what_its_step_has_seen_in_it():
    @mt.workflow
    def flow():
        one = write_folder("one")
        two = write_folder("two").after(one)
        return [names(one).after(two), names(two)]

    for _ in range(2):
        assert flow().run(resume=False).output == [["one.txt"], ["one.txt", "two.txt"]]


def test_a_lone_path_stays_where_it_is():
    @mt.workflow
    def flow():
        return hand_on(write("one"))

    run = flow().run()
    assert run.output == Path("out.txt")
    Path("out.txt").write_text("another")
    assert run.output.read_text() == "one"


@pytest.mark.parametrize("late", [False, True])
def test_steps_that_write_one_path_at_the_same_time_are_refused(late, monkeypatch):
    both, refused = threading.Barrier(2, timeout=60), threading.Event()
    claim, put = Session.claim_files, Cache.put

    def claimed(*args):
        try:
            claim(*args)
        except StepError:
            refused.set()
            raise

    def put_late(*args):
        assert refused.wait(60)
        put(*args)

    if late:  # the other keeps its result when it has been refused
        monkeypatch.setattr(Session, "claim_files", claimed)
        monkeypatch.setattr(Cache, "put", put_late)

    @mt.step(cache=True)
    def side_by_side(text):
        both.wait()
        Path("out.txt").write_text(text)
        both.wait()
        return Path("out.txt")

    @mt.workflow
    def flow():
        return [side_by_side("a"), side_by_side("b")]

    for _ in range(2):  # nothing of it was kept
        refused.clear()
        with pytest.raises(StepError, match="ran at the same time and both returned out.txt"):
            flow().run(resume=False)


def test_one_who_reads_while_another_writes_reads_again():
    reading, written = threading.Event(), threading.Event()
    calls = []

    @mt.step
    def slow_write(text):
        if text == "two":
            assert reading.wait(60)
        Path("out.txt").write_text(text)
        return Path("out.txt") if text == "one" else told()

    def told():
        written.set()
        return Path("out.txt")

    @mt.step(cache=True)
    def slow_read(path):
        calls.append(path)
        reading.set()
        assert written.wait(60)
        return path.read_text()

    @mt.workflow
    def flow():
        one = slow_write("one")
        return slow_read(one), slow_write("two").after(hand_on(one))

    assert flow().run().output[0] == "one"
    assert len(calls) == 2


@pytest.mark.parametrize("process", [False, True])
def test_a_named_file_that_changes_while_a_step_runs_is_not_kept(process):
    Path("r.txt").write_text("A")
    use = change_apart if process else change

    @mt.workflow
    def flow(text):
        return use(mt.File("r.txt"), "new.txt")

    Path("new.txt").write_text("B")
    run = flow("B").run()
    assert (run.output, run.steps[0].state) == ("B", "done")
    assert "r.txt was changed while it ran, so its result is not kept" in run.steps[0].why
    Path("r.txt").write_text("A")
    Path("new.txt").unlink()
    assert flow("A").run().output == "A"
    assert flow("A").run().steps[0].state == "hit"


def _changed(file, new):
    if Path(new).exists():
        Path(file).write_text(Path(new).read_text())
    return Path(file).read_text()


@mt.step(cache=True)
def change(file, new):
    return _changed(file, new)


@mt.step(cache=True, process=True)
def change_apart(file, new):
    return _changed(file, new)


def test_a_folder_that_grows_while_a_step_runs_is_not_kept():
    Path("data").mkdir()
    Path("data/a").write_text("a")

    @mt.step(cache=True)
    def count(folder):
        Path("data/b").write_text("b")
        return len(list(Path(folder).iterdir()))

    @mt.workflow
    def flow():
        return count(mt.File("data"))

    assert "data was changed while it ran" in flow().run().steps[0].why
    assert flow().run().steps[0].state == "done"
    assert flow().run().steps[0].state == "hit"
