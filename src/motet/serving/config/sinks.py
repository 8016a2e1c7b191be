"""How a sink is set up: one item of `sinks:` in serve.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self

from motet.databases.address import has_vectors
from motet.errors import GraphError
from motet.graph.fields import from_environment, show
from motet.graph.section import Bytes, Seconds, Section, between, converter_of, matching, nullable, one_or_list

__all__ = ["SINKS", "SinkConfig", "extra_of", "read_sinks"]

Format = Literal["sql", "jsonl", "parquet", "table"]
_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_PARQUET = {"batch_rows": 65_536, "batch_s": 60.0, "buffer_rows": 131_072}
"""Defaults of Parquet, whose parts are large."""
_Rows = Annotated[int, between(1)]
_Size = Annotated[Bytes, between(1)]
_Wait = Annotated[float, between(0)]


@dataclass(frozen=True)
class SinkConfig(Section):
    """How answers are kept in one place.

    Attributes:
        to: a database's URL (`sqlite:///predictions.db`, `postgresql://user@host/base`), a file of JSON Lines
            (`.jsonl`), a folder of Parquet parts (`.parquet`), or a table of vectors (`lancedb:store#answers`,
            `qdrant+http://host:6333#answers`); relative paths begin at the configuration's folder.
            `env:NAME` takes what the environment variable holds, so that no password is in a file. `{graph}` in a path
            stands for the graph's name.
        name: what metrics and the spool call it; by default made of `record` and the table or the path.
        format: `sql`, `jsonl`, `parquet` or `table`; by default told by `to`.
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

    ALONE: ClassVar[str] = "to"

    to: str
    name: Annotated[
        str,
        matching(
            "([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?)?",
            "cannot be the name of a sink",
            "letters, digits, _, . and - (it is part of the spool's file names)",
        ),
    ] = ""
    format: Format = "sql"
    table: str = ""
    record: Literal["join", "stack"] = "join"
    graphs: tuple[str, ...] = ()
    keep: tuple[str, ...] | None = None
    array_inputs: bool = False
    arrays: Literal["json", "bytes"] = "json"
    members: bool = False
    sample: Annotated[float, between(0, 1, above=True)] = 1.0
    full: Literal["drop", "block"] = "drop"
    block_s: _Wait = 5.0
    buffer_rows: _Rows = 50_000
    buffer_bytes: _Size = 64 << 20
    batch_rows: _Rows = 2000
    batch_s: _Wait = 0.2
    retry_s: _Wait = 2.0
    timeout_s: Seconds = 10.0
    spool_bytes: Bytes = 256 << 20
    durable: bool = False
    rotate_bytes: _Size = 256 << 20

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> Self:
        """A sink as it was written; what depends on other keys is filled in.

        Raises:
            GraphError: when a key is unknown, or a value is not what it must be.
        """
        read = super().read(value, where, folder)
        said = value if isinstance(value, Mapping) else {}
        to = from_environment(read.to, f"{where}.to")
        form = read.format if "format" in said else _format(to, f"{where}.to")
        if read.table and form != "sql":
            raise GraphError("only databases have tables", where=f"{where}.table", hint="leave it out")
        if read.record == "stack" and (read.members or read.keep is not None):
            key = "members" if read.members else "keep"
            hint = "stack keeps the outputs of each member as they are"
            raise GraphError(f"{key!r} is for `record: join`", where=f"{where}.{key}", hint=hint)
        table = read.table or ("member_predictions" if read.record == "stack" else "predictions")
        name = read.name or _slug(
            f"{read.record}-{table if form == 'sql' else PurePosixPath(to).name.rpartition('#')[2]}"
        )
        more: dict[str, Any] = {key: size for key, size in _PARQUET.items() if form == "parquet" and key not in said}
        return replace(read, to=to, format=form, table=table, name=name, **more)


SINKS = Annotated[tuple[SinkConfig, ...], one_or_list, nullable]
"""The list `sinks:`, or one sink alone."""


def read_sinks(value: object, where: str) -> tuple[SinkConfig, ...]:
    """The list `sinks:`, or one sink alone.

    Raises:
        GraphError: when one is wrong, or two have one name.
    """
    read: tuple[SinkConfig, ...] = converter_of(SINKS).read(value, where, "") or ()
    for place, config in enumerate(read):
        if config.name in [other.name for other in read[:place]]:
            hint = "the spool tells sinks apart by their names: give one a name:"
            raise GraphError(f"two sinks are called {config.name!r}", where=f"{where}[{place}]", hint=hint)
    return read


def extra_of(to: str, where: str) -> str:
    """The extra of Motet that brings what writes to an address; empty where nothing is needed. What a variable holds, which is not
    known before, is taken for a database that has a password.

    Raises:
        GraphError: when it cannot be told what it is.
    """
    form = "sql" if to.startswith("env:") else _format(to, where)
    if form == "sql":
        return "postgres" if to.startswith(("postgres", "env:")) else "sql"
    name = to.partition(":")[0].partition("+")[0] if form == "table" else ""
    return "" if name == "sqlite" else name


def _format(to: str, where: str) -> Format:
    if re.match(r"(sqlite|postgres(ql)?)(\+\w+)?://", to):
        return "sql"
    if has_vectors(to):
        return "table"
    form = _SUFFIXES.get(PurePosixPath(to).suffix)
    if form is None or "://" in to:
        known = f"sqlite:///..., postgresql://..., or a local path that ends in {', '.join(_SUFFIXES)}"
        raise GraphError(f"cannot tell what kind of sink {show(to)} is", where=where, hint=known)
    return form


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "sink"
