"""More graphs and rows that are played each way: combiners, keys of every type, what functions may do wrong, every dtype, nulls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import motet as mt
from helpers import engine_functions as functions
from helpers.engine_cases import ROWS, Case, Row, affine, failing, of, rows
from motet.testing.fakes import Affine, Failing, Scores, fake

LABELS = (("a", "b", "c"), ("c", "a", "b"), ("b", "d", "ü"))
"""Classes of three classifiers."""


def combining(folder: Path) -> mt.Graph:
    x = mt.input("x", "float64")
    three = {"one": affine("one", 1.0), "minus": affine("minus", -2.0), "half": affine("half", 0.5)}
    scores = [
        fake(Scores, f"s{n}", "float64", "float32[3]", output="p", seed=n, settings={"labels": labels})
        for n, labels in enumerate(LABELS)
    ]
    both = {"f": failing("f", 2.0, 5.0), "s": failing("s", 5.0, 7.0)}
    some = mt.ensemble(both, x, require=1, combine="stack", name="some")
    beside = {"now": affine("now", 3.0), "next": failing("next", 4.0, 3.0)}
    shadow = mt.ensemble(beside, x, weights={"next": 0}, name="shadow")
    outputs: Row = {name: mt.ensemble(three, x, combine=name, name=name).output for name in ("max", "median", "stack")}
    return mt.Graph(
        "combining",
        {
            **outputs,
            "own": mt.ensemble(three, x, combine=functions.spread, name="own"),
            "vote": mt.ensemble(scores[:2], x, weights=[2, 1], combine="majority_vote", name="vote").p,
            "mean": mt.ensemble(scores[:2], x, name="mean").p,
            "union": mt.ensemble(scores, x, combine="union", name="union").p,
            "some": mt.map(functions.told, some.output, name="told_some"),
            "f": mt.map(functions.told, some.f.output, name="told_f"),
            "who": some.member,
            "shown": shadow.output,
            "shadows": shadow.member,
        },
    )


def combining_right(row: Row) -> Row | tuple[str, str]:
    x = row["x"]
    if x == 5:
        return "some", "ValueError"
    own = [x, -2 * x, 0.5 * x]
    scores = [
        dict(zip(labels, Scores(3, n)(np.array([x]))[0].tolist(), strict=True)) for n, labels in enumerate(LABELS)
    ]
    best = [max("abc", key=lambda label, each=each: each[label]) for each in scores[:2]]  # type: ignore[misc]
    votes = {label: (2 * (best[0] == label) + (best[1] == label)) / 3 for label in "abc"}
    known = {label: [each[label] for each in scores if label in each] for label in "abcdü"}
    f, s = math.nan if x == 2 else x, math.nan if x == 7 else x
    return {
        "max": max(own), "median": sorted(own)[1], "stack": own, "own": max(own) - min(own), "vote": list(votes.values()) if x else [1, 0, 0],
        "mean": [(scores[0][label] + scores[1][label]) / 2 for label in "abc"],
        "union": [sum(each) / len(each) for each in known.values()], "some": repr([f, s]), "f": repr(f),
        "who": ",".join(name for name, value in (("f", f), ("s", s)) if value == value), "shown": 3 * x, "shadows": "now",
    }  # fmt: skip


def numbers(count: int) -> pa.Table:
    """Numbers that come again."""
    return pa.table({"x": pa.array([float(n % count) for n in range(ROWS)])})


def wrong(folder: Path) -> mt.Graph:
    """What functions and models may do wrong, for a number each."""
    x = mt.input("x", "float64")
    a = mt.map(functions.odd_answers, x, name="a")
    b = mt.map(functions.texts_for_five, a, outputs="float64", name="b")
    c = mt.map(functions.large_for_six, b, outputs="int8", name="c")
    d = mt.map(mt.ops.columns.cast, c, dtype="float64", name="d")
    e = mt.ensemble({"u": affine("u", 1.0), "v": affine("v", 2.0)}, d, combine=functions.unlucky, name="e")
    steps = {"x": affine("cx", 1.0), "y": affine("cy", 1.0)}
    g = mt.cascade(steps, mt.map(functions.too_sure, e, name="f"), confidence=0.9, of="output", name="g")
    h = mt.shard(affine("piece", 1.0), d, apart=functions.miscounted, together=functions.firsts, name="h")
    i = mt.map(functions.one_row, h, each=True, outputs="float64", name="i")
    less = mt.model(affine("less", 1.0, offset=-11.0), i)
    j = mt.model(affine("around", 1.0, settings={"before": functions.refuse_one}), less.output, name="j")
    lesser = mt.model(affine("lesser", 1.0, offset=-1.0), less.output)
    k = mt.model(affine("after", 1.0, settings={"after": functions.refuse_one}), lesser.output, name="k")
    return mt.Graph("wrong", {"y": i, "g": g.output, "j": j, "k": k})


WRONG = {
    1: ("a", "SystemExit"), 2: ("a", "AnswerError"), 3: ("a", "AnswerError"), 4: ("a", "NoException"), 5: ("b", "AnswerError"),
    6: ("c", "AnswerError"), 7: ("e", "ArithmeticError"), 8: ("g", "InputError"), 9: ("g", "InputError"), 10: ("h", "AnswerError"),
    11: ("i", "LookupError"), 12: ("j", "ValueError"), 13: ("k", "ValueError"),
}  # fmt: skip


def wrong_right(row: Row) -> Row | tuple[str, str]:
    x = row["x"]
    return WRONG.get(int(x)) or {"y": x, "g": x / 100, "j": x - 11, "k": x - 12}


FLOATS = {"float32": pa.float32(), "float64": pa.float64()}
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NESTED = {"texts": "string[2]", "blobs": "bytes[?]", "grid": "uint8[?,2]", "deep": "float32[2,1,2]", "flags": "bool[?]"}


def types(folder: Path) -> mt.Graph:
    kinds = {**{name: name for name in ("bool", *WHOLE, *FLOATS)}, **NESTED}
    return mt.Graph("types", {f"{name}_": mt.input(name, kind) for name, kind in kinds.items()})


def types_rows() -> pa.Table:
    places = range(ROWS)
    found: Row = {"bool": pa.array([bool(n % 2) for n in places])}
    for name in WHOLE:
        ends = np.iinfo(name)
        found[name] = pa.array([int(ends.max) - n if n % 2 else int(ends.min) + n for n in places], getattr(pa, name)())
    for name, kind in FLOATS.items():
        found[name] = pa.array(np.linspace(-3, 3, ROWS).astype(name), kind)
    floats = pa.list_(pa.list_(pa.list_(pa.float32())))
    return pa.table(
        {
            **found,
            "texts": pa.array([[f"ä{n}", ""] for n in places], pa.list_(pa.string(), 2)),
            "blobs": pa.array([[bytes([n]), b""] * (n % 3) for n in places], pa.list_(pa.binary())),
            "grid": pa.array([[[n, 1]] * (n % 3) for n in places], pa.list_(pa.list_(pa.uint8()))),
            "deep": pa.array([[[[n, 1]], [[2, 3]]] for n in places], floats),
            "flags": pa.array([[True, False] * (n % 3) for n in places], pa.list_(pa.bool_())),
        }
    )


def as_given(row: Row) -> Row:
    return {f"{name}_": value for name, value in row.items()}


def halves(folder: Path) -> mt.Graph:
    return mt.Graph("halves", {"h_": mt.input("h", "float16")})


def nulls(folder: Path) -> mt.Graph:
    kinds = {"text": "string", "raw": "bytes", "number": "float32", "thing": "any"}
    given: Row = {name: mt.input(name, kind, default=None) for name, kind in kinds.items()}
    whole, flag = mt.input("whole", "int32", default=-1), mt.input("flag", "bool", default=True)
    pair = mt.input("pair", "float64[2]", default=[1.0, 2.0])
    number = mt.map(mt.ops.columns.cast, whole, dtype="float64", name="number_of")
    arms = {"7": affine("seven", 7.0), "-1": affine("none", -1.0), "*": affine("others", 1.0)}
    kinds_of_text = {"null": affine("null", 1.0), "b": affine("b", 1.0), "rest": affine("rest", 1.0)}
    when = mt.route(
        kinds_of_text, number, when={"null": "isnull(text)", "b": "text == 'b'"}, otherwise="rest", name="when"
    )
    outputs: Row = {f"{name}_": mt.map(functions.told, column, name=f"told_{name}") for name, column in given.items()}
    key = mt.route(arms, number, key=whole, name="key")
    return mt.Graph(
        "nulls",
        {**outputs, "whole_": whole, "flag_": flag, "pair_": pair, "key": key.member, "when": when.member},
    )


def nulls_rows() -> pa.Table:
    def again(values: Sequence[Any], times: int, kind: Any) -> pa.Array:
        return pa.array([values[n // times % len(values)] for n in range(ROWS)], kind)

    return pa.table(
        {
            "text": again(["a", None, "b", ""], 1, pa.string()), "raw": again([None, b"\0", b""], 1, pa.binary()),
            "number": again([1.5, None, math.inf], 2, pa.float32()), "thing": again([None, 3], 3, pa.int64()),
            "whole": again([7, None, 8], 1, pa.int32()), "flag": again([False, None, True], 4, pa.bool_()),
            "pair": again([None, [3.0, 4.0]], 5, pa.list_(pa.float64())),
        }
    )  # fmt: skip


def nulls_right(row: Row) -> Row:
    whole, number = -1 if row["whole"] is None else row["whole"], math.nan if row["number"] is None else row["number"]
    text = {None: "null", "b": "b"}.get(row["text"], "rest")
    return {
        "text_": repr(row["text"]), "raw_": repr(row["raw"]), "number_": repr(number), "thing_": repr(row["thing"]),
        "whole_": whole, "flag_": row["flag"] is None or row["flag"], "pair_": row["pair"] or [1.0, 2.0],
        "key": str(whole) if whole in (7, -1) else "*", "when": text,
    }  # fmt: skip


NEEDED = {
    "small": "int8",
    "whole": "uint64",
    "pair": "float64[2]",
    "vary": "int64[?]",
    "text": "string",
    "flag": "bool",
}
GOOD = {"small": 1, "whole": 2, "pair": [1.0, 2.0], "vary": [1], "text": "x", "flag": True, "note": "n", "raw": b"r"}
RANGES = ({}, {"small": 300}, {"small": -129}, {"whole": -1}, {"vary": []}, {"text": ""})
HOLES = (
    {}, {"small": None}, {"pair": None}, {"pair": [1.0, None]}, {"pair": [None, None]}, {"pair": [1.0]}, {"pair": [1.0, 2.0, 3.0]},
    {"pair": []}, {"vary": [None]}, {"vary": [3, None]}, {"vary": None}, {"text": None}, {"flag": None}, {"note": None},
    {"raw": None}, {"note": "", "raw": b""},
)  # fmt: skip


def holes(name: str, folder: Path) -> mt.Graph:
    """Values that do not fit, and nulls that are answered."""
    note, raw = mt.input("note", "string", default=None), mt.input("raw", "bytes", default=None)
    outputs: Row = {f"{each}_": mt.input(each, kind) for each, kind in NEEDED.items()}
    return mt.Graph(name, {**outputs, "note_": note, "raw_": raw, "upper": mt.map(functions.upper, note)})


def holes_rows(odd: Sequence[Row]) -> pa.Table:
    kinds = {
        "small": pa.int64(), "whole": pa.int64(), "pair": pa.list_(pa.float64()), "vary": pa.list_(pa.int64()),
        "text": pa.string(), "flag": pa.bool_(), "note": pa.string(), "raw": pa.binary(),
    }  # fmt: skip
    return pa.Table.from_pylist([{**GOOD, **each} for each in odd for _ in (0, 1)], pa.schema(kinds))


def holes_right(row: Row) -> Row | tuple[str, str]:
    values = [row[name] for name in NEEDED]
    if None in values or any(isinstance(value, list) and None in value for value in values):
        return "input", "InputError"
    if len(row["pair"]) != 2 or not -128 <= row["small"] < 128 or row["whole"] < 0:
        return "input", "InputError"
    return {**as_given(row), "upper": row["note"] and row["note"].upper()}


def several(folder: Path) -> mt.Graph:
    """Several inputs and outputs, copies, padding, and calls of a size."""
    x, text, vary = mt.input("x", "float64[2]"), mt.input("text", "string"), mt.input("v", "float32[?]")
    wide = mt.Model(
        "python:helpers.engine_functions:Wide", "wide", inputs={"x": "float64[2]", "text": "string"}, replicas=2, concurrent=1,
        outputs={"sum": "float64", "said": "string", "flags": "bool[2]"}, batch=mt.Batching(max_rows=3),
    )  # fmt: skip
    padded = fake(Affine, "padded", "float32[?]", scale=2.0, settings={"batch": mt.Batching(pad=0, max_cost=6)})
    sized = affine("sized", 2.0, settings={"batch": mt.Batching(rows=4)})
    m = mt.model(wide, x, text, name="m")
    return mt.Graph(
        "several",
        {
            "sum": m.sum, "said": m.said, "flags": m.flags, "twice": mt.model(padded, vary).output,
            "sized": mt.model(sized, m.sum).output, "words": mt.map(functions.lengths, text),
            "each": mt.map(functions.one_row, m.sum, each=True, outputs="float64"),
        },
    )  # fmt: skip


def several_rows() -> pa.Table:
    places = range(ROWS)
    return pa.table(
        {
            "x": pa.array([[n - 5.0, 0.25] for n in places], pa.list_(pa.float64(), 2)),
            "text": [" ".join("ab" * k for k in range(n % 4)) for n in places],
            "v": pa.array([[float(n)] * (n % 5) for n in places], pa.list_(pa.float32())),
        }
    )


def several_right(row: Row) -> Row:
    total, words = sum(row["x"]), [float(len(word)) for word in row["text"].split()]
    return {
        "sum": total, "said": f"{row['text']}:{row['x'][0]:g}", "flags": [value > 0 for value in row["x"]],
        "twice": [2 * value for value in row["v"]], "sized": 2 * total, "words": words, "each": total,
    }  # fmt: skip


def routed(folder: Path) -> mt.Graph:
    """Keys of every type, members that are graphs, and splits without a key."""
    x, text = mt.input("x", "float64"), mt.input("s", "string", default=None)
    number, flag, whole = mt.input("f", "float32"), mt.input("b", "bool"), mt.input("i", "int8")
    deep, low = (
        mt.Graph(name, {"output": mt.model(failing(name, 3.0, scale=scale), mt.input("q", "float64"), name="asked")})
        for name, scale in (("deep", 10.0), ("low", 0.1))
    )
    by_number = mt.route({"0.1": affine("tenth", 1.0), "*": affine("other", 2.0)}, x, key=number, name="by_number")
    by_flag = mt.route({"true": affine("t", 1.0), "false": affine("f", 2.0)}, x, key=flag, name="by_flag")
    by_whole = mt.route({"-1|7": affine("w", 1.0), "*": affine("w2", 3.0)}, x, key=whole, name="by_whole")
    to_graph = mt.route({"7": deep, "*": affine("plain", 1.0)}, x, key=whole, name="to_graph")
    arms = {"l": affine("l", 1.0), "r": affine("r", 1.0)}
    split = mt.route(arms, x, split={"l": 1, "r": 3}, by=text, missing="r", salt="z", name="split")
    steps = {"first": mt.member(failing("first", 4.0, 6.0, scale=0.05), [x]), "last": mt.member(low, [x])}
    outputs: Row = {
        "f_": by_number.member, "b_": by_flag.output, "i_": by_whole.output, "g_": to_graph.output, "s_": split.member,
        "step": mt.cascade(steps, confidence=0.4, of="output", name="steps").member,
    }  # fmt: skip
    return mt.Graph("routed", outputs)


def routed_rows() -> pa.Table:
    places = range(ROWS)
    return pa.table(
        {
            "x": [float(n % 10) for n in places],
            "f": pa.array([(0.1, math.nan, 2.0, -0.0)[n % 4] for n in places], pa.float32()),
            "b": [n % 3 == 0 for n in places],
            "i": pa.array([(-1, 7, 9)[n % 3] for n in places], pa.int8()),
            "s": [None if n % 5 == 0 else f"ü{n}" for n in places],
        }
    )


def routed_right(row: Row) -> Row | tuple[str, str]:
    x, whole = row["x"], row["i"]
    if math.isnan(row["f"]):
        return "by_number", "InputError"
    if x == 3:
        return "deep/asked" if whole == 7 else "low/asked", "ValueError"
    right = {
        "f_": "0.1" if row["f"] == np.float32(0.1) else "*", "b_": x if row["b"] else 2 * x, "i_": x if whole in (-1, 7) else 3 * x,
        "g_": 10 * x if whole == 7 else x, "step": "first" if x >= 8 else "last",
    }  # fmt: skip
    return {**right, "s_": "r"} if row["s"] is None else right


def stages(folder: Path) -> mt.Graph:
    """Nodes that ask for different memory, which engines of clusters play one stage behind the other."""
    x, k = mt.input("x", "float64"), mt.input("k", "string", default=None)
    small, large = ({"resources": mt.Resources(memory_bytes=size << 20)} for size in (1, 2))
    first = mt.model(affine("small", 2.0, settings=small), mt.map(functions.refuse_one, x, name="one"), name="first")
    last = mt.model(fake(Failing, "large", "float64", bad=[6.0], scale=3.0, settings=large), first.output, name="last")
    arms = {"a": affine("arm", 1.0, settings=small), "*": affine("other", -1.0, settings=small)}
    return mt.Graph("stages", {"y": last.output, "x_": mt.route(arms, last.output, key=k, missing="*").output})


def stages_right(row: Row) -> Row | tuple[str, str]:
    x, k = row["x"], row["k"]
    if x in (1, 3):
        return ("one", "ValueError") if x == 1 else ("last", "ValueError")
    return {"y": 6 * x, "x_": 6 * x if k == "a" else -6 * x}


RARE = ("clock", "span", "huge", "half", "nothing")
"""Columns that only some take."""


def kept_rows() -> pa.Table:
    places, day = range(ROWS), date(1960, 1, 1)
    return pa.table(
        {
            "x": pa.array([float(n % 13) for n in places]),
            "day": pa.array([day + timedelta(days=n) for n in places], pa.date32()),
            "money": pa.array([Decimal(f"-{n}{'9' * 30}.{n:02}") for n in places], pa.decimal128(38, 2)),
            "map": pa.array([[(f"k{n}", [n])] * (n % 2) for n in places], pa.map_(pa.string(), pa.list_(pa.int8()))),
            "large": pa.array([f"ß{n}" for n in places], pa.large_string()),
            "fixed": pa.array([bytes([n, 0, 255]) for n in places], pa.binary(3)),
            "infinite": pa.array([(math.nan, math.inf, -0.0, None)[n % 4] for n in places]),
            "big": pa.array(["ü" * 100_000 if n % 20 == 0 else "" for n in places]),
            "clock": pa.array([time(23, 59, 59, n) for n in places], pa.time64("us")),
            "span": pa.array([timedelta(days=-n, microseconds=n) for n in places], pa.duration("us")),
            "huge": pa.array([Decimal(f"{n}{'9' * 60}.5") for n in places], pa.decimal256(70, 1)),
            "half": pa.array([np.float16(n / 4) for n in places], pa.float16()),
            "nothing": pa.nulls(ROWS),
        }
    )


def keeping(name: str, folder: Path) -> mt.Graph:
    return mt.Graph(name, {"y": mt.map(functions.refuse_one, mt.input("x", "float64"), name="one")})


def keeping_right(row: Row) -> Row | tuple[str, str]:
    return ("one", "ValueError") if row["x"] == 1 else {"y": row["x"]}


def cases() -> tuple[Case, ...]:
    """All of them."""
    plain = kept_rows().drop_columns(list(RARE))
    rare = kept_rows().select(["x", *RARE])
    return (
    Case("combining", of("nodes", "ensemble: all combiners", "ensemble with a function of one's own", "ensemble with a shadow", "columns of members"), combining, numbers(13), combining_right, within=1e-6),
    Case("wrong", [*of("failures", "what is no Exception", "rows too few or of another shape", "a combiner raises", "no probability to be confident of", "pieces that are miscounted", "before or after a model"), *of("nodes", "map row by row")], wrong, numbers(19), wrong_right),
    Case("types", of("values", "every dtype", "nested arrays"), types, types_rows(), as_given),
    Case("halves", of("values", "half numbers"), halves, pa.table({"h": pa.array(np.linspace(-3, 3, ROWS).astype("float16"), pa.float16())}), as_given),
    Case("nulls", of("values", "nulls with defaults"), nulls, nulls_rows(), nulls_right),
    Case("ranges", of("failures", "a number out of range"), partial(holes, "ranges"), holes_rows(RANGES), holes_right),
    Case("holes", [*of("failures", "a null inside a list"), *of("values", "nulls that are answered")], partial(holes, "holes"), holes_rows(HOLES), holes_right),
    Case("several", of("nodes", "several inputs and outputs", "copies, padding and sizes of calls"), several, several_rows(), several_right),
    Case("routed", of("nodes", "route by numbers and truth", "route to graphs"), routed, routed_rows(), routed_right),
    Case("stages", of("nodes", "stages of different memory"), stages, rows(), stages_right, kept=("text", "k")),
    Case("keeping", of("columns that are kept", "dates, maps and large texts"), partial(keeping, "keeping"), plain, keeping_right, kept=plain.column_names),
    Case("rare", of("columns that are kept", "times of day, durations and wide decimals"), partial(keeping, "rare"), rare, keeping_right, kept=rare.column_names),
)  # fmt: skip
