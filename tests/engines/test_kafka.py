"""Topics of Kafka: every message is answered or has failed, once, whatever happens to the process, its group or the broker."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from helpers.kafka_broker import KafkaBroker
from helpers.until import until
from motet.engines.local.streams.address import TopicAddress
from motet.errors import InputError, RunError, TooManyFailuresError, UnknownNameError

GRAPH = """
motet: 1
name: positive
inputs: {x: float32}
nodes: {a: {map: helpers.functions.refuse_negative, inputs: [x]}}
outputs: {y: a}
"""


@pytest.fixture
def graph(tmp_path: Path) -> Any:
    (tmp_path / "g.yaml").write_text(GRAPH)
    return mt.load(tmp_path / "g.yaml")


@pytest.fixture
def topics(kafka: KafkaBroker, request: pytest.FixtureRequest) -> dict[str, str]:
    """Topics of the test alone: addresses by `in`, `out` and `out.failed`."""
    name = request.node.name.replace("[", ".").replace("]", "")
    kafka.topics(*(f"{name}.{each}" for each in ("in", "out", "out.failed")))
    return {each: f"kafka://{kafka.address}/{name}.{each}" for each in ("in", "out", "out.failed")}


def topic(address: str) -> str:
    return address.rpartition("/")[2]


def numbers(rows: Sequence[int]) -> list[dict[str, Any]]:
    """Messages of numbers, each with its key, a header and a time."""
    return [
        {"value": b'{"x": %d, "id": "%d", "price": 1.10}' % (n, n), "key": b"%d" % (n % 7), "headers": [("h", b"%d" % n)],
         "timestamp": 1_000_000 + n}
        for n in rows
    ]  # fmt: skip


def lines(folder: str) -> list[Any]:
    """The objects of all parts of a folder."""
    return [json.loads(line) for part in sorted(Path(folder).glob("*.jsonl")) for line in part.read_text().splitlines()]


def test_answers_and_failures_keep_partition_order_key_headers_and_time(
    kafka: KafkaBroker, topics: Any, graph: Any
) -> None:
    kafka.send(topic(topics["in"]), numbers([*range(40), -1, -2]))
    report = graph.run(topics["in"], topics["out"], until_end=True, window_rows=10, batch_rows=3)
    assert (report.rows, report.answered, report.failed) == (42, 40, 2)
    assert report.failed_output == topics["out.failed"]
    sent = {message.headers()[0][1]: message for message in kafka.read(topic(topics["in"]))}
    answers, failures = kafka.read(topic(topics["out"])), kafka.read(topic(topics["out.failed"]))
    for each in answers:
        came = sent.pop(each.headers()[0][1])
        value = json.loads(came.value())
        assert each.value() == b'{"x":%d,"id":"%d","price":1.10,"y":%d.0}' % (value["x"], value["x"], value["x"])
        assert (each.partition(), each.key(), each.headers()) == (came.partition(), came.key(), came.headers())
        assert each.timestamp() == came.timestamp()
    for number in range(3):
        order = [int(each.headers()[0][1]) for each in answers if each.partition() == number]
        assert order == sorted(order)
    assert {each.headers()[0][1] for each in failures} == sent.keys() == {b"-1", b"-2"}
    for each in failures:
        headers = dict(each.headers())
        came = sent[headers["h"]]
        assert (each.key(), each.value()) == (came.key(), came.value())
        assert (headers["motet.topic"], headers["motet.node"]) == (topic(topics["in"]).encode(), b"a")
        assert (headers["motet.partition"], headers["motet.offset"]) == (
            b"%d" % came.partition(), b"%d" % came.offset()
        )  # fmt: skip
        assert headers["motet.message"].startswith(b"negative: -")


def test_a_folder_has_each_message_once_whoever_reads_it_again(
    kafka: KafkaBroker, topics: Any, graph: Any, tmp_path: Path
) -> None:
    kafka.send(topic(topics["in"]), numbers([*range(30), -5]))
    folder = str(tmp_path / "answers")
    report = graph.run(topics["in"], f"{folder}/", until_end=True, window_rows=7, row_ids="at")
    assert (report.rows, report.failed) == (31, 1)
    found = lines(folder)
    assert sorted(each["x"] for each in found) == [*range(30)]
    sent = {(each.partition(), each.offset()): each for each in kafka.read(topic(topics["in"]))}
    for each in found:
        came, at = sent[each["at"]["partition"], each["at"]["offset"]], each["at"]
        assert {**json.loads(came.value()), "y": each["x"], "at": at} == each
        assert (at["key"], at["headers"], at["timestamp"]) == (
            came.key().decode(), [["h", came.headers()[0][1].decode()]], came.timestamp()[1]
        )  # fmt: skip
    (failure,) = lines(f"{folder}.failed")
    assert failure["value"] == '{"x": -5, "id": "-5", "price": 1.10}'
    assert (failure["node"], failure["message"].partition(" (")[0]) == ("a", "negative: -5")
    again = graph.run(f"{topics['in']}?group=other", f"{folder}/", until_end=True, output_format="jsonl.gz")
    assert (again.rows, lines(folder), lines(f"{folder}.failed")) == (0, found, [failure])
    kafka.send(topic(topics["in"]), numbers([100]))
    assert graph.run(topics["in"], f"{folder}/", until_end=True).rows == 1
    assert sorted(each["x"] for each in lines(folder)) == [*range(30), 100]


POISON = {
    b"no json": "is no JSON object",
    b"[1, 2]": "is no JSON object",
    b"": "is no JSON object",
    None: "has no value",
    b"\xff\xfe": "is no text of the encoding",
    b'{"x": "one"}': "column 'x' is float32; got \"one\"",
    b'{"z": 1}': "column 'x' is null",
    b'{"x": 1, "y": 2}': "has a key 'y', as an output of the graph is called",
    b'{"x": 1e300}': "column 'x'",
    b'{"x": -3}': "negative: -3",
    b'{"x": [1]}': "column 'x' is float32; got [1]",
}


@pytest.mark.parametrize("window_rows", [1, 100])
def test_a_message_that_cannot_be_read_harms_no_other(
    kafka: KafkaBroker, topics: Any, graph: Any, tmp_path: Path, window_rows: int
) -> None:
    good = [b'{"x": 1}', b'{\n  "x": 2,\n  "text": "a\\nb"\n}', b' {"x":3, "x2": null} ']
    messages = [value for pair in zip(POISON, [*good, *[good[0]] * 8], strict=True) for value in pair]
    kafka.send(topic(topics["in"]), [{"value": value, "partition": 0} for value in messages])
    report = graph.run(topics["in"], f"{tmp_path}/o/", until_end=True, window_rows=window_rows)
    assert (report.rows, report.failed) == (len(messages), len(POISON))
    answers = lines(f"{tmp_path}/o")
    assert answers[:3] == [{"x": 1, "y": 1}, {"x": 2, "text": "a\nb", "y": 2}, {"x": 3, "x2": None, "y": 3}]
    failures = lines(f"{tmp_path}/o.failed")
    assert [each["offset"] for each in failures] == [*range(0, len(messages), 2)]
    for each, (value, reason) in zip(failures, POISON.items(), strict=True):
        assert reason in each["message"], each
        shown = (
            {"b64": base64.b64encode(value).decode()}
            if value == b"\xff\xfe"
            else None
            if value is None
            else value.decode()
        )
        assert each["value"] == shown


def test_what_was_committed_is_not_read_again_and_a_limit_ends_a_stream(
    kafka: KafkaBroker, topics: Any, graph: Any
) -> None:
    kafka.send(topic(topics["in"]), numbers(range(20)))
    told: list[Any] = []
    first = graph.run(topics["in"], topics["out"], limit=8, window_rows=5, progress=lambda *each: told.append(each))
    assert (first.rows, [(done, failed) for done, _, failed in told]) == (8, [(5, 0), (8, 0)])
    assert all(total is None or done < total <= 20 for done, total, _ in told)  # partitions may not be known yet
    assert graph.run(topics["in"], topics["out"], until_end=True).rows == 12
    assert graph.run(topics["in"], topics["out"], until_end=True).rows == 0
    assert graph.run(f"{topics['in']}?group=late&start=latest", topics["out"], until_end=True).rows == 0
    answers = [json.loads(each.value())["x"] for each in kafka.read(topic(topics["out"]))]
    assert sorted(answers) == [*range(20)]


@pytest.mark.parametrize(("form", "kind"), [("text", "string"), ("bytes", "bytes")])
def test_messages_that_are_no_json_are_a_column(
    kafka: KafkaBroker, topics: Any, tmp_path: Path, form: str, kind: str
) -> None:
    (tmp_path / "g.yaml").write_text(
        f"motet: 1\nname: {form}\ninputs: {{value: {kind}}}\n"
        "nodes: {n: {map: helpers.functions.sizes, inputs: [value]}}\noutputs: {size: n}\n"
    )
    values = ["grün".encode(), b"", b'{"x": 1}', b"\xff\x00"]
    kafka.send(topic(topics["in"]), [{"value": value, "partition": 1} for value in [*values, None]])
    mt.load(tmp_path / "g.yaml").run(topics["in"], f"{tmp_path}/o/", until_end=True, format=form)
    kept = [{"value": value.decode()} for value in values[:3]] if form == "text" else [{}] * 4
    sizes = [4, 0, 8] if form == "text" else [5, 0, 8, 2]
    assert lines(f"{tmp_path}/o") == [{**each, "size": size} for each, size in zip(kept, sizes, strict=True)]
    reasons = [each["message"] for each in lines(f"{tmp_path}/o.failed")]
    assert reasons == [*(["the message is no UTF-8, at byte 1"] if form == "text" else []), "the message has no value"]


def test_too_many_failures_end_a_stream_before_they_are_committed(kafka: KafkaBroker, topics: Any, graph: Any) -> None:
    kafka.send(topic(topics["in"]), [{**each, "partition": 0} for each in numbers([1, 2, -1, -2, 3])])
    with pytest.raises(TooManyFailuresError, match="2 of 4 messages failed, more than 1 are too many"):
        graph.run(topics["in"], topics["out"], until_end=True, window_rows=2, max_failures=1)
    assert len(kafka.read(topic(topics["out"]))) == 2
    assert graph.run(topics["in"], topics["out"], until_end=True).rows == 3


def test_keep_and_drop_choose_the_keys_that_are_written(
    kafka: KafkaBroker, topics: Any, graph: Any, tmp_path: Path
) -> None:
    kafka.send(topic(topics["in"]), [{"value": b'{"x": 1, "y": 2, "b": [1.50], "c": null}'}])
    for number, (options, wanted) in enumerate(
        [({"drop": ["y", "no"]}, '{"x":1,"b":[1.50],"c":null,"y":1.0}'), ({"keep": ["b"]}, '{"b":[1.50],"y":1.0}')]
    ):
        graph.run(f"{topics['in']}?group={number}", f"{tmp_path}/{number}/", until_end=True, **options)
        (part,) = Path(f"{tmp_path}/{number}").glob("*.jsonl")
        assert part.read_text() == f"{wanted}\n"


class Process:
    """`motet run` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._log = folder / f"log-{os.urandom(4).hex()}"
        command = [sys.executable, "-m", "motet.cli", "run", str(folder / "g.yaml"), *arguments]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
            )

    def end(self, *codes: int) -> str:
        """Wait for its end, and see how it ended; what it said."""
        found = self.process.wait(60)
        said = self._log.read_text()
        assert found in codes, said
        return said

    def stop(self, number: int) -> None:
        self.process.send_signal(number)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts a process; none is left when the test has ended."""
    begun: list[Process] = []

    def start(*arguments: str) -> Process:
        begun.append(Process(tmp_path, *arguments))
        return begun[-1]

    yield start
    for each in begun:
        each.process.kill()
        each.process.wait()


@pytest.mark.parametrize("to", ["topic", "folder"])
def test_a_process_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    kafka: KafkaBroker, topics: Any, tmp_path: Path, run: Any, to: str
) -> None:
    pid = tmp_path / "pid"
    pid.touch()
    (tmp_path / "g.yaml").write_text(
        "motet: 1\nname: killed\ninputs: {n: int64}\nnodes:\n  a: {map: helpers.killers.kill_once, inputs: [n], "
        f"with: {{pid_file: {pid}}}}}\noutputs: {{m: a}}\n"
    )
    kafka.send(topic(topics["in"]), [{"value": b'{"n": %d}' % n, "key": b"%d" % n} for n in range(100)])
    kafka.send(topic(topics["in"]), [{"value": b"poison"}] * 3)
    output = topics["out"] if to == "topic" else f"{tmp_path}/o/"
    arguments = (
        "--input",
        f"{topics['in']}?config={_quick(tmp_path)}",
        "--output",
        output,
        "--window-rows",
        "7",
        "--until-end",
    )
    run(*arguments).end(-signal.SIGKILL)
    run(*arguments).end(0, 3)  # the poison may have been before
    if to == "topic":
        answers = [json.loads(each.value())["m"] for each in kafka.read(topic(topics["out"]))]
        failures = [(each.value()) for each in kafka.read(topic(topics["out.failed"]))]
    else:
        answers = [each["m"] for each in lines(f"{tmp_path}/o")]
        failures = [each["value"].encode() for each in lines(f"{tmp_path}/o.failed")]
    assert (sorted(answers), failures) == ([*range(100)], [b"poison"] * 3)


def _quick(folder: Path) -> Path:
    """Settings by which a group and a transaction notice soon that a process is gone."""
    path = folder / "kafka.properties"
    path.write_text("# soon\nsession.timeout.ms=1500\nheartbeat.interval.ms=300\ntransaction.timeout.ms=1500\n")
    return path


@pytest.mark.parametrize("to", ["topic", "folder"])
def test_processes_of_a_group_share_the_partitions_and_sigterm_ends_one(
    kafka: KafkaBroker, topics: Any, tmp_path: Path, run: Any, to: str
) -> None:
    (tmp_path / "g.yaml").write_text(GRAPH)
    output = topics["out"] if to == "topic" else f"{tmp_path}/o/"
    arguments = (
        "--input",
        f"{topics['in']}?config={_quick(tmp_path)}",
        "--output",
        output,
        "--window-rows",
        "5",
        "--window-s",
        "0",
    )

    def written() -> list[int]:
        if to == "topic":
            return [json.loads(each.value())["x"] for each in kafka.read(topic(topics["out"]))]
        return [each["x"] for each in lines(f"{tmp_path}/o")]

    first = run(*arguments)
    kafka.send(topic(topics["in"]), numbers(range(100)))
    until(lambda: written())
    second = run(*arguments)
    until(lambda: kafka.members("motet-positive") == 2)
    kafka.send(topic(topics["in"]), numbers(range(100, 200)))
    until(lambda: len(written()) >= 150)
    first.stop(signal.SIGTERM)
    assert "rows" in first.end(0)
    kafka.send(topic(topics["in"]), numbers(range(200, 220)))
    until(lambda: len(written()) >= 220)
    second.stop(signal.SIGINT)
    second.end(0)
    assert Counter(written()) == Counter(range(220))


@pytest.mark.parametrize(
    ("source", "output", "options", "message"),
    [
        ("kafka://u:hidden@b:9092/t", "o/", {}, "an address of a topic has no user and no password"),
        ("kafka://u:hidden@b:9092/t", "o/", {"resume": True}, "an address of a topic has no user and no password"),
        ("kafka://u:hidden@b:9092/t", "o/", {"dry_run": True}, "a stream has no dry run"),
        ("kafka:///t", "o/", {}, "names no broker"),
        ("kafka://b:9092/", "o/", {}, "'' is no name of a topic"),
        ("kafka://b:9092/a/b", "o/", {}, "'a/b' is no name of a topic"),
        ("kafka://b:9092/t#1", "o/", {}, "'t#1' is no name of a topic"),
        ("kafka://b:9092/t?grup=a", "o/", {}, "did you mean 'group'"),
        ("kafka://b:9092/t?start=first", "o/", {}, "it must be earliest or latest"),
        ("kafka://b:9092/t", "o/", {"window_row": 1}, "unknown option window_row; known: failed, batch_rows"),
        ("kafka://b:9092/t", "o/", {"dry_run": True, "until_end": True}, "a stream has no dry run"),
        ("kafka://b:9092/t", "o/", {"resume": True}, "resume is for inputs that end"),
        ("kafka://b:9092/t", "o/", {"partition_by": ["a"]}, "partition_by is for inputs that end"),
        ("kafka://b:9092/t", "o/", {"format": "csv"}, "messages are of the format 'csv'; known: jsonl, text, bytes"),
        ("kafka://b:9092/t", "o/", {"window_s": -1}, "window_s must be a number of seconds"),
        ("kafka://b:9092/t", "o/", {"engine": "beam"}, "a topic is the one input of a run of the engine local"),
        (["kafka://b:9092/t"], "o/", {}, "a topic is the one input of a run of the engine local"),
        ({"x": [1.0]}, "kafka://b:9092/t", {}, "a topic is the one input of a run of the engine local"),
        ({"x": [1.0]}, "o.jsonl", {"until_end": True}, "until_end is for an input without end"),
    ],
)  # fmt: skip
def test_what_a_stream_cannot_be_is_refused(graph: Any, source: Any, output: str, options: Any, message: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=re.escape(message)) as refused:
        graph.run(source, output, **options)
    assert "hidden" not in str(refused.value)


def test_topics_that_are_not_there_are_named_with_those_that_are(
    kafka: KafkaBroker, topics: Any, graph: Any, tmp_path: Path
) -> None:
    for source, output in (
        (f"{topics['in']}n", "o/"),
        (topics["in"], f"{topics['out']}t"),
        (topics["in"], topics["out.failed"]),
    ):
        with pytest.raises(UnknownNameError, match="unknown topic .*did you mean"):
            graph.run(source, output)
    for output in ("answers.jsonl", "-"):
        with pytest.raises(InputError, match="a stream is written to a topic or a folder"):
            graph.run(topics["in"], output)
    with pytest.raises(InputError, match="the topics of input, output and failures must differ"):
        graph.run(topics["in"], topics["in"])
    with pytest.raises(InputError, match="group and start are of what is read"):
        graph.run(topics["in"], f"{topics['out']}?group=a")
    with pytest.raises(InputError, match="failures go where answers go"):
        graph.run(topics["in"], f"{tmp_path}/o/", failed=topics["out"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("group.id=g", "says group.id"),
        ("partition.assignment.strategy=cooperative-sticky", "says partition.assignment.strategy"),
        ("security.protocol", "line 1 is not of the form name=value"),
        ("# a\nsasl.password=env:NOT_THERE", "line 2 names NOT_THERE, which is not in the environment"),
        ("security.protocol=wrong\nsasl.password=hidden", "refuses its settings"),
        ("sasl.password=hidden\nnot.known=hidden", "refuses its settings"),
    ],
)
def test_settings_that_are_wrong_are_named_without_secrets(
    graph: Any, tmp_path: Path, lines: str, message: str
) -> None:
    pytest.importorskip("confluent_kafka")
    (tmp_path / "settings").write_text(lines)
    with pytest.raises(InputError, match=message) as refused:
        graph.run(f"kafka://127.0.0.1:9/t?config={tmp_path / 'settings'}", "o/")
    assert "hidden" not in str(refused.value)


def test_no_broker_is_an_error_that_says_where(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr("motet.engines.local.streams.client.ASK_S", 0.5)
    with pytest.raises(RunError, match="kafka://127.0.0.1:9/t: no broker answers"):
        graph.run("kafka://127.0.0.1:9/t", "o/")


def test_brokers_that_were_away_are_gone_on_with(kafka: KafkaBroker, topics: Any, tmp_path: Path, run: Any) -> None:
    (tmp_path / "g.yaml").write_text(GRAPH)
    process = run("--input", f"{topics['in']}?group=away", "--output", topics["out"])

    def written() -> list[int]:
        return [json.loads(each.value())["x"] for each in kafka.read(topic(topics["out"]))]

    kafka.send(topic(topics["in"]), numbers(range(50)))
    until(lambda: len(written()) >= 50)
    kafka.kill()
    kafka.start()
    kafka.send(topic(topics["in"]), numbers(range(50, 100)))
    until(lambda: len(written()) >= 100)
    process.stop(signal.SIGTERM)
    process.end(0)
    assert Counter(written()) == Counter(range(100))


def test_a_transaction_that_the_client_does_not_come_back_from_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    from motet.engines.local.streams import topic_output

    monkeypatch.setattr(topic_output, "TRIED_S", 0.1)
    output, released = topic_output.TopicOutput.__new__(topic_output.TopicOutput), threading.Event()
    output._answers = TopicAddress("b:9092", "t")
    try:
        with pytest.raises(RunError, match="kafka://b:9092/t: the brokers have not ended a transaction"):
            output._in_time(lambda seconds: released.wait())
    finally:
        released.set()
