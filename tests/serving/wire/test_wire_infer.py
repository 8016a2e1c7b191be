"""Requests and answers: what is read is what was meant, in every form. numpy and the stock client are the oracles."""

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from motet.batch import Ragged, column_type, objects
from motet.errors import InputError
from motet.oip.tensors import DATATYPES
from motet.types import ColumnType
from serving.wire.wire_bodies import codec, dense, framed, request, tensor

NUMBERS = {name: dtype for name, dtype in DATATYPES.items() if name != "BYTES"}
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)


@st.composite
def numbers(draw):
    """A datatype, an array of it, and the type of its rows, some of whose axes vary."""
    datatype = draw(st.sampled_from(sorted(NUMBERS)))
    array = draw(arrays.arrays(NUMBERS[datatype], draw(SHAPES)))
    axes = draw(st.tuples(*(st.sampled_from([None, axis]) for axis in array.shape[1:])))
    return datatype, array, ColumnType(NUMBERS[datatype], axes)


def check(request, array, kind):
    column = request.columns["x"]
    assert request.rows == len(column) == len(array)
    assert isinstance(column, Ragged) == kind.varies
    if len(array):
        np.testing.assert_array_equal(dense(column), array)
        assert dense(column).dtype == array.dtype


@given(numbers(), st.booleans(), st.sampled_from(["", "a", "an id", 'é"\\', "\x1f"]))
def test_numbers_arrive_in_every_form(given_, nested, id):
    datatype, array, kind = given_
    reads = codec({"x": str(kind)}).read
    named = {"id": id} if id else {}
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    body, length = framed(raw, tensor("x", array.shape, datatype, size=len(raw)), **named)
    data = array.tolist() if nested else array.ravel().tolist()
    for _ in range(3):  # the first time, when it was seen before, and when it is known
        for got in (
            reads(body, length),
            reads(json.dumps({**named, "inputs": [tensor("x", array.shape, datatype, data)]}).encode(), None),
        ):
            check(got, array, kind)
            assert got.id == id
    if not kind.varies and kind.row_bytes:
        check(reads(raw, 0), array, kind)


@given(st.lists(st.text(), max_size=4), st.sampled_from(["string", "bytes"]))
def test_texts_arrive_in_every_form(texts, kind):
    reads = codec({"x": kind}).read
    expected = texts if kind == "string" else [text.encode() for text in texts]
    raw = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)
    for _ in range(3):
        got = reads(*framed(raw, tensor("x", [len(texts)], "BYTES", size=len(raw))))
        assert got.columns["x"].tolist() == expected
        assert reads(request(tensor("x", [len(texts)], "BYTES", texts)), None).columns["x"].tolist() == expected
    for text, value in zip(texts, expected, strict=True):
        assert reads(text.encode(), 0).columns["x"].tolist() == [value]


@pytest.mark.parametrize("datatype", sorted(NUMBERS))
def test_an_input_of_any_type_takes_every_datatype(datatype):
    array = np.array([[0, 1], [1, 0]], NUMBERS[datatype])
    reads = codec({"x": "any"}).read
    for got in (
        reads(*framed(array.tobytes(), tensor("x", [2, 2], datatype, size=array.nbytes))),
        reads(request(tensor("x", [2, 2], datatype, array.tolist())), None),
    ):
        np.testing.assert_array_equal(got.columns["x"], array)
        assert got.columns["x"].dtype == array.dtype


def test_several_inputs_stand_in_any_order_and_form():
    reads = codec({"a": "uint8", "b": "string", "c": "float32[2]", "d": "int16[?]"}).read
    a, c, d = np.array([1, 2], "u1"), np.eye(2, dtype="f4"), np.array([[7], [8]], "i2")
    body, length = framed(
        d.tobytes() + a.tobytes() + c.tobytes(),
        tensor("d", [2, 1], "INT16", size=4),
        tensor("b", [2], "BYTES", ["é", ""]),
        tensor("a", [2], "UINT8", size=2),
        tensor("c", [2, 2], "FP32", size=16),
    )
    for _ in range(2):
        columns = reads(body, length).columns
        assert columns["a"].tolist() == [1, 2]
        assert columns["b"].tolist() == ["é", ""]
        assert columns["c"].tolist() == c.tolist()
        assert columns["d"].rows()[1].tolist() == [8]
    assert columns["c"].flags.aligned


