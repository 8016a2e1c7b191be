"""One value is one value, whichever way it comes: the same answer, or the same refusal of its row alone.

What is right is told by exact arithmetic (`value_cases.outcome`). Rows of all kinds share a batch, and batches are small.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import motet as mt
from differential.value_cases import (
    BY_TYPE,
    DEFAULTS,
    FORMS,
    KINDS,
    MISSING,
    NUMBERS,
    REFUSED,
    STORED,
    TAKEN,
    WRITTEN,
    outcome,
)
from helpers.live_server import Live
from helpers.told import told
from motet.client import Client
from motet.errors import TypeMismatchError
from motet.oip.messages import ModelInferRequest, ModelInferResponse
from motet.oip.tensors import encode_bytes

BATCH_ROWS = 3
DATATYPES = {
    "bool": "BOOL", "int8": "INT8", "int64": "INT64", "uint64": "UINT64", "float16": "FP16", "float32": "FP32",
    "float64": "FP64", "string": "BYTES", "bytes": "BYTES",
}  # fmt: skip
CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT64": "int64_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
ARROW = {"string": pa.string(), "bytes": pa.binary()}


def telling(kind: str, *, default: bool) -> mt.Graph:
    """A graph that says what it was given."""
    options: dict[str, Any] = {"default": DEFAULTS[kind]} if default else {}
    name = f"{kind}_or" if default else kind
    return mt.Graph(name, outputs={"y": mt.map(told, mt.input("x", kind, **options), outputs="string")})


GRAPHS = {(kind, default): telling(kind, default=default) for kind in KINDS for default in (False, True)}


ECHOES = {
    kind: mt.Graph(f"echo_{place}", outputs={"y": mt.input("x", kind)})
    for place, kind in enumerate(dict.fromkeys(kind for kind, *_ in FORMS))
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("values")
    graphs = [*GRAPHS.values(), *ECHOES.values()]
    for graph in graphs:
        graph.save(folder / f"{graph.name}.yaml")
    live = Live(folder, *(folder / f"{graph.name}.yaml" for graph in graphs))
    live.until_ready()
    yield live
    live.close()


@pytest.fixture(scope="module")
def http(live: Any) -> Iterator[Any]:
    with httpx.Client(base_url=live.url, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def channel(live: Any) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel:
        yield channel


def wanted(values: Any, stored: Any, kind: Any, default: Any, show: Any = repr, *, json: bool = False) -> Any:
    """What each row is to say; a refusal as the beginning of its text; None where the type alone is refused."""
    found = []
    for value in values:
        what, number = outcome(value, stored, kind)
        if json and isinstance(value, bool) and kind in NUMBERS and kind != "bool":
            what = REFUSED  # true and false of JSON are no numbers
        if what == BY_TYPE:
            return None
        if what == MISSING:
            found.append(repr(DEFAULTS[kind]) if default else ("is null",))
        else:
            found.append(repr(number) if what == TAKEN else (f"is {kind}; got {show(value)}",))
    return found


def check(got: Any, right: Any, values: Any) -> None:
    assert len(got) == len(right)
    for value, row, want in zip(values, got, right, strict=True):
        if isinstance(want, tuple):
            assert isinstance(row, tuple), f"{value!r}: {want[0]!r} is wanted, and {row!r} is said"
            assert row[0].startswith(want[0]), f"{value!r}: {want[0]!r} is wanted, and {row[0]!r} is said"
        else:
            assert row == want, f"{value!r}"


def why(message: Any) -> Any:
    """The text of a refusal without the name of what is refused."""
    for name in ("input 'x' ", "column 'x' "):
        _, found, after = message.partition(name)
        if found:
            return (after,)
    raise AssertionError(message)


def called(graph: Any, column: Any) -> Any:
    answers, failures = graph({"x": column}, failures="return")
    return placed(answers["y"].tolist(), {each.row: why(each.message) for each in failures}, len(column))


def placed(answers: Any, failures: Any, rows: Any) -> Any:
    left = iter(answers)
    return [failures[row] if row in failures else next(left) for row in range(rows)]


def ran(graph: Any, source: Any) -> Any:
    table, failures = graph.run(source, failures="return", batch_rows=BATCH_ROWS, keep=[])
    rows = source.num_rows if isinstance(source, pa.Table) else table.num_rows + len(failures)
    return placed(table["y"].to_pylist(), {each.row: why(each.message) for each in failures}, rows)


def table_of(values: Any, stored: Any) -> Any:
    kind = ARROW.get(stored) or pa.from_numpy_dtype(np.dtype(stored))
    given = [np.dtype(stored).type(value) if stored == "float16" and value is not None else value for value in values]
    return pa.table({"x": pa.array(given, kind)})


def in_column(values: Any, stored: Any) -> Any:
    if stored in ("string", "bytes"):
        return np.fromiter(values, object, len(values))
    return np.array(values, stored)


# Typed ways: each gives a list of what the rows say, or None where the type alone is refused.


def by_numpy(graph: Any, values: Any, stored: Any, folder: Any) -> Any:
    if None in values or stored in ("string", "bytes"):  # objects have no type, and are as those of a list
        return None
    return called(graph, in_column(values, stored))


def by_frame(graph: Any, values: Any, stored: Any, folder: Any) -> Any:
    return called_frame(graph, table_of(values, stored))


def called_frame(graph: Any, table: Any) -> Any:
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    answers, failures = graph(frame, failures="return")
    return placed(answers["y"].tolist(), {each.row: why(each.message) for each in failures}, len(frame))


def by_table(graph: Any, values: Any, stored: Any, folder: Any) -> Any:
    return ran(graph, table_of(values, stored))


def by_parquet(graph: Any, values: Any, stored: Any, folder: Any) -> Any:
    pq.write_table(table_of(values, stored), folder / "x.parquet", row_group_size=4)
    return ran(graph, str(folder / "x.parquet"))


def by_arrow(graph: Any, values: Any, stored: Any, folder: Any) -> Any:
    feather.write_feather(table_of(values, stored), folder / "x.arrow", chunksize=4, compression="uncompressed")
    return ran(graph, str(folder / "x.arrow"))


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [by_numpy, by_frame, by_table, by_parquet, by_arrow])
def test_what_is_stored(way: Any, kind: Any, stored: Any, default: bool, tmp_path: Path) -> None:
    graph = GRAPHS[kind, default]
    for values in (STORED[stored], [*STORED[stored], None, STORED[stored][0]]):
        right = wanted(values, stored, kind, default)
        try:
            got = way(graph, values, stored, tmp_path)
        except TypeMismatchError:
            assert right is None
            continue
        if got is not None:
            assert right is not None, f"{stored} is taken for {kind}: {got}"
            check(got, right, values)


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["list", "objects"])
def test_what_is_written_in_python(way: str, kind: Any, default: bool) -> None:
    graph = GRAPHS[kind, default]
    values = [*WRITTEN, math.nan, math.inf, None, b"a", b"\xff"]
    right = wanted(values, None, kind, default)
    given = values if way == "list" else np.fromiter(values, object, len(values))
    check(called(graph, given), right, values)
    if kind != "any":  # a column that is stored has one type
        check(ran(graph, {"x": given}), right, values)
        check(ran(graph, [{"x": given[:5]}, {"x": given[5:]}]), right, values)
    for value, want in zip(values, right, strict=True):  # and alone
        check(called(graph, [value] if way == "list" else np.fromiter([value], object, 1)), [want], [value])


def in_text(value: Any) -> Any:
    """A value as CSV has it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("kind", [each for each in KINDS if each not in ("bytes", "any")])
