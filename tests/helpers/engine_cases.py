"""Graphs and rows that are played each way, with what is right for each row, told by plain Python."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

import motet as mt
from helpers import engine_functions as functions
from helpers import onnxes, trained
from helpers.engine_features import FEATURES, ONLY, WAYS, is_for
from helpers.oip_server import OipServer
from motet.testing.fakes import Affine, Failing, fake

ROWS = 60
Row = dict[str, Any]
KEYS = ("a", "b", "größe", "zzz", None)


@dataclass(frozen=True)
class Outcome:
    """What became of rows, by their places: the outputs of those that were answered, what they kept, and why others failed.

    `error` is what ended all of it; `given` are the rows, where a way has other types than those they are stored in.
    """

    answers: Mapping[int, Row] = field(default_factory=dict)
    failures: Mapping[int, tuple[str, str, str]] = field(default_factory=dict)
    kept: Mapping[int, Row] | None = None
    error: str = ""
    given: Mapping[int, Row] | None = None


@dataclass(frozen=True)
class Case:
    """A graph and its rows.

    Attributes:
        name: of the graph too.
        covers: features, as `kind: feature`.
        graph: makes it; its files are put into the folder.
        rows: what is played.
        right: for a row its outputs, or the node that it fails at and the error; None where the call alone tells.
        write: writes the rows as a source; its name.
        error: a part of what ends a run.
        kept: columns that are kept, where these are looked at.
        within: how far numbers may be from what is right; 0 for the same bits.
    """

    name: str
    covers: Sequence[str]
    graph: Callable[[Path], mt.Graph]
    rows: pa.Table
    right: Callable[[Row], Row | tuple[str, str]] | None = None
    write: Callable[[pa.Table, Path], str] | None = None
    error: str = ""
    kept: Sequence[str] = ()
    within: float = 0.0

    def is_for(self, way: str) -> bool:
        """Whether it is for a way, which may have a gap there."""
        return any(way in ONLY.get(feature.partition(":")[0], WAYS) for feature in self.covers)

    def is_gap(self, way: str) -> bool:
        """Whether a way does none of what it is for."""
        return not any(is_for(way, feature) for feature in self.covers)

    def source(self, folder: Path) -> str:
        """Write the rows, Parquet in small row groups where nothing else is said; where they are."""
        if self.write is not None:
            return str(folder / self.write(self.rows, folder))
        pq.write_table(self.rows, folder / "in.parquet", row_group_size=7)
        return str(folder / "in.parquet")


def of(kind: str, *names: str) -> list[str]:
    """Features by their names."""
    assert set(names) <= set(FEATURES[kind]), names
    return [f"{kind}: {name}" for name in names]


def rows(count: int = ROWS) -> pa.Table:
    """Numbers that come again, keys, and text."""
    return pa.table(
        {
            "x": pa.array([float(row % 13) for row in range(count)]),
            "k": pa.array([KEYS[row % 5] for row in range(count)], pa.string()),
            "text": pa.array([f'日本 {row}\n,"' for row in range(count)]),
        }
    )


def affine(name: str, scale: float, **options: Any) -> mt.Model:
    return fake(Affine, name, "float64", scale=scale, **options)


def failing(name: str, *bad: float, scale: float = 1.0) -> mt.Model:
    return fake(Failing, name, "float64", bad=list(bad), scale=scale)


def nodes(folder: Path) -> mt.Graph:
    x, k = mt.input("x", "float64"), mt.input("k", "string", default=None)
    inner = mt.Graph("inner", {"z": mt.map(functions.doubled, mt.input("q", "float64"), name="twice")})
    arms = {"a": affine("a", 2.0), "größe": affine("g", 3.0), "*": affine("others", 4.0)}
    by_key = mt.route(arms, x, key=k, missing="a", name="by_key")
    exact = mt.route(
        {"a|zzz": affine("az", 5.0), "b|größe": affine("bg", 6.0)}, x, key=k, missing="a|zzz", name="exact"
    )
    when = mt.route(
        {"small": affine("small", -1.0), "large": affine("large", 1.0)}, x,
        when={"large": "x > 3 and k in ['a', 'größe']"}, otherwise="small", name="when",
    )  # fmt: skip
    vote = mt.ensemble([affine("one", 1.0), affine("two", 2.0)], x, weights=[1, 3], name="vote")
    members = {"first": failing("first", 2.0, 4.0), "second": failing("second", 3.0)}
    some = mt.ensemble(members, x, require=1, name="some")
    steps = {"cheap": failing("cheap", 5.0, scale=0.05), "dear": affine("dear", 0.06)}
    sure = mt.cascade(steps, x, confidence=0.33, of="output", name="sure")
    split = mt.route({"l": affine("l", 1.0), "r": affine("r", 1.0)}, x, split={"l": 1, "r": 2}, by=x, name="split")
    around = affine("around", 10.0, settings={"before": functions.doubled, "after": functions.doubled})
    outputs = {
        "map": mt.map(functions.doubled, x), "model": mt.model(affine("thrice", 3.0), x), "vote": vote.output,
        "some": some.output, "who": some.member, "sure": sure.output, "step": sure.member, "key": by_key.output,
        "exact": exact.member, "when": when.output, "digits": mt.shard(affine("digit", 1.0), x, apart=functions.digits, together=functions.sums),
        "inner": mt.model(inner, x).z, "split": split.member, "around": mt.model(around, x),
    }  # fmt: skip
    return mt.Graph("nodes", outputs)


def nodes_right(row: Row) -> Row:
    x, k = row["x"], row["k"]
    who = [name for name, bad in (("first", (2, 4)), ("second", (3,))) if x not in bad]
    cheap = x * 0.05 >= 0.33 and x != 5
    return {
        "map": 2 * x, "model": 3 * x, "vote": 1.75 * x, "some": x, "who": ",".join(who),
        "sure": x * 0.05 if cheap else x * 0.06, "step": "cheap" if cheap else "dear",
        "key": x * {"a": 2, "größe": 3, None: 2}.get(k, 4), "exact": "a|zzz" if k in ("a", "zzz", None) else "b|größe",
        "when": x if x > 3 and k in ("a", "größe") else -x, "digits": float(sum(map(int, str(int(x))))), "inner": 2 * x,
        "around": 40 * x,
    }  # fmt: skip


def failures(folder: Path) -> mt.Graph:
    """A chain that ends for a number each at another node."""
    n, k = mt.input("n", "int64"), mt.input("k", "string", default=None)
    one = mt.map(functions.refuse_one, mt.map(mt.ops.columns.cast, n, dtype="float64", name="cast"), name="one")
    two = mt.model(failing("m2", 2.0), one, name="two")
    key = mt.route(
        {"a": affine("ka", 1.0), "b": affine("kb", 1.0), "größe": affine("kg", 1.0)}, two.output, key=k, name="key"
    )
    four = mt.cascade(
        [failing("c1", 4.0, scale=0.01), failing("c2", 4.0, scale=0.01)],
        key.output,
        confidence=0.9,
        of="output",
        name="four",
    )
    back = mt.model(affine("back", 100.0), four.output, name="back")
    rounded = mt.map(
        mt.ops.columns.cast,
        mt.map(mt.ops.columns.cast, back.output, dtype="float32", name="narrow"),
        dtype="float64",
        name="wide",
    )
    members = {"e1": failing("e1", 5.0, 6.0), "e2": failing("e2", 5.0)}
    five = mt.ensemble(members, rounded, require=1, name="five")
    seven = mt.shard(failing("piece", 7.0), five.output, apart=functions.digits, together=functions.sums, name="seven")
    inner = mt.Graph("inner", {"z": mt.model(failing("m9", 9.0), mt.input("q", "float64"), name="nine")})
    nine = mt.model(inner, seven, name="inside")
    eight = mt.map(functions.none_for_eight, nine.z, outputs="int64", name="eight")
    direct = mt.cascade(
        [failing("d1", 3.0, scale=0.01), affine("d2", 0.01)],
        eight_as_float(eight),
        confidence=0.9,
        of="output",
        on_error="fail",
        name="three",
    )
    return mt.Graph("failures", {"y": eight, "d": direct.member})


def eight_as_float(column: Any) -> Any:
    return mt.map(mt.ops.columns.cast, column, dtype="float64", name="again")


FAILS = {
    1: ("one", "ValueError"), 2: ("two", "ValueError"), 4: ("four", "ValueError"), 5: ("five", "ValueError"),
    7: ("seven", "ValueError"), 9: ("inner/nine", "ValueError"), 8: ("eight", "AnswerError"), 3: ("three", "ValueError"),
}  # fmt: skip


def failures_right(row: Row) -> Row | tuple[str, str]:
    n, k = row["n"], row["k"]
    if n is None or n != int(n):
        return "input", "InputError"
    if n in (1, 2):
        return FAILS[n]
    if k in ("zzz", None):
        return "key", "InputError"
    return FAILS.get(n) or {"y": int(n), "d": "d2"}


def failures_rows() -> pa.Table:
    """Each number beside each key, and what is no number, in small stretches that begin and end with a failure."""
    numbers = [None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3.5]
    pairs = [(n, k) for n in numbers for k in KEYS]
    return pa.table(
        {"n": pa.array([n for n, _ in pairs], pa.float64()), "k": pa.array([k for _, k in pairs], pa.string())}
    )


VALUES = {
    "vary": "float64[?]", "shaped": "float32[2,3]", "raw": "bytes", "text": "string",
    "wide": "int64", "u": "uint64",
}  # fmt: skip


def values(folder: Path) -> mt.Graph:
    given: Row = {name: mt.input(name, kind) for name, kind in VALUES.items()}
    given |= {"note": mt.input("note", "string", default=None), "seven": mt.input("seven", "float64", default=7)}
    outputs: Row = {f"{name}_": column for name, column in given.items()}
    return mt.Graph("values", {**outputs, "note_": mt.map(functions.told, given["note"])})


def values_right(row: Row) -> Row:
    seven = 7.0 if row["seven"] is None else row["seven"]
    return {**{f"{name}_": row[name] for name in VALUES}, "note_": repr(row["note"]), "seven_": seven}


def values_rows() -> pa.Table:
    numbers = range(ROWS)
    return pa.table(
        {
            "vary": pa.array([[n / 4] * (n % 4) for n in numbers], pa.list_(pa.float64())),
            "shaped": pa.array([[[n, n + 0.5, 0], [1, 2, 3]] for n in numbers], pa.list_(pa.list_(pa.float32()))),
            "raw": pa.array([bytes([n, 255, 0]) * (n % 3) for n in numbers], pa.binary()),
            "text": pa.array([f"é{chr(0x1F600 + n)}e\u0301\t" * (n % 3) for n in numbers]),
            "wide": pa.array([2**63 - 1 - n if n % 2 else -(2**53) - n for n in numbers]),
            "u": pa.array([2**64 - 1 - n for n in numbers], pa.uint64()),
            "note": pa.array([None if n % 3 else f"n{n}" for n in numbers]),
            "seven": pa.array([None if n % 4 else float(n) for n in numbers]),
        }
    )


def odd(folder: Path) -> mt.Graph:
    f = mt.input("f", "float64")
    arms = {"finite": affine("finite", 2.0), "rest": affine("rest", 1.0)}
    route = mt.route(arms, f, when={"finite": "abs(f) < 10"}, otherwise="rest", name="route")
    return mt.Graph("odd", {"y": route.output, "who": route.member})


def odd_right(row: Row) -> Row:
    return {"y": 2 * row["f"], "who": "finite"} if abs(row["f"]) < 10 else {"y": row["f"], "who": "rest"}


def odd_rows() -> pa.Table:
    return pa.table({"f": pa.array([math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1] * 5)})


STORED = ("dec", "when", "nest")


def stored(folder: Path) -> mt.Graph:
    """What Python makes of each value."""
    outputs: Row = {
        f"{name}_": mt.map(functions.told, mt.input(name, "any", default=None), name=f"told_{name}") for name in STORED
    }
    return mt.Graph("stored", {**outputs, "odd_": mt.input("odd", "int64", column="odd: name, ß")})


def stored_right(row: Row) -> Row:
    return {**{f"{name}_": repr(row[name]) for name in STORED}, "odd_": row["odd: name, ß"]}


def stored_rows() -> pa.Table:
    numbers = range(ROWS)
    start = datetime(2024, 2, 28, 23, 59, 59, 1)
    nested = pa.struct([("p", pa.list_(pa.int32())), ("q", pa.struct([("r", pa.string())]))])
    return pa.table(
        {
            "id": pa.array([n % 5 for n in numbers], pa.int32()),
            "dec": pa.array([None if n % 4 == 0 else Decimal(n).scaleb(-2) for n in numbers], pa.decimal128(10, 2)),
            "when": pa.array([start + timedelta(days=n) for n in numbers], pa.timestamp("us")),
            "nest": pa.array([{"p": [n] * (n % 3), "q": {"r": f"ü{n}"}} if n % 3 else None for n in numbers], nested),
            "odd: name, ß": pa.array(numbers, pa.int64()),
            "only kept": pa.array([[{"k": [Decimal(n)]}] * (n % 3) for n in numbers], pa.list_(pa.struct([("k", pa.list_(pa.decimal128(5, 1)))]))),
            "zoned": pa.array([start.replace(tzinfo=UTC)] * ROWS, pa.timestamp("ns", "Asia/Tokyo")),
            "dictionary": pa.array([KEYS[n % 5] for n in numbers]).dictionary_encode(),
        }
    )  # fmt: skip


KEYED = {"a": 2.0, "größe": 3.0, "N Y": 4.0, "07": 5.0}


def keyed(folder: Path) -> mt.Graph:
    """A file for each key, of which two may be loaded at a time; another model for the rest."""
    (folder / "keyed").mkdir()
    for key, scale in KEYED.items():
        onnxes.affine(folder / "keyed" / f"{key}.onnx", scale, 0.0)
    onnxes.affine(folder / "usual.onnx", -1.0, 0.0)
    (folder / "keyed.yaml").write_text(
        "{motet: 1, name: keyed, inputs: {x: 'float32', k: {type: string, default: null}},"
        " models: {each: {uri: 'keyed/{key}.onnx'}, usual: {uri: usual.onnx}},"
        " nodes: {n: {route: {'{key}': each, '*': usual}, key: k, missing: '*', inputs: [x], max_loaded: 2}},"
        " outputs: {y: n, who: n.member}}"
    )
    return mt.load(folder / "keyed.yaml")


def keyed_rows() -> pa.Table:
    keys = [*KEYED, "other", None]
    return pa.table(
        {"x": pa.array([float(n) for n in range(ROWS)], pa.float32()), "k": [keys[n % 6] for n in range(ROWS)]}
    )


def keyed_right(row: Row) -> Row:
    known = row["k"] in KEYED
    return {"y": row["x"] * (KEYED[row["k"]] if known else -1.0), "who": row["k"] if known else "*"}


def broken(folder: Path) -> mt.Graph:
    return mt.Graph(
        "broken", {"y": mt.model(fake(Failing, "broken", "float64"), mt.input("x", "float64"), name="asked")}
    )


def simple(folder: Path) -> mt.Graph:
    """Twice a number; one fails, and so does a row without a key."""
    one = mt.map(functions.refuse_one, mt.input("x", "float64"), name="one")
    return mt.Graph("simple", {"y": mt.map(functions.doubled, one), "key": mt.input("k", "string", default="none")})


def simple_right(row: Row) -> Row | tuple[str, str]:
    return (
        ("one", "ValueError") if row["x"] == 1 else {"y": 2 * row["x"], "key": "none" if row["k"] is None else row["k"]}
    )


def as_arrow(table: pa.Table, folder: Path) -> str:
    feather.write_feather(table, folder / "in.arrow", chunksize=9, compression="uncompressed")
    return "in.arrow"


def as_csv(table: pa.Table, folder: Path, name: str = "in.csv") -> str:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table.column_names)
        writer.writerows(["" if value is None else value for value in row.values()] for row in table.to_pylist())
    return name


def as_jsonl(table: pa.Table, folder: Path, name: str = "in.jsonl") -> str:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
    (folder / name).write_text(text, encoding="utf-8")
    return name


def as_gzip(table: pa.Table, folder: Path) -> str:
    as_jsonl(table, folder, "plain")
    (folder / "in.jsonl.gz").write_bytes(gzip.compress((folder / "plain").read_bytes()))
    return "in.jsonl.gz"


def as_many(table: pa.Table, folder: Path) -> str:
    (folder / "many").mkdir()
    for first in range(0, len(table), 3):
        as_csv(table.slice(first, 3), folder / "many", f"ü {first:03}.csv")
    return "many/"


def as_different(table: pa.Table, folder: Path) -> str:
    """The columns of files in another order, and one without that of which the graph has a default."""
    (folder / "different").mkdir()
    half = len(table) // 2
    pq.write_table(table.slice(0, half), folder / "different" / "1.parquet", row_group_size=8)
    pq.write_table(table.slice(half).select(["text", "x"]), folder / "different" / "2.parquet")
    return "different/"


def as_hive(table: pa.Table, folder: Path) -> str:
    for first, part in ((0, "a"), (len(table) // 2, "ü")):
        (folder / "hive" / f"part={part}").mkdir(parents=True)
        piece = table.slice(first, len(table) // 2)
        pq.write_table(piece, folder / "hive" / f"part={part}" / "x.parquet", row_group_size=4)
    return "hive/"


def pictures(folder: Path) -> mt.Graph:
    picture = mt.input("image", "uint8[?,?,3]")
    return mt.Graph("pictures", {"size": mt.map(functions.size, picture)})


def as_pictures(table: pa.Table, folder: Path) -> str:
    """Pictures of so many pixels across; one file is none."""
    for place, row in enumerate(table.to_pylist()):
        target = folder / "pictures" / row["label"] / f"é {place:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        if row["size"]:
            PIL.Image.new("RGB", (row["size"], 2)).save(target)
        else:
            target.write_bytes(b"\x89PNG")
    return "pictures/"


def pictures_rows() -> pa.Table:
    sizes = [1 + n % 5 for n in range(20)]
    sizes[7] = sizes[19] = 0
    return pa.table({"label": ["a"] * 10 + ["ß"] * 10, "size": sizes})


def pictures_right(row: Row) -> Row | tuple[str, str]:
    return {"size": row["size"]} if row["size"] else ("input", "InputError")


def handlers(made: Mapping[str, Any], server: OipServer, place: Path, folder: Path) -> mt.Graph:
    """A model of every handler, with files in a place."""
    models = {name: model for name, (model, _) in made.items()}
    models["oip_http"] = {"uri": f"oip+http://127.0.0.1:{server.port}/v2/models/scores"}
    alone = ("jax", "keras", "oip_http")
    written = {
        "motet": 1, "name": "handlers", "inputs": {"x": "float32[4]"}, "models": models,
        "nodes": {f"n_{name}": {"model": name, "inputs": ["x"]} for name in models},
        "outputs": {name: f"n_{name}" if name in alone else f"n_{name}.probabilities" for name in models},
    }  # fmt: skip
    (place / "handlers.yaml").write_text(json.dumps(written))
    return mt.load(place / "handlers.yaml")


def handlers_right(made: Mapping[str, Any]) -> Callable[[Row], Row]:
    """Each framework's own answer."""
    own = {**{name: answer for name, (_, answer) in made.items()}, "oip_http": trained.scores}
    answers = {name: np.asarray(answer(trained.X[:ROWS])).tolist() for name, answer in own.items()}
    places = {row.tobytes(): place for place, row in enumerate(trained.X[:ROWS])}
    return lambda row: {
        name: found[places[np.array(row["x"], np.float32).tobytes()]] for name, found in answers.items()
    }