def test_defaults_stand_in_for_inputs_that_are_not_given():
    reads = codec({"x": "float32", "k": "int64[2]", "s": "string"}, k=[1, 2], s=None).read
    for got in (
        *(reads(request(tensor("x", [2], "FP32", [1, 2])), None) for _ in range(3)),
        *(reads(*framed(bytes(8), tensor("x", [2], "FP32", size=8))) for _ in range(2)),
        reads(bytes(8), 0),
    ):
        assert got.columns["k"].tolist() == [[1, 2], [1, 2]]
        assert got.columns["s"].tolist() == [None, None]
    got = reads(request(tensor("x", [1], "FP32", [1]), tensor("s", [1], "BYTES", ["a"])), None)
    assert got.columns["s"].tolist() == ["a"]


def test_ids_are_those_of_the_request_also_when_its_json_is_known():
    reads = codec({"x": "uint8"}).read
    for id in ("a", "b", "", "c", "ü", 'q"uote', "a\x7fb", "z" * 300):
        for _ in range(3):
            more = {"id": id} if id else {}
            said = {**more, "inputs": [tensor("x", [1], "UINT8", size=1)]}
            head = json.dumps(said, ensure_ascii=False).encode()
            assert reads(head + b"\1", len(head)).id == id
            said["inputs"] = [tensor("x", [1], "UINT8", [5])]
            assert reads(json.dumps(said, ensure_ascii=False).encode(), None).id == id
    head = b'{"id":"a","inputs":[{"name":"x","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}}],"id":"b"}'
    for _ in range(3):
        assert reads(head + b"\1", len(head)).id == "b"
    last = b'{"inputs":[{"name":"x","shape":[1],"datatype":"UINT8","data":[1]}],"id":"b"}'
    for _ in range(3):
        assert reads(last, None).id == "b"


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[%b]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data": [%b] }]}',
        b'{"inputs":[{"data":[[%b]],"name":"x","shape":[2],"datatype":"UINT8"}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[%b],"parameters":{"a":[1]}}]}',
        b'{"parameters":{"data":[3]},"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[%b]}]}',
        b'{"parameters":{"a":"\\"data\\":[3]"},"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[%b]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[9],"data":[%b]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[%b]}],"other":{"data":[3]}}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data"  :  [%b]}]}',
        b'{"id":"\\"data\\":[","inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[%b]}]}',
    ],
)
def test_the_elements_are_found_wherever_they_stand(body):
    reads = codec({"x": "uint8"}).read
    for first in range(6):
        assert reads(body % b"%d, 2" % first, None).columns["x"].tolist() == [first, 2]


def test_what_is_kept_is_bounded():
    c = codec({"x": "uint8"}, {"y": "float32[3]"})
    for place in range(300):
        x = tensor("x", [1], "UINT8", size=1, number=place)
        c.read(*framed(b"\1", x))
        for _ in range(2):
            c.read(request(tensor("x", [1], "UINT8", [1], number=place)), None)
        best = [{"name": "y", "parameters": {"classification": place + 1}}]
        c.read(request(tensor("x", [1], "UINT8", [1]), outputs=best), None)
    for kept in (c._plans, c._frames, c._seen, c._answers):
        assert len(kept) <= 64
    long = tensor("x", [1], "UINT8", size=1, text="z" * 5000)
    before = dict(c._plans)
    assert c.read(*framed(b"\7", long)).columns["x"].tolist() == [7]
    assert c._plans == before


def test_parameters_and_nulls_are_as_they_were_sent():
    reads = codec({"x": "uint8"}).read
    got = reads(request(tensor("x", [1], "UINT8", [1]), parameters={"timeout": 5, "mine": "a"}), None)
    assert got.parameters == {"timeout": 5, "mine": "a"}
    assert got.timed
    got = reads(
        b'{"id":null,"parameters":null,"outputs":null,"inputs":[{"name":"x","shape":[1],"datatype":"UINT8",'
        b'"data":[1],"parameters":null}]}',
        None,
    )
    assert (got.id, got.parameters, got.timed) == ("", {}, False)
    assert [each.name for each in got.wanted] == ["y"]


