"""Totals are true across real processes, also when they are killed."""

import fcntl
import os

import pytest

from motet.serving.observability import counters as cells_module
from motet.serving.observability.counters import NAMES, Counters
from motet.serving.observability.errors import Errors
from motet.serving.observability.metrics import GraphMetrics
from motet.serving.observability.totals import MANY, Totals
from serving.observability.observability_parts import Counter, numbers, total


@pytest.fixture
def counters():
    made = []

    def start(folder, **more):
        made.append(Counter(folder, **more))
        return made[-1]

    yield start
    for each in made:
        each.kill()


def names_in(folder):
    return {path.name for path in folder.glob(f"*{NAMES}")}


def test_processes_add_up_and_a_kill_takes_nothing_away(tmp_path, counters):
    three = [counters(tmp_path) for _ in range(3)]
    for each in three:
        each.counted()
    reader = Totals(tmp_path)
    before = reader.read()
    assert before.processes == 3
    assert total(tmp_path, "motet_requests", outcome="ok") == 60
    assert total(tmp_path, "motet_rows") == 90
    assert total(tmp_path, "motet_in_flight") == 21
    three[0].kill()
    after = reader.read()
    assert after.processes == 2
    assert total(tmp_path, "motet_requests", outcome="ok") == 60
    assert total(tmp_path, "motet_in_flight") == 14  # what the dead one had in flight is gone
    for name in ("motet_queue_seconds", "motet_request_seconds", "motet_compute_seconds", "motet_batch_rows"):
        [(_, was)], [(_, now)] = list(before.of(name)), list(after.of(name))
        assert was.tolist() == now.tolist()
    three[1].again()
    assert total(tmp_path, "motet_requests", outcome="ok") == 61
    reader.close()


def test_a_reader_sees_processes_and_graphs_that_come_later(tmp_path, counters):
    reader = Totals(tmp_path)
    assert reader.read().processes == 0
    counters(tmp_path, graph="first", times=1).counted()
    assert [labels["graph"] for labels, _ in reader.read().of("motet_rows")] == ["first"]
    counters(tmp_path, graph="second", times=2).counted()
    assert {labels["graph"]: int(v[0]) for labels, v in reader.read().of("motet_rows")} == {"first": 3, "second": 6}
    reader.close()


def test_processes_that_name_things_in_another_order_add_up(tmp_path):
    one, other = Counters(tmp_path), Counters(tmp_path)
    for name in ("a", "b"):
        one.values[one.at("counter", "rows", graph=name)] += 1
    for name in ("c", "b", "a"):
        other.values[other.at("counter", "rows", graph=name)] += 10
    assert {labels["graph"]: float(v[0]) for labels, v in numbers(tmp_path).of("rows")} == {"a": 11, "b": 11, "c": 10}


def test_the_latest_is_the_largest_of_all(tmp_path):
    for when in (5.0, 9.0, 7.0):
        cells = Counters(tmp_path)
        cells.values[cells.at("latest", "last_batch")] = when
        cells.close()
    assert total(tmp_path, "last_batch") == 9.0


def dead(folder, graph="a", rows=1, error=""):
    """What a process leaves that has died."""
    cells = Counters(folder)
    GraphMetrics(cells, graph).played([0.1], rows, 0.1, 0.1)
    if error:
        Errors(folder / f"{cells.id}.errors").add(graph, "", "ValueError", error)
    cells.values[cells.at("gauge", "motet_in_flight", graph=graph)] = 1
    cells.close()
    return cells.id


def test_many_dead_processes_become_one_file_and_the_totals_stay(tmp_path):
    reader = Totals(tmp_path)
    for number in range(MANY - 1):
        dead(tmp_path, rows=number, error=f"error {number}")
    reader.merge()
    assert len(names_in(tmp_path)) == MANY - 1
    dead(tmp_path, graph="b")
    before = {labels["graph"]: v.tolist() for labels, v in reader.read().of("motet_queue_seconds")}
    living = Counters(tmp_path)
    reader.merge()
    assert len(names_in(tmp_path)) == 2
    assert {labels["graph"]: v.tolist() for labels, v in reader.read().of("motet_queue_seconds")} == before
    assert {labels["graph"]: v.tolist() for labels, v in numbers(tmp_path).of("motet_queue_seconds")} == before
    assert total(tmp_path, "motet_in_flight") is None or total(tmp_path, "motet_in_flight") == 0
    assert [error["message"] for error in reader.errors()] == [f"error {number}" for number in range(MANY - 2, -1, -1)]
    living.close()
    for _ in range(5):
        for _ in range(MANY):
            dead(tmp_path, graph="b")
        reader.merge()
    assert len(list(tmp_path.iterdir())) <= 3 * 2 + 1
    assert total(tmp_path, "motet_rows", graph="b") == 1 + 5 * MANY
    reader.close()


def test_a_process_that_dies_while_it_puts_files_together_counts_nothing_twice(tmp_path, monkeypatch):
    for _ in range(MANY):
        dead(tmp_path, rows=2)
    dying = Totals(tmp_path)
    monkeypatch.setattr(dying, "_remove", lambda name: None)  # it wrote the sum, and removed nothing
    dying.merge()
    dying.close()
    assert len(names_in(tmp_path)) == MANY + 1
    assert total(tmp_path, "motet_rows") == 2 * MANY
    reader = Totals(tmp_path)
    reader.merge()
    assert len(names_in(tmp_path)) == 1
    assert total(tmp_path, "motet_rows") == 2 * MANY
    reader.close()


def test_a_reader_that_has_files_open_counts_on_while_they_are_put_together(tmp_path):
    reader, other = Totals(tmp_path), Totals(tmp_path)
    for _ in range(MANY):
        dead(tmp_path)
    assert [float(v[0]) for _, v in reader.read().of("motet_rows")] == [MANY]
    with other._listing(fcntl.LOCK_EX):  # as while files are put together
        assert [float(v[0]) for _, v in reader.read().of("motet_rows")] == [MANY]
        reader.merge()
    assert len(names_in(tmp_path)) == MANY
    reader.close()
    other.close()


def test_what_has_no_room_is_counted_nowhere_and_said_once(tmp_path, caplog):
    cells = Counters(tmp_path, capacity=cells_module.SPARE + 2)
    places = [cells.at("counter", "rows", graph=f"graph {number}") for number in range(50)]
    for place in places:
        cells.values[place] += 1
    assert sum(float(v[0]) for _, v in numbers(tmp_path).of("rows")) == 2
    assert [record.message for record in caplog.records] == [
        "there are too many metrics; rows{'graph': 'graph 2'} and later ones are not shown"
    ]


def test_the_folder_is_for_its_owner_alone(tmp_path):
    assert os.stat(Counters(tmp_path / "deep" / "folder").folder).st_mode & 0o077 == 0