SOURCES: dict[str, Callable[[pa.Table, Path], str] | None] = {
    "Parquet": None, "Arrow": as_arrow, "CSV": as_csv, "JSON Lines": as_jsonl, "gzip": as_gzip,
    "many small files": as_many, "Hive folders": as_hive,
}  # fmt: skip


def different_rows() -> pa.Table:
    table = rows()
    return table.set_column(
        1, "k", pa.array([k if n < ROWS // 2 else None for n, k in enumerate(table["k"].to_pylist())])
    )


def cases(folder: Path, server: OipServer) -> tuple[Case, ...]:
    """All of them.

    Args:
        folder: an empty one.
        server: has a model `scores`.
    """
    made = {name: write(folder, 1) for name, write in {**trained.FRAMEWORKS, **trained.MORE}.items()}
    return (
    Case("nodes", of("nodes", "map", "model", "ensemble", "ensemble with require", "cascade", "route by key", "route by key with a fallback", "route by split", "route by condition", "shard", "graphs inside", "models with before and after"), nodes, rows(), nodes_right),
    Case("failures", [*of("failures", "a null", "a value that does not fit", "a function raises", "a model raises", "a function answers what it did not declare", "no arm for a key", "no key", "all members of a cascade fail", "too few members of an ensemble", "a piece of a shard fails", "inside a graph"), *of("nodes", "cascade with on_error: fail")], failures, failures_rows(), failures_right),
    Case("values", of("values", "arrays that vary in length", "arrays of a shape", "bytes", "texts beyond ASCII", "whole numbers above 2^53"), values, values_rows(), values_right),
    Case("stored", [*of("values", "decimals, times and structs"), *of("columns that are kept", *FEATURES["columns that are kept"][1:])], stored, stored_rows(), stored_right, kept=stored_rows().column_names),
    Case("odd", of("values", "NaN and infinity"), odd, odd_rows(), odd_right),
    Case("keyed", of("nodes", "a model for each key", "models that share places"), keyed, keyed_rows(), keyed_right),
    Case("handlers", of("handlers", *FEATURES["handlers"]), partial(handlers, made, server, folder), pa.table({"x": pa.array(list(trained.X[:20]), pa.list_(pa.float32()))}), handlers_right(made), within=1e-6),
    Case("pictures", of("sources", "pictures in folders"), pictures, pictures_rows(), pictures_right, as_pictures),
    Case("broken", of("failures", "a model that fails on everything"), broken, rows(), error="model 'broken' failed on each of the "),
    *(Case(f"source_{n}", of("sources", name), simple, rows(), simple_right, write) for n, (name, write) in enumerate(SOURCES.items())),
    Case("different", of("sources", "files of different columns"), simple, different_rows(), simple_right, as_different),
    Case("no_rows", of("sources", "no rows"), simple, rows()[:0], simple_right),
    Case("one_row", [*of("sources", "one row"), *of("columns that are kept", "numbers and texts")], simple, rows(1), simple_right, as_csv, kept=("x", "k", "text")),
)  # fmt: skip