def test_what_is_written_in_csv(kind: Any, default: bool, tmp_path: Path) -> None:
    """A field has no quotes that tell a text from a number: `7` is both."""
    numbers = [each for each in WRITTEN if isinstance(each, (int, float)) and not isinstance(each, bool)]
    numbers = [each for each in numbers if each != 2.0**63 or type(each) is int]  # whose text is another number
    texts = [each for each in WRITTEN if isinstance(each, str) and each]
    taken: dict[str, list[Any]] = {"bool": [True, False, "a"], "string": texts}
    values = [*taken.get(kind, [*numbers, math.inf, "a"]), None]
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["x", "n"], *([in_text(each), "1"] for each in values)])
    right = wanted(values, None, kind, default, lambda value: repr(in_text(value)))
    check(ran(GRAPHS[kind, default], str(tmp_path / "x.csv")), right, values)


def in_json(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("kind", [each for each in KINDS if each not in ("bytes", "any")])
def test_what_is_written_in_json_lines(kind: Any, default: bool, tmp_path: Path) -> None:
    values = [*(each for each in WRITTEN if each != 2.0**63 or type(each) is int), None]  # whose text is another number
    (tmp_path / "x.jsonl").write_text(
        "".join(json.dumps({"x": value}, ensure_ascii=False) + "\n" for value in values), "utf-8"
    )
    right = wanted(values, None, kind, default, in_json, json=True)
    check(ran(GRAPHS[kind, default], str(tmp_path / "x.jsonl")), right, values)


# Live


def infer(http: Any, name: Any, body: Any, headers: Any = None) -> Any:
    """What the only row says over `/v2`, or why it is refused."""
    answer = http.post(
        f"/v2/models/{name}/infer", content=body, headers=headers or {"content-type": "application/json"}
    )
    said = answer.json()
    if answer.status_code == 200:
        (output,) = said["outputs"]
        return output["data"]
    assert answer.status_code == 400, said
    return said["error"]


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_as_json_rows(http: Any, kind: Any, default: bool) -> None:
    name = GRAPHS[kind, default].name
    values = [*WRITTEN, math.nan, math.inf, None]
    right = wanted(values, None, kind, default, json=True)
    if kind == "bytes":  # a text is base64 there
        values, right = [each for each in values if not isinstance(each, str)], [r for v, r in zip(values, right, strict=True) if not isinstance(v, str)]  # fmt: skip
        values, right = [*values, "YQ==", ""], [*right, repr(b"a"), repr(b"")]
    body = json.dumps({"rows": [{"x": value} for value in values]})
    said = http.post(f"/predict/{name}", content=body).json()["rows"]
    check([why(each["error"]) if "error" in each else each["y"] for each in said], right, values)
    for value, want in zip(values, right, strict=True):
        answer = http.post(f"/predict/{name}", content=json.dumps({"x": value}))
        assert answer.status_code == (400 if isinstance(want, tuple) else 200)
        check([why(answer.json()["error"]) if answer.status_code != 200 else answer.json()["y"]], [want], [value])


def tensor(values: Any, datatype: Any, data: Any) -> Any:
    return {"name": "x", "shape": [len(values)], "datatype": datatype, **data}


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("stored", [each for each in STORED if each != "bytes"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_what_is_a_tensor_over_http(http: Any, kind: Any, stored: Any, binary: bool, default: bool) -> None:
    def ask(values: Any) -> Any:
        datatype = DATATYPES[stored]
        if not binary:
            return infer(http, name, json.dumps({"inputs": [tensor(values, datatype, {"data": values})]}))
        raw = raw_of(values, stored)
        head = json.dumps(
            {"inputs": [tensor(values, datatype, {"parameters": {"binary_data_size": len(raw)}})]}
        ).encode()
        return infer(http, name, head + raw, {"Inference-Header-Content-Length": str(len(head))})

    name = GRAPHS[kind, default].name
    check_tensors(ask, kind, stored, default, nulls=not binary)


def raw_of(values: Any, stored: Any) -> Any:
    return encode_bytes(values) if stored in ("string", "bytes") else np.array(values, stored).tobytes()


def check_tensors(ask: Any, kind: Any, stored: Any, default: Any, *, nulls: bool = False) -> None:
    """Each value alone, and all together: a request is refused whole, naming its rows."""
    stored_as = {"string": "string", "bytes": "string"}.get(stored, stored) if kind != "bytes" else {"string": "bytes"}.get(stored, stored)  # fmt: skip
    values = [*STORED[stored], *([None] if nulls else [])]
    given = [each.encode() if kind == "bytes" and isinstance(each, str) else each for each in values]
    right = wanted(given, stored_as, kind, default)
    if right is None:
        said = ask(values)
        assert isinstance(said, str)
        assert not said.startswith(("INTERNAL", "UNKNOWN"))
        assert f"is {kind}, so its datatype is {DATATYPES[kind]}; got {DATATYPES[stored]}" in said
        return
    for value, want in zip(values, right, strict=True):
        said = ask([value])
        check([why(said) if isinstance(said, str) else said[0]], [want], [value])
    good = [value for value, want in zip(values, right, strict=True) if not isinstance(want, tuple)]
    assert ask(good) == [want for want in right if not isinstance(want, tuple)] or not good
    bad = [row for row, want in enumerate(right) if isinstance(want, tuple)]
    if bad:
        said = ask(values)
        assert f"{len(bad)} of {len(values)} rows failed: row {bad[0]}: " in said


@pytest.mark.parametrize("kind", [each for each in KINDS if each not in ("any", "bytes")])
def test_what_is_written_as_a_tensor_of_the_types_own_datatype(http: Any, kind: Any) -> None:
    """Numbers of JSON have no width of their own; 0 and 1 may stand for a BOOL, as clients write it, but no bool for a number."""
    for value in [*WRITTEN, *([] if kind == "string" else [math.nan, math.inf]), None]:
        (want,) = wanted([value], None, kind, False)
        if kind == "bool" and value in (0, 1) and not isinstance(value, float):
            want = repr(bool(value))
        said = infer(http, kind, json.dumps({"inputs": [tensor([value], DATATYPES[kind], {"data": [value]})]}))
        if isinstance(value, bool) and kind not in ("bool", "string"):
            assert said == f"input 'x': got true or false where a number of {DATATYPES[kind]} should be"
        elif isinstance(want, tuple):
            assert isinstance(said, str), f"{value!r}"
            assert ("is null" if value is None or value != value else repr(value)) in said
        else:
            assert said == [want], f"{value!r}"


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [False, True], ids=["contents", "raw"])
def test_what_is_a_tensor_over_grpc(channel: Any, kind: Any, stored: Any, raw: bool, default: bool) -> None:
    datatype = DATATYPES[stored]
    if datatype == "FP16" and not raw:
        return  # has no contents
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=ModelInferRequest.SerializeToString,
        response_deserializer=ModelInferResponse.FromString,
    )

    def ask(values: Any) -> Any:
        message = ModelInferRequest(model_name=GRAPHS[kind, default].name)
        given = message.inputs.add(name="x", datatype=datatype, shape=[len(values)])
        if raw:
            message.raw_input_contents.append(raw_of(values, stored))
        else:
            elements = [each.encode() if isinstance(each, str) else each for each in values]
            getattr(given.contents, CONTENTS[datatype]).extend(elements)
        try:
            answer = call(message, timeout=60)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        if answer.raw_output_contents:
            return decoded(answer.raw_output_contents[0])
        return [each.decode() for each in answer.outputs[0].contents.bytes_contents]

    values = STORED[stored]
    if stored == "bytes" and kind == "string":
        assert "is not UTF-8" in ask([b"\xff\x00"])
        return
    if stored == "bytes" and kind == "any":  # the protocol does not tell texts from bytes: UTF-8 is text
        assert ask(values) == [repr("a"), repr(""), repr("7"), repr(b"\xff\x00")]
        return
    check_tensors(ask, kind, stored, default)


def decoded(raw: Any) -> Any:
    found, start = [], 0
    while start < len(raw):
        size = int.from_bytes(raw[start : start + 4], "little")
        found.append(raw[start + 4 : start + 4 + size].decode())
        start += 4 + size
    return found


@pytest.mark.parametrize("stored", [each for each in STORED if each != "bytes"])
@pytest.mark.parametrize("kind", [each for each in KINDS if each != "bytes"])  # whose metadata are those of texts
def test_what_the_client_sends(live: Any, kind: Any, stored: Any) -> None:
    right = wanted(STORED[stored], stored, kind, False)
    with Client(live.url) as client:
        for row, value in enumerate(STORED[stored]):
            if right is None or isinstance(right[row], tuple):
                with pytest.raises(mt.InputError, match=r"is .*; got|is null"):
                    client.infer(kind, {"x": in_column([value], stored)})
            else:
                assert client.infer(kind, {"x": in_column([value], stored)})["y"].tolist() == [right[row]]


@pytest.mark.parametrize(("kind", "value", "text", "row", "data"), FORMS)
def test_what_is_written_is_read_and_written_again(
    http: Any, tmp_path: Path, kind: Any, value: Any, text: Any, row: Any, data: Any
) -> None:
    graph = ECHOES[kind]
    if text is not None:
        with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["x"], [text]])
        for suffix in ("csv", "parquet"):
            graph.run(str(tmp_path / "x.csv"), str(tmp_path / f"y.{suffix}"), keep=[])
        with (tmp_path / "y.csv").open(newline="", encoding="utf-8") as file:
            assert list(csv.reader(file)) == [["y"], [text]]
        assert pq.read_table(tmp_path / "y.parquet")["y"].to_pylist() == [value]
    (tmp_path / "x.jsonl").write_text(f'{{"x":{row}}}\n', "utf-8")
    for suffix in ("jsonl", "parquet"):
        graph.run(str(tmp_path / "x.jsonl"), str(tmp_path / f"y.{suffix}"), keep=[], overwrite=True)
    assert (tmp_path / "y.jsonl").read_text("utf-8") == f'{{"y":{row}}}\n'
    assert pq.read_table(tmp_path / "y.parquet")["y"].to_pylist() == [value]
    assert http.post(f"/predict/{graph.name}", content=f'{{"x":{row}}}').text == f'{{"y":{row}}}'
    if data is not None:
        axes = f"1,{len(value)}" if isinstance(value, list) else "1"
        datatype = {"float32[2]": "FP32", "uint8[?]": "UINT8"}.get(kind) or DATATYPES[kind]
        head = f'"name":"x","shape":[{axes}],"datatype":"{datatype}"'
        elements = data.strip("[]")
        answer = http.post(f"/v2/models/{graph.name}/infer", content=f'{{"inputs":[{{{head},"data":[{elements}]}}]}}')
        assert f'"data":[{elements}]' in answer.text