def test_zero_rows_are_answered_with_zero_rows():
    c = codec({"x": "float32[2]"}, {"y": "float32[3]", "s": "string", "r": "int64[?,2]"})
    got = c.read(request(tensor("x", [0, 2], "FP32", [])), None)
    columns = {
        "y": np.empty((0, 3), "f4"),
        "s": objects([]),
        "r": Ragged(np.empty(0, "i8"), np.zeros(1, "i8"), np.empty((0, 2), "i8")),
    }
    body, length = c.write(got, columns, 0, 0)
    assert length is None
    assert [(each["shape"], each["data"]) for each in json.loads(body)["outputs"]] == [
        ([0, 3], []),
        ([0], []),
        ([0, 0, 0], []),
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_json_holds_nan_and_infinity_as_triton_writes_them(number):
    c = codec({"x": "float32"}, {"y": "float64"})
    for _ in range(3):
        got = c.read(request(tensor("x", [2], "FP32", [number, 1.5])), None)
        np.testing.assert_array_equal(got.columns["x"], np.array([number, 1.5], "f4"))
    body, _ = c.write(got, {"y": np.array([number, 0.5])}, 0, 2)
    np.testing.assert_array_equal(json.loads(body)["outputs"][0]["data"], [number, 0.5])
    assert {"nan": b"[NaN,0.5]", "inf": b"[Infinity,0.5]", "-inf": b"[-Infinity,0.5]"}[str(number)] in body


@given(numbers(), st.integers(0, 3), st.integers(0, 3), st.booleans(), st.sampled_from(["", "id", 'a"b']))
def test_answers_are_what_the_stock_client_reads(given_, before, after, binary, id):
    datatype, array, kind = given_
    rows = [np.zeros((before, *array.shape[1:]), array.dtype), array, np.ones((after, *array.shape[1:]), array.dtype)]
    whole = np.concatenate(rows)
    c = codec({"x": "uint8"}, {"y": str(kind), "z": "any"})
    more = {"parameters": {"binary_data_output": binary}, "outputs": [{"name": "y"}, {"name": "z"}]}
    asked = c.read(request(tensor("x", [1], "UINT8", [1]), id=id, **more), None)
    column = Ragged.from_dense(whole) if kind.varies else whole
    for _ in range(2):
        body, length = c.write(asked, {"y": column, "z": whole}, before, before + len(array))
        assert (length is None) == (not binary)
        result = triton.InferResult.from_response_body(body, header_length=length)
        said = result.get_response()
        assert (said["model_name"], said["model_version"], said.get("id", "")) == ("m", "1", id)
        assert result.get_output("y")["datatype"] == datatype
        for name in ("y", "z") if len(array) else ():
            back = result.as_numpy(name)
            np.testing.assert_array_equal(back, array)
            assert back.dtype == array.dtype


@given(st.lists(st.text(), min_size=1, max_size=4), st.booleans(), st.sampled_from(["string", "bytes", "any"]))
def test_texts_are_what_the_stock_client_reads(texts, binary, kind):
    c = codec({"x": "uint8"}, {"y": kind})
    asked = c.read(request(tensor("x", [1], "UINT8", [1]), parameters={"binary_data_output": binary}), None)
    column = objects([text.encode() for text in texts] if kind == "bytes" else texts)
    body, length = c.write(asked, {"y": column}, 0, len(texts))
    back = triton.InferResult.from_response_body(body, header_length=length).as_numpy("y").tolist()
    assert [each.decode() if isinstance(each, bytes) else each for each in back] == texts


@given(numbers(), st.booleans(), st.sampled_from(["", "id", "é"]))
def test_what_the_stock_client_sends_is_read(given_, binary, id):
    datatype, array, kind = given_
    if datatype == "FP16" and not binary:
        return  # the stock client sends it in bytes only
    sent = triton.InferInput("x", list(array.shape), datatype)
    sent.set_data_from_numpy(array, binary_data=binary)
    wanted = triton.InferRequestedOutput("y", binary_data=not binary)
    body, length = triton.InferenceServerClient.generate_request_body(
        [sent], outputs=[wanted], request_id=id, timeout=7
    )
    reads = codec({"x": str(kind)}).read
    for _ in range(3):
        got = reads(body, length)
        check(got, array, kind)
        assert (got.id, got.parameters["timeout"], got.timed) == (id, 7, True)
        assert got.wanted == (("y", not binary, 0),)


def test_each_output_is_in_the_form_that_is_asked_for():
    c = codec({"x": "uint8"}, {"a": "int32", "b": "float32[2]", "c": "string"})
    outputs = [{"name": "c"}, {"name": "a", "parameters": {"binary_data": True}}]
    asked = c.read(request(tensor("x", [1], "UINT8", [1]), outputs=outputs), None)
    columns = {"a": np.arange(3, dtype="i4"), "b": np.zeros((3, 2), "f4"), "c": objects(["x", "y", "z"])}
    body, length = c.write(asked, columns, 1, 3)
    assert json.loads(body[:length])["outputs"] == [
        {"name": "c", "datatype": "BYTES", "shape": [2], "data": ["y", "z"]},
        {"name": "a", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}},
    ]
    assert body[length:] == np.array([1, 2], "<i4").tobytes()
    asked = c.read(
        request(
            tensor("x", [1], "UINT8", [1]),
            parameters={"binary_data_output": True},
            outputs=[{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}],
        ),
        None,
    )
    body, length = c.write(asked, columns, 0, 1)
    assert [("data" in each) for each in json.loads(body[:length])["outputs"]] == [True, False]
    assert len(body) - length == 8


