"""Bytes as base64 in every dress that programs write it in, by every way that rows come in; Python's base64 wrote them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.base64_values import from_base64
from motet.errors import InputError
from motet.graph.input import Input
from motet.oip.messages import ModelInferRequest
from motet.serving.grpc.codec import read_columns
from motet.serving.wire.infer import InferCodec
from motet.types import ColumnType

DATA = [b"", b"hi", bytes(range(256)), b"\xfb\xff\xfe", b"{}"]


def _url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


DRESSES = {
    "plain": lambda data: base64.b64encode(data).decode(),
    "url safe": _url_safe,
    "url safe, not padded": lambda data: _url_safe(data).rstrip("="),
    "not padded": lambda data: base64.b64encode(data).decode().rstrip("="),
    "mime": lambda data: base64.encodebytes(data).decode(),
    "mime of windows": lambda data: base64.encodebytes(data).decode().replace("\n", "\r\n"),
    "indented": lambda data: "  " + base64.b64encode(data).decode() + "\t",
    "address": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
    "address in capitals": lambda data: "DATA:;BASE64," + base64.b64encode(data).decode(),
    "address, escaped": lambda data: "data:;base64," + base64.b64encode(data).decode().replace("=", "%3D"),
    "address, url safe": lambda data: "data:text/plain;charset=utf-8;base64," + _url_safe(data),
}
NONE = [
    "!!",
    "aGVsbG8?",
    "a",
    "aGVsb",
    "aG=",
    "aGk===",
    "a=Gk",
    "=",
    "aGVsbG9",
    "é",
    "data:text/plain,hi",
    "data:;base64",
]
"""Cut off, too much at the end, letters of no alphabet, addresses of something else; none may harm its neighbours."""

HELD = mt.Graph("held", outputs={"held": mt.map(lambda x: [bytes(each).hex() for each in x], mt.input("x", "bytes"))})


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("data", DATA, ids=len)
def test_every_dress_holds_its_bytes(dress: str, data: bytes) -> None:
    assert from_base64(DRESSES[dress](data)) == data


def _rows() -> tuple[list[str], list[bytes | None]]:
    dressed = [(make(data), data) for make in DRESSES.values() for data in DATA[1:]]
    mixed: list[tuple[str, bytes | None]] = [pair for wrong in NONE for pair in ((wrong, None), dressed[len(wrong)])]
    texts, wanted = zip(*dressed, *mixed, strict=True)
    return list(texts), list(wanted)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "b64.jsonl"])
def test_files(tmp_path: Path, suffix: str) -> None:
    texts, wanted = _rows()
    path = tmp_path / f"in.{suffix}"
    if suffix == "csv":
        path.write_bytes(b"x,other\r\n" + b"".join(f'"{text}",1\r\n'.encode() for text in texts))
    else:
        values = [{"b64": text} if suffix.startswith("b64") else text for text in texts]
        path.write_text("".join(json.dumps({"x": value}) + "\n" for value in values))
    result = HELD.run(path, tmp_path / "out.jsonl", batch_rows=7)
    held = [json.loads(line)["held"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert held == [data.hex() for data in wanted if data is not None]
    assert result.failed == wanted.count(None)


@pytest.mark.parametrize("wrapped", [False, True])
def test_rows_of_json(wrapped: bool) -> None:
    texts, wanted = _rows()
    answers = HELD.predict([{"x": {"b64": text} if wrapped else text} for text in texts])
    for text, data, answer in zip(texts, wanted, answers, strict=True):
        assert answer.get("held") == (None if data is None else data.hex()), text
        assert data is not None or text in NONE


LISTED = mt.Graph(
    "listed",
    outputs={
        "even": mt.map(lambda x: [repr(each.tolist()) for each in x], mt.input("two", "bytes[2]")),
        "any": mt.map(lambda x: [repr(each.tolist()) for each in x], mt.input("some", "bytes[?]")),
    },
)


def _lists(wrapped: bool) -> tuple[list[dict[str, Any]], list[dict[str, str] | None]]:
    """Rows of lists of bytes in every dress, one in three with a text or a value that is none."""
    rows, wanted = [], []
    wrong: list[object] = [*NONE, None, 3, True, ["aGk="]]
    for place, make in enumerate([*DRESSES.values()] * 3):
        two, some = DATA[1:3], DATA[: place % 4]
        row: dict[str, Any] = {name: [{"b64": make(data)} if wrapped else make(data) for data in datas]
               for name, datas in (("two", two), ("some", some))}  # fmt: skip
        if place % 3 == 2:
            row["two"][1] = wrong[place // 3 % len(wrong)]
        rows.append(row)
        wanted.append(None if place % 3 == 2 else {"even": repr(two), "any": repr(some)})
    return rows, wanted


@pytest.mark.parametrize("wrapped", [False, True])
def test_lists_in_rows_of_json(wrapped: bool) -> None:
    rows, wanted = _lists(wrapped)
    for row, answer, right in zip(rows, LISTED.predict(rows), wanted, strict=True):
        assert (None if "error" in answer else answer) == right, row


@pytest.mark.parametrize("wrapped", [False, True])
def test_lists_in_files(tmp_path: Path, wrapped: bool) -> None:
    rows, wanted = _lists(wrapped)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = LISTED.run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_rows=4)
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        right for right in wanted if right is not None
    ]
    assert result.failed == wanted.count(None)


def test_what_is_written_of_lists_is_read_as_the_same(tmp_path: Path) -> None:
    x = mt.input("x", "bytes[?]")
    same = mt.Graph("same", outputs={"x": mt.map(mt.returns(lambda kind: kind)(lambda x: x), x)})
    given = [[b"\xff\x00", b""], [], [b"a"]]
    for name in ("one.jsonl", "two.jsonl"):
        same.run({"x": given} if name == "one.jsonl" else tmp_path / "one.jsonl", tmp_path / name, batch_rows=2)
    lines = (tmp_path / "two.jsonl").read_text().splitlines()
    assert [[base64.b64decode(each) for each in json.loads(line)["x"]] for line in lines] == given


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_is_told_with_what_was_got(text: str) -> None:
    with pytest.raises(InputError) as caught:
        from_base64(text)
    assert repr(text) in str(caught.value)


def test_an_object_that_is_no_base64_is_shown() -> None:
    for value, shown in (({"b64": 3}, "3"), ({"c": "aGk="}, "{'c': 'aGk='}"), ({"b64": "aGk=", "c": 1}, "'c': 1")):
        (answer,) = HELD.predict([{"x": value}])
        assert answer["error"].startswith("input 'x' is bytes; got ")
        assert shown in answer["error"]


# MLServer's `content_type: base64` of a tensor

KINDS = {"bytes": lambda data: data, "string": lambda data: data.decode(), "any": lambda data: data.decode()}


def _over_rest(kind: str, texts: list[str], *, binary: bool, default: object = None) -> list[object]:
    given = Input(ColumnType.parse(kind)) if default is None else Input(ColumnType.parse(kind), default)
    codec = InferCodec("m", "1", {"x": given}, {}, 100)
    tensor: dict[str, Any] = {
        "name": "x",
        "datatype": "BYTES",
        "shape": [len(texts)],
        "parameters": {"content_type": "base64"},
    }
    if not binary:
        return codec.read(json.dumps({"inputs": [tensor | {"data": texts}]}).encode()).columns["x"].tolist()
    raw = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)
    tensor["parameters"]["binary_data_size"] = len(raw)
    head = json.dumps({"inputs": [tensor]}).encode()
    return [codec.read(head + raw, len(head)).columns["x"].tolist() for _ in range(2)][1]


def _over_grpc(kind: str, texts: list[str], *, raw: bool) -> list[object]:
    message = ModelInferRequest()
    tensor = message.inputs.add(name="x", datatype="BYTES", shape=[len(texts)])
    tensor.parameters["content_type"].string_param = "base64"
    if raw:
        message.raw_input_contents.append(
            b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)
        )
    else:
        tensor.contents.bytes_contents.extend(text.encode() for text in texts)
    columns, _ = read_columns(message, {"x": Input(ColumnType.parse(kind))}, 100)
    return columns["x"].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [False, True])
def test_tensors_of_base64(kind: str, raw: bool) -> None:
    datas = [b"hello", "ä".encode(), b"", b"fourteen bytes"]
    wanted = [KINDS[kind](data) for data in datas]
    for make in DRESSES.values():
        texts = [make(data) for data in datas]
        assert _over_rest(kind, texts, binary=raw) == wanted
        assert _over_grpc(kind, texts, raw=raw) == wanted


@pytest.mark.parametrize("text", NONE)
@pytest.mark.parametrize("raw", [False, True])
def test_an_element_that_is_no_base64_is_named(text: str, raw: bool) -> None:
    for over in (
        lambda: _over_rest("bytes", ["aGk=", text], binary=raw),
        lambda: _over_grpc("bytes", ["aGk=", text], raw=raw),
    ):
        with pytest.raises(InputError, match="input 'x': element 1 "):
            over()


def test_a_default_stands_in_for_null_as_it_is() -> None:
    assert _over_rest("bytes", ["aGk=", None], binary=False, default=b"aGk=") == [b"hi", b"aGk="]
