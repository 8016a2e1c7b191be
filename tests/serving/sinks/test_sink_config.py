"""A sink is set up by what people write, and says what is wrong with it."""

import asyncio

import pytest

from motet.errors import GraphError, UnknownNameError
from motet.serving.sinks import SinkConfig, Sinks, read_sinks
from serving.sinks.sink_rows import opened, sinks


@pytest.mark.parametrize(
    ("to", "form"),
    [
        ("sqlite:///predictions.db", "sql"),
        ("postgresql://me@host/base", "sql"),
        ("postgres://me@host/base", "sql"),
        ("postgresql+psycopg://me@host/base", "sql"),
        ("kept/predictions.jsonl", "jsonl"),
        ("kept/predictions.ndjson", "jsonl"),
        ("kept/predictions.parquet", "parquet"),
        ("kept/predictions.parquet/", "parquet"),
    ],
)
def test_the_kind_is_told_by_the_place(to, form):
    assert SinkConfig.read(to, "sinks").format == form


def test_nothing_but_the_place_must_be_said():
    read = SinkConfig.read("sqlite:///p.db", "sinks")
    assert (read.table, read.record, read.full, read.sample, read.durable) == (
        "predictions",
        "join",
        "drop",
        1.0,
        False,
    )
    assert SinkConfig.read({"to": "sqlite:///p.db", "record": "stack"}, "sinks").table == "member_predictions"
    assert read_sinks(None, "sinks") == ()


def test_a_password_can_be_left_out_of_the_file(monkeypatch):
    monkeypatch.setenv("WHERE_TO", "sqlite:///p.db")
    assert SinkConfig.read({"to": "env:WHERE_TO"}, "sinks").to == "sqlite:///p.db"
    monkeypatch.delenv("WHERE_TO")
    with pytest.raises(GraphError, match="the environment variable 'WHERE_TO' is not set"):
        SinkConfig.read({"to": "env:WHERE_TO"}, "sinks")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "sinks: 'to' is missing"),
        ({"to": 5}, "sinks.to: expected a text; got 5"),
        ({"to": "p.txt"}, "sinks.to: cannot tell what kind of sink 'p.txt' is"),
        ({"to": "mysql://me:secret@host/base"}, "cannot tell what kind of sink 'mysql://me:***@host/base' is"),
        (
            {"to": "mysql://host/base?password=secret"},
            "cannot tell what kind of sink 'mysql://host/base?password=***' is",
        ),
        ({"to": "p.jsonl", "recrod": "join"}, "sinks: unknown key 'recrod'; did you mean 'record'?"),
        ({"to": "p.jsonl", "record": "both"}, "sinks.record: expected join or stack; got 'both'"),
        ({"to": "p.jsonl", "full": "wait"}, "sinks.full: expected drop or block; got 'wait'"),
        ({"to": "p.jsonl", "sample": 2}, "sinks.sample: must be more than 0, at most 1; got 2.0"),
        ({"to": "p.jsonl", "sample": 0}, "sinks.sample: must be more than 0, at most 1; got 0.0"),
        ({"to": "p.jsonl", "buffer_rows": -5}, "sinks.buffer_rows: must be at least 1; got -5"),
        ({"to": "p.jsonl", "buffer_bytes": "lots"}, "sinks.buffer_bytes: 'lots' is no amount of memory"),
        ({"to": "p.jsonl", "batch_s": float("nan")}, "sinks.batch_s: must be a finite number; got nan"),
        ({"to": "p.jsonl", "table": "p"}, "sinks.table: only databases have tables"),
        ({"to": "p.jsonl", "name": "a/b"}, "sinks.name: 'a/b' cannot be the name of a sink"),
        ({"to": "p.jsonl", "record": "stack", "keep": ["a"]}, "sinks.keep: 'keep' is for `record: join`"),
        ({"to": "p.jsonl", "record": "stack", "members": True}, "sinks.members: 'members' is for `record: join`"),
        ({"to": "p.jsonl", "graphs": "g"}, "sinks.graphs: expected a list; got 'g'"),
        ({"to": "p.jsonl", "durable": 1}, "sinks.durable: expected true or false; got 1"),
    ],
)
def test_says_what_is_wrong(written, message):
    with pytest.raises(GraphError) as caught:
        SinkConfig.read(written, "sinks")
    assert message in str(caught.value)


def test_two_sinks_need_two_names():
    with pytest.raises(GraphError, match=r"sinks\[1\]: two sinks are called 'join-p.jsonl'"):
        read_sinks(["a/p.jsonl", "b/p.jsonl"], "sinks")
    assert len(read_sinks(["a/p.jsonl", {"to": "b/p.jsonl", "name": "b"}], "sinks")) == 2


NO_PORTS = ("host:port/p", "host:0/p", "host:-1/p", "host:65536/p", "[::1/p", "::1/p", "host:\u00b2/p")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"to": "sqlite://"}, "a database in memory keeps nothing"),
        ({"to": "sqlite://host/p.db"}, "sink join-predictions: a SQLite URL names no host"),
        *(
            ({"to": f"postgresql://u@{rest}"}, "sink join-predictions: the port of its URL is none")
            for rest in NO_PORTS
        ),
        ({"to": "sqlite:///p.db", "table": "a b"}, "'a b' cannot be the name of a table"),
        ({"to": "sqlite:///p.db", "table": "{grap}_p"}, "hint: only {graph} may stand in it"),
    ],
)
def test_says_what_is_wrong_with_a_place(tmp_path, config, message):
    with pytest.raises(GraphError) as caught:
        sinks(tmp_path, config)
    assert message in str(caught.value)


def test_a_password_that_looks_like_a_port_is_not_said(tmp_path):
    with pytest.raises(GraphError, match="in a password @ is written %40") as caught:
        sinks(tmp_path, {"to": "postgresql://user:p@x:hunter2@host/p"})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_says_which_graph_there_is_not(tmp_path):
    made = sinks(tmp_path, {"to": "p.jsonl", "graphs": ["swram"]})
    with pytest.raises(UnknownNameError, match="unknown graph 'swram'; did you mean 'swarm'"):
        made.check(["swarm", "g"])


async def _open(folder, **config):
    async with opened(folder, {"to": "p.jsonl", **config}):
        pass


def test_says_which_column_there_is_not(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown input or output of graph 'g' 'lable'; did you mean 'label'"):
        asyncio.run(_open(tmp_path, keep=["lable"]))


def test_without_sinks_nothing_is_kept(tmp_path):
    made = Sinks((), folder=tmp_path)
    assert (made.wants("g"), made.wants_calls("g"), dict(made.stats)) == (False, False, {})