def test_numbers_of_another_byte_order_are_written_as_the_protocol_wants_them():
    c = codec({"x": "uint8"}, {"a": "int32", "b": "any"})
    asked = c.read(b"\1", 0)
    columns = {"a": np.arange(3, dtype=">i4"), "b": np.arange(3, dtype=">i4")}
    result = triton.InferResult.from_response_body(*_swapped(c.write(asked, columns, 0, 3)))
    assert result.as_numpy("a").tolist() == result.as_numpy("b").tolist() == [0, 1, 2]


def _swapped(written):
    return written[0], False, written[1]


def test_columns_that_are_not_contiguous_are_written_in_order():
    c = codec({"x": "uint8"}, {"y": "int64[2]"})
    column = np.arange(6).reshape(2, 3).T
    for asked in (c.read(b"\1", 0), c.read(request(tensor("x", [1], "UINT8", [1])), None)):
        body, length = c.write(asked, {"y": column}, 1, 3)
        result = triton.InferResult.from_response_body(body, header_length=length)
        assert result.as_numpy("y").tolist() == [[1, 4], [2, 5]]


@pytest.mark.parametrize("binary", [False, True])
def test_the_best_classes_are_answered(binary):
    c = codec({"x": "uint8"}, {"y": "float32[3]"})
    wanted = triton.InferRequestedOutput("y", binary_data=binary, class_count=2)
    asked = c.read(request(tensor("x", [1], "UINT8", [1]), outputs=[wanted._get_tensor()]), None)
    column = np.array([[0.1, 0.7, 0.2], [0.5, 0, 0.25]], "f4")
    body, length = c.write(asked, {"y": column}, 0, 2)
    back = triton.InferResult.from_response_body(body, header_length=length).as_numpy("y").astype(str)
    assert back.tolist() == [["0.700000:1", "0.200000:2"], ["0.500000:0", "0.250000:2"]]


@given(numbers(), st.integers(0, 3))
def test_a_form_is_the_same_answer_with_its_head(given_, before):
    _, array, kind = given_
    c = codec({"x": "uint8"}, {"y": str(kind), "z": "int64"})
    asked = c.read(b"\1", 0)
    whole = np.concatenate([np.zeros((before, *array.shape[1:]), array.dtype), array])
    columns = {"y": whole, "z": np.arange(len(whole))}
    end = len(whole)
    form = c.form(asked, len(array))
    assert (form is None) == kind.varies
    if form is not None:
        head, _, body = form.answer(columns, before, end, b"date: now\r\n").partition(b"\r\n\r\n")
        written, length = c.write(asked, columns, before, end)
        assert body == written
        assert head.split(b"\r\n") == [
            b"HTTP/1.1 200 OK",
            b"content-type: application/octet-stream",
            b"content-length: %d" % len(body),
            b"inference-header-content-length: %d" % length,
            b"date: now",
        ]


