"""How a sink is set up: one item of `sinks:` in serve.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from motet.errors import GraphError
from motet.graph.capacity import read_bytes
from motet.graph.fields import Fields, from_environment, of_kind

__all__ = ["SinkConfig", "read_sinks"]

Format = Literal["sql", "jsonl", "parquet"]
_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_CHOICES = {
    "record": ("join", "stack"),
    "full": ("drop", "block"),
    "arrays": ("json", "bytes"),
    "format": ("sql", "jsonl", "parquet"),
}
_BYTES = ("buffer_bytes", "spool_bytes", "rotate_bytes")
_ZERO = ("block_s", "retry_s", "batch_s", "spool_bytes")


@dataclass(frozen=True)
class SinkConfig:
    """How answers are kept in one place.

    Attributes:
        to: a database's URL (`sqlite:///predictions.db`, `postgresql://user@host/base`), a file of JSON Lines
            (`.jsonl`), or a folder of Parquet parts (`.parquet`); relative paths begin at the configuration's folder.
            `env:NAME` takes what the environment variable holds, so that no password is in a file. `{graph}` in a path
            stands for the graph's name.
        name: what metrics and the spool call it; by default made of `record` and the table or the path.
        format: `sql`, `jsonl` or `parquet`; by default told by `to`.
        table: of a database; `predictions` for `join` and `member_predictions` for `stack` where nothing is said.
            `{graph}` stands for the graph's name.
        record: `join` is a record for each row when all members are done; `stack` one for each row and member.
        graphs: which graphs; empty is all.
        keep: names of inputs and outputs that are kept; None is all outputs, and the inputs that are scalars.
        array_inputs: whether inputs that are arrays are kept too, where `keep` is not given.
        arrays: how a database and Parquet hold arrays: `json` is text, `bytes` the values in C order (of fixed shapes).
        members: whether `join` keeps the outputs of each member.
        sample: the share of requests that is kept, by a hash of the request's key: more than 0, at most 1.
        full: what becomes of records that find the buffer full: `drop` counts them, `block` lets the answer wait.
        block_s: the longest that `block` lets an answer wait; then the records are dropped.
        buffer_rows, buffer_bytes: what the buffer holds; a single request that is bigger is taken when it is empty.
        batch_rows: records a transaction, a file's write, or a part.
        batch_s: the longest that a record waits to be written.
        retry_s: how long a write is tried again before what is waiting goes to the spool.
        timeout_s: the longest that one write to a database may take.
        spool_bytes: what the spool holds, of all processes together; beyond it records are dropped and counted.
        durable: whether an answer waits until its records are on disk, in the spool.
        rotate_bytes: JSON Lines: a file that is bigger is put aside.
    """

    to: str
    name: str = ""
    format: Format = "sql"
    table: str = ""
    record: Literal["join", "stack"] = "join"
    graphs: tuple[str, ...] = ()
    keep: tuple[str, ...] | None = None
    array_inputs: bool = False
    arrays: Literal["json", "bytes"] = "json"
    members: bool = False
    sample: float = 1.0
    full: Literal["drop", "block"] = "drop"
    block_s: float = 5.0
    buffer_rows: int = 50_000
    buffer_bytes: int = 64 << 20
    batch_rows: int = 2000
    batch_s: float = 0.2
    retry_s: float = 2.0
    timeout_s: float = 10.0
    spool_bytes: int = 256 << 20
    durable: bool = False
    rotate_bytes: int = 256 << 20

    @classmethod
    def read(cls, value: object, where: str) -> SinkConfig:
        """A sink as it was written; a text alone is its `to`.

        Raises:
            GraphError: when a key is unknown, or a value is not what it must be.
        """
        if isinstance(value, str):
            value = {"to": value}
        given = Fields(value, where, tuple(each.name for each in fields(cls)))
        to = from_environment(given.take("to", str), given.place("to"))
        form = _choice(given, "format") if "format" in given else _format(to, given.place("to"))
        taken: dict[str, Any] = {"format": form}
        if form == "parquet":
            taken |= {"batch_rows": 65_536, "batch_s": 60.0, "buffer_rows": 131_072}
        for each in fields(cls):
            key = each.name
            if key in given and key not in ("to", "format"):
                taken[key] = _value(given, key, each.default)
        config = cls(to, **taken)
        _check(config, given)
        if config.sample > 1:
            raise GraphError(f"must be at most 1; got {config.sample}", where=given.place("sample"))
        table = config.table or ("member_predictions" if config.record == "stack" else "predictions")
        name = config.name or _slug(f"{config.record}-{table if form == 'sql' else PurePosixPath(to).name}")
        return replace(config, table=table, name=name)


def read_sinks(value: object, where: str) -> tuple[SinkConfig, ...]:
    """The list `sinks:`, or one sink alone.

    Raises:
        GraphError: when one is wrong, or two have one name.
    """
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    read = [SinkConfig.read(item, f"{where}[{place}]") for place, item in enumerate(items)]
    for place, config in enumerate(read):
        if config.name in [other.name for other in read[:place]]:
            hint = "the spool tells sinks apart by their names: give one a name:"
            raise GraphError(f"two sinks are called {config.name!r}", where=f"{where}[{place}]", hint=hint)
    return tuple(read)


def _value(given: Fields, key: str, default: object) -> Any:
    if key in _CHOICES:
        return _choice(given, key)
    if key in _BYTES:
        return read_bytes(given.raw(key), given.place(key))
    if key in ("graphs", "keep"):
        return tuple(of_kind(each, str, given.place(key)) for each in given.take(key, list))
    kind: Any = type(default)
    return kind(given.take(key, kind))


def _check(config: SinkConfig, given: Fields) -> None:
    for each in fields(SinkConfig):
        value = getattr(config, each.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and (value < 0 or value != value):
            raise GraphError(f"must not be less than 0; got {value}", where=given.place(each.name))
        if type(value) in (int, float) and not value and each.name not in _ZERO:
            raise GraphError("must be more than 0; got 0", where=given.place(each.name))
    if config.table and config.format != "sql":
        raise GraphError("only databases have tables", where=given.place("table"), hint="leave it out")
    if config.name and _slug(config.name) != config.name:
        hint = "letters, digits, _, . and - (it is part of the spool's file names)"
        raise GraphError(f"{config.name!r} cannot be the name of a sink", where=given.place("name"), hint=hint)
    if config.record == "stack" and (config.members or config.keep is not None):
        key = "members" if config.members else "keep"
        hint = "stack keeps the outputs of each member as they are"
        raise GraphError(f"{key!r} is for `record: join`", where=given.place(key), hint=hint)


def _choice(given: Fields, key: str) -> Any:
    value = given.take(key, str)
    if value not in _CHOICES[key]:
        raise GraphError(f"expected {' or '.join(_CHOICES[key])}; got {value!r}", where=given.place(key))
    return value


def _format(to: str, where: str) -> Format:
    if re.match(r"(sqlite|postgres(ql)?)(\+\w+)?://", to):
        return "sql"
    form = _SUFFIXES.get(PurePosixPath(to).suffix)
    if form is None or "://" in to:
        known = f"sqlite:///..., postgresql://..., or a local path that ends in {', '.join(_SUFFIXES)}"
        raise GraphError(f"cannot tell what kind of sink {_hidden(to)!r} is", where=where, hint=known)
    return form


def _hidden(to: str) -> str:
    """A URL without its password."""
    return re.sub(r"//([^/@:]*):[^/@]*@", r"//\1:***@", to)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "sink"