def test_there_is_a_form_only_where_nothing_but_elements_differs():
    c = codec({"x": "uint8"}, {"y": "int64", "s": "string", "a": "any"})
    one = tensor("x", [1], "UINT8", [1])

    def has_form(*outputs, **more):
        named = [{"name": name, "parameters": parameters} for name, parameters in outputs]
        return c.form(c.read(request(one, outputs=named, **more), None), 1) is not None

    assert has_form(("y", {"binary_data": True}))
    assert not has_form(("y", {"binary_data": True}), id="a")
    assert not has_form(("y", {}))
    assert not has_form(("s", {"binary_data": True}))
    assert not has_form(("a", {"binary_data": True}))
    for rows in range(200):
        c.form(c.read(request(one, outputs=[{"name": "y", "parameters": {"binary_data": True}}]), None), rows)
    assert all(len(answers._forms) <= 64 for answers in c._answers.values())


def test_columns_are_views_of_the_body_where_they_can_be():
    body, length = framed(bytes(784), tensor("x", [1, 28, 28], "UINT8", size=784))
    got = codec({"x": "uint8[28,28]"}).read(body, length)
    assert got.columns["x"].base is body
    assert not got.columns["x"].flags.writeable
    assert column_type(got.columns["x"]) == ColumnType("uint8", (28, 28))


@given(st.sampled_from(sorted(NUMBERS)), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_scalars_may_have_axes_of_one_behind_the_rows(datatype, rows, axes, nested):
    """As the pandas codec of MLServer and many clients of numpy send columns."""
    array = np.arange(rows).astype(NUMBERS[datatype]).reshape(rows, *[1] * axes)
    reads = codec({"x": NUMBERS[datatype]}).read
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    body, length = framed(raw, tensor("x", array.shape, datatype, size=len(raw)))
    data = array.tolist() if nested else array.ravel().tolist()
    for _ in range(3):
        check(reads(body, length), array.reshape(rows), ColumnType(NUMBERS[datatype]))
        read = reads(request(tensor("x", array.shape, datatype, data)), None)
        check(read, array.reshape(rows), ColumnType(NUMBERS[datatype]))


@pytest.mark.parametrize("kind", ["string", "bytes", "string[1]"])
def test_texts_may_have_axes_of_one_too_and_lists_of_one_stay_lists(kind):
    read = codec({"x": kind}).read(request(tensor("x", [2, 1], "BYTES", ["a", "b"])), None)
    texts = ["a", "b"] if kind != "bytes" else [b"a", b"b"]
    assert read.columns["x"].tolist() == ([[each] for each in texts] if kind == "string[1]" else texts)


@pytest.mark.parametrize("shape", [[2.0], [2.0, 1], [2, 1.0]])
def test_a_whole_number_may_be_written_with_a_point(shape):
    """As JSON Schema has it: "integer" is a number without a fraction (draft 2020-12, validation, 6.1.1)."""
    made = codec({"x": "int64"}, {"y": "float32[3]"})
    body = request(
        tensor(shape=shape, datatype="INT64", data=[1, 2]),
        outputs=[{"name": "y", "parameters": {"classification": 2.0}}],
        parameters={"priority": 3.0},
    )
    raw, length = framed(np.arange(2).tobytes(), tensor(shape=shape, datatype="INT64", size=16.0))
    for _ in range(2):  # the second time its JSON is known
        asked = made.read(body)
        assert asked.columns["x"].tolist() == [1, 2]
        assert made.read(raw, length).columns["x"].tolist() == [0, 1]


@pytest.mark.parametrize("shape", [[1.5, 1], [True, 2], ["2"], [None], [float("inf")], [-2.0], 2, None])
def test_no_other_shape_is_one(shape):
    with pytest.raises(InputError):
        codec({"x": "int64"}).read(request({"name": "x", "datatype": "INT64", "shape": shape, "data": [1, 2]}))


@pytest.mark.parametrize(("depth", "taken"), [(50, True), (100, True), (101, False)])
def test_lists_may_be_nested_as_deep_as_in_triton(depth, taken):
    data: Any = 123
    for _ in range(depth):
        data = [data]
    for kind, shape in (("int64[1]", [1, 1]), ("int64", [1])):
        body = request(tensor(shape=shape, datatype="INT64", data=data))
        if taken:
            assert codec({"x": kind}).read(body).columns["x"].ravel().tolist() == [123]
        else:
            with pytest.raises(InputError, match="nested deeper than 100"):
                codec({"x": kind}).read(body)
