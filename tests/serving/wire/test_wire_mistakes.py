"""What is wrong with a request is said: where, what was expected, what was got."""

import json
import re

import numpy as np
import pytest

from motet.batch import Ragged, objects
from motet.errors import InputError, TooLargeError
from motet.types import ColumnType
from serving.wire.wire_bodies import codec, framed, request, tensor

X = {"x": "float32[2]"}
GOOD = tensor("x", [1, 2], "FP32", [1, 2])


def refused(reads, body, length=None):
    """The message, which is the same when the JSON was seen before and when it is known."""
    messages = set()
    for _ in range(3):
        with pytest.raises(InputError) as caught:
            reads(body, length)
        assert caught.value.status == 400
        messages.add(str(caught.value))
    (message,) = messages
    return message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON: "),
        (b"{", "the body is not JSON: "),
        (b"NaN,", "the body is not JSON: "),
        (b"\xff\xfe", "the body is not JSON: "),
        (b'{"a": NaN, "b": "\\ud800"}', "the body is not JSON: "),
        (b"[" * 100_000, "the body is not JSON: "),
        (b"[NaN" + b"[" * 100_000, "the body is not JSON: "),
        (b'{"inputs": [{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}]}", "the body is not JSON: "),
        (b"[]", "the body must be a JSON object with 'inputs'; got []"),
        (b"{}", "'inputs' must be a list of tensors; got nothing"),
        (b'{"inputs": {}}', "'inputs' must be a list of tensors; got {}"),
        (b'{"inputs": []}', "input 'x' is missing; 'm' takes x: float32[2]"),
        (b'{"inputs": [1]}', "inputs[0]: must be an object with name, shape, datatype and data; got 1"),
        (b'{"inputs": [{}]}', "inputs[0]: 'name' must be a text; got None"),
        (b'{"inputs": [{"name": "x"}]}', "input 'x': 'datatype' must be a text; got None"),
        (b'{"inputs": [{"name":"x","datatype":"FP32"}]}', "input 'x': 'shape' must be a list of whole numbers; got None"),
        (request(GOOD, id=7), "'id' must be a text; got 7"),
        (request(GOOD, parameters=[1]), "the request: 'parameters' must be an object; got [1]"),
        (request(GOOD, parameters={"binary_data_output": 1}), "the request: 'binary_data_output' must be true or false; got 1"),
        (request(GOOD, outputs={"name": "y"}), "'outputs' must be a list; got {'name': 'y'}"),
        (request(GOOD, outputs=["y"]), "outputs[0]: must be an object with a name; got 'y'"),
        (request(GOOD, outputs=[{"name": "z"}]), "unknown output 'z'; known: y"),
        (request(GOOD, outputs=[{"name": "y"}] * 2), "output 'y' is asked for twice"),
        (request(GOOD, outputs=[{"name": "y", "parameters": 1}]), "output 'y': 'parameters' must be an object; got 1"),
        (
            request(GOOD, outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]),
            "output 'y': 'binary_data' must be true or false; got 'yes'",
        ),
        (
            request(GOOD, outputs=[{"name": "y", "parameters": {"classification": 0}}]),
            "output 'y': 'classification' must be a whole number from 1; got 0",
        ),
        (
            request(GOOD, outputs=[{"name": "y", "parameters": {"classification": 1}}]),
            "output 'y': is float32, and 'classification' takes numbers with one axis",
        ),
        (
            request(GOOD, outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}]),
            "output 'y': shared memory is not offered",
        ),
        (
            request(tensor("x", [1, 2], "FP32", shared_memory_region="r")),
            "input 'x': shared memory is not offered",
        ),
        (request(tensor("y", [1, 2], "FP32", [1, 2])), "unknown input 'y'; known: x"),
        (request(GOOD, GOOD), "input 'x' is given twice"),
        (request(tensor("x", [1, 2])), "input 'x': has neither 'data' nor the parameter 'binary_data_size'"),
        (
            request(tensor("x", [1, 2], "FP32", [1, 2], size=8)),
            "input 'x': has both 'data' and the parameter 'binary_data_size'",
        ),
        (
            request(tensor("x", [1, 2], size=8)),
            "input 'x': has 'binary_data_size', and the request has no Inference-Header-Content-Length",
        ),
        (request(tensor("x", [1, 2], size=-8)), "input 'x': 'binary_data_size' must be a number of bytes; got -8"),
        (request(tensor("x", [1, 2], size=True)), "input 'x': 'binary_data_size' must be a number of bytes; got True"),
        (request(tensor("x", [1, 2], "FP64", [1, 2])), "input 'x': is float32[2], so its datatype is FP32; got FP64"),
        (request(tensor("x", [1, 2], "BYTES", ["a", "b"])), "input 'x': is float32[2], so its datatype is FP32; got BYTES"),
        (request(tensor("x", [1, 2], "FLOAT", [1, 2])), "input 'x': unknown datatype 'FLOAT'; known: BOOL, UINT8, "),
        (request(tensor("x", [1, 2], "BF16", [1, 2])), "input 'x': unknown datatype 'BF16'"),
        (request(tensor("x", [1, 3], "FP32", [1, 2, 3])), "input 'x': is float32[2], so its shape is [-1, 2]; got [1, 3]"),
        (request(tensor("x", [2], "FP32", [1, 2])), "input 'x': is float32[2], so its shape is [-1, 2]; got [2]"),
        (request(tensor("x", [1, 2, 1], "FP32", [1, 2])), "input 'x': is float32[2], so its shape is [-1, 2]; got [1, 2, 1]"),
        (request(tensor("x", [], "FP32", [1])), "input 'x': the shape is empty; its first axis must be the row"),
        (request(tensor("x", [-1, 2], "FP32", [1, 2])), "input 'x': shape [-1, 2] has a negative axis"),
        (request(tensor("x", [1.5, 2], "FP32", [1, 2])), "input 'x': 'shape' must be a list of whole numbers; got [1.5, 2]"),
        (request(tensor("x", [True, 2], "FP32", [1, 2])), "input 'x': 'shape' must be a list of whole numbers; got [True, 2]"),
        (request(tensor("x", [1] * 40, "FP32", [1])), "input 'x': shape has 40 axes; 32 at most"),
        (request(tensor("x", [1, 2], "FP32", [1])), "input 'x': FP32 of shape [1, 2] has 2 elements; got 1"),
        (request(tensor("x", [1, 2], "FP32", [[1, 2], [3, 4]])), "input 'x': FP32 of shape [1, 2] has 2 elements; got 4"),
        (request(tensor("x", [1, 2], "FP32", 5)), "input 'x': data must be a list; got 5"),
        (request(tensor("x", [1, 2], "FP32", "12")), "input 'x': data must be a list; got '12'"),
        (request(tensor("x", [1, 2], "FP32", [[1], 2])), "input 'x': data is nested unevenly"),
        (request(tensor("x", [1, 2], "FP32", json.loads("[" * 101 + "]" * 101))), "input 'x': data is nested deeper than 100 lists"),
        (request(tensor("x", [1, 2], "FP32", [1, "2"])), "input 'x': element 1 of FP32 must be a number; got '2'"),
        (request(tensor("x", [1, 2], "FP32", [None, 2])), "1 of 1 rows failed: row 0: input 'x' holds a null"),
        (request(tensor("x", [1, 2], "FP32", [1, {}])), "input 'x': element 1 of FP32 must be a number; got {}"),
        (request(tensor("x", [1, 2], "FP32", [1, [2]])), "input 'x': element 1 of FP32 must be a number; got [2]"),
        (request(tensor("x", [1, 2], "FP32", [1, 1e39])), "input 'x': element 1 is 1e+39, out of range of FP32"),
        (request(tensor("x", [1, 2], "FP32", [float("inf"), -1e39])), "input 'x': element 1 is -1e+39, out of range of FP32"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_json_is_said(body, message):
    assert refused(codec(X).read, body).startswith(message)


@pytest.mark.parametrize(
    ("kind", "datatype", "data", "message"),
    [
        ("uint8", "UINT8", [256], "element 0 is 256, out of range of UINT8"),
        ("uint8", "UINT8", [-1], "element 0 is -1, out of range of UINT8"),
        ("uint8", "UINT8", [1.5], "element 0 of UINT8 must be a whole number; got 1.5"),
        ("uint8", "UINT8", ["1"], "element 0 of UINT8 must be a whole number; got '1'"),
        ("int8", "INT8", [128], "element 0 is 128, out of range of INT8"),
        ("bool", "INT8", [1], "is bool, so its datatype is BOOL; got INT8"),
        ("int64", "INT64", [float("inf")], "element 0 of INT64 must be a whole number; got inf"),
        ("uint16", "UINT16", [-1], "element 0 is -1, out of range of UINT16"),
        ("int32", "INT32", [2**31], "element 0 is 2147483648, out of range of INT32"),
        ("uint64", "UINT64", [-1], "element 0 is -1, out of range of UINT64"),
        ("int64", "INT64", [2**63], "element 0 is 9223372036854775808, out of range of INT64"),
        ("int64", "INT64", [10**30], "element 0 is 1e+30, out of range of INT64"),
        ("float16", "FP16", [70000], "element 0 is 70000, out of range of FP16"),
        ("bool", "BOOL", [2], "element 0 is 2, not 0 or 1"),
        ("bool", "BOOL", ["true"], "element 0 of BOOL must be true or false; got 'true'"),
        ("string", "BYTES", [1], "element 0 of BYTES must be a text; got 1"),
        ("string", "BYTES", [["a"], "b"], "data is nested unevenly"),
        ("string", "UINT8", [1], "is string, so its datatype is BYTES; got UINT8"),
        ("any", "BF16", [1], "unknown datatype 'BF16'"),
        ("any", "FP32", ["a"], "element 0 of FP32 must be a number; got 'a'"),
    ],
)
def test_wrong_elements_are_named(kind, datatype, data, message):
    body = request(tensor("x", [len(data)], datatype, data))
    assert refused(codec({"x": kind}).read, body).startswith(f"input 'x': {message}")


@pytest.mark.parametrize(
    ("kind", "datatype", "data", "message"),
    [
        ("int8", "INT16", [1, 128], "input 'x' is int8; got 128, which is out of its range"),
        ("int8", "FP64", [1, 1.5], "input 'x' is int8; got 1.5, which is not whole"),
        ("int8", "INT8", [1, None], "input 'x' is null"),
        ("string", "BYTES", ["a", None], "input 'x' is null"),
        ("bool", "BOOL", [1, None], "input 'x' is null"),
        (
            "float64",
            "INT64",
            [1, 2**53 + 1],
            "input 'x' is float64; got 9007199254740993, which it cannot hold exactly",
        ),
        ("int64", "INT64", [1, float("nan")], "input 'x' is null"),
    ],
)
def test_rows_that_are_none_of_the_type_are_named(kind, datatype, data, message):
    said = refused(codec({"x": kind}).read, request(tensor("x", [2], datatype, data)))
    assert said == f"1 of 2 rows failed: row 1: {message}"


@pytest.mark.parametrize(
    ("kind", "datatype", "data", "default", "wanted"),
    [
        ("int64", "INT64", [3.0, 2**62 + 1], None, [3, 2**62 + 1]),
        ("int64", "FP64", [3.0, -1], None, [3, -1]),
        ("float64", "INT64", [3, 2**53], None, [3.0, 2.0**53]),
        ("float64", "FP32", [0.5, 1], None, [0.5, 1.0]),
        ("uint8", "BOOL", [True, False], None, [1, 0]),
        ("int8", "INT64", [-128, 127], None, [-128, 127]),
        ("int64", "INT64", [1, None], 7, [1, 7]),
        ("int64", "FP64", [1, float("nan")], 7, [1, 7]),
        ("string", "BYTES", ["a", None], "z", ["a", "z"]),
        ("bytes", "BYTES", ["a", None], b"z", [b"a", b"z"]),
        ("any", "BYTES", ["a", None], "z", ["a", "z"]),
        ("bool", "BOOL", [1, None], False, [True, False]),
    ],
)
def test_values_of_other_datatypes_are_taken_where_nothing_is_lost(kind, datatype, data, default, wanted):
    reads = codec({"x": kind}, **({} if default is None else {"x": default})).read
    for _ in range(3):
        got = reads(request(tensor("x", [2], datatype, data))).columns["x"]
        assert (got.tolist(), got.dtype) == (wanted, ColumnType.parse(kind).numpy_dtype)


@pytest.mark.parametrize(
    ("raw", "given", "message"),
    [
        (bytes(7), {"size": 8}, "the inputs have 8 bytes together; got 7"),
        (bytes(9), {"size": 8}, "the inputs have 8 bytes together; 1 bytes are left over"),
        (bytes(7), {"size": 7}, "input 'x': FP32 of shape [1, 2] takes 8 bytes; got 7"),
        (b"", {"size": 2**70}, "the inputs have 1180591620717411303424 bytes together; got 0"),
        (bytes(8), {"size": 8, "datatype": "BYTES"}, "input 'x': is float32[2], so its datatype is FP32; got BYTES"),
        (
            np.array([1, 2**24 + 1], "<i4").tobytes(),
            {"size": 8, "datatype": "INT32"},
            "1 of 1 rows failed: row 0: input 'x' is float32[2]; got 16777217, which it cannot hold exactly",
        ),
        (bytes(8), {"size": 8, "shape": [2, 1]}, "input 'x': is float32[2], so its shape is [-1, 2]; got [2, 1]"),
        (bytes(8), {"data": [1, 2]}, "the inputs have 0 bytes together; 8 bytes are left over"),
    ],
)
def test_what_is_wrong_with_bytes_is_said(raw, given, message):
    given = {"shape": [1, 2], **given}
    body, length = framed(raw, tensor("x", **given))
    assert refused(codec(X).read, body, length).startswith(message)


@pytest.mark.parametrize(
    ("kind", "shape", "raw", "message"),
    [
        ("string", [1], b"\4\0\0\0ab", "element 0 of BYTES should have 4 bytes; 2 are left"),
        ("string", [2], b"\1\0\0\0a", "the shape has 2 elements; got 1"),
        ("string", [0], b"\1\0\0\0a", "the shape has 0 elements; got 0, and 5 bytes that belong to none"),
        ("string", [1], b"\1\0\0\0\xff", "element 0 is not UTF-8: invalid start byte at byte 0"),
        ("bool", [1], b"\2", "a BOOL must be 0 or 1"),
    ],
)
def test_bytes_that_must_be_looked_at_are_looked_at_each_time(kind, shape, raw, message):
    body, length = framed(raw, tensor("x", shape, "BOOL" if kind == "bool" else "BYTES", size=len(raw)))
    assert refused(codec({"x": kind}).read, body, length) == f"input 'x': {message}"


def test_a_json_that_is_longer_than_the_body_is_said():
    assert refused(codec(X).read, b"{}", 10) == "the JSON should have 10 bytes; the body has 2"
    assert refused(codec(X).read, b"[]  ", 2).startswith("the JSON before the tensors must be a JSON object")
    body, length = framed(bytes(8), tensor("x", [1, 2], size=8))
    reads = codec(X).read
    reads(body, length)
    assert (
        refused(reads, body[:length], length + 8) == f"the JSON should have {length + 8} bytes; the body has {length}"
    )


@pytest.mark.parametrize(
    ("inputs", "body", "message"),
    [
        ({"x": "float32[2]"}, bytes(12), "input 'x': a row of float32[2] has 8 bytes; got 12, which is no multiple"),
        ({"x": "float32[?]"}, bytes(12), "input 'x': is float32[?], so its rows do not follow from its bytes"),
        ({"x": "any"}, bytes(12), "input 'x': is any, so its rows do not follow from its bytes"),
        ({"x": "string[2]"}, bytes(12), "input 'x': is string[2], so its rows do not follow from its bytes"),
        ({"x": "uint8[0]"}, b"", "input 'x': is uint8[0], so its rows do not follow from its bytes"),
        ({"x": "bool"}, b"\2", "input 'x': a BOOL must be 0 or 1"),
        ({"x": "string"}, b"\xff", "input 'x': element 0 is not UTF-8"),
        ({"x": "uint8", "z": "uint8"}, b"\1", "a body without JSON is for models with one input; 'm' takes x, z"),
    ],
)
def test_what_is_wrong_with_a_body_without_json_is_said(inputs, body, message):
    assert refused(codec(inputs).read, body, 0).startswith(message)


def test_inputs_must_agree_in_their_rows():
    body = request(tensor("x", [1], "FP32", [1]), tensor("z", [2], "FP32", [1, 2]))
    message = refused(codec({"x": "float32", "z": "float32"}).read, body)
    assert message == "inputs differ in their number of rows: input 'z' has 2, those before it 1"
    body = request(tensor("x", [1], "FP32", [1]))
    message = refused(codec({"x": "float32", "z": "float32"}).read, body)
    assert message == "input 'z' is missing; 'm' takes x: float32, z: float32"
    message = refused(codec({"x": "float32"}, x=1.0).read, b'{"inputs": []}')
    assert message.startswith("no input is given, so there is no number of rows")


def test_more_rows_than_a_request_may_have_are_too_many():
    reads = codec({"x": "uint8"}, max_rows=2).read
    for body, length in (
        (request(tensor("x", [3], "UINT8", [1, 2, 3])), None),
        framed(bytes(3), tensor("x", [3], "UINT8", size=3)),
        (bytes(3), 0),
        (request(tensor("x", [2**63], "UINT8", [])), None),
    ):
        for _ in range(3):
            with pytest.raises(TooLargeError, match=r"input 'x': \d+ rows; a request may have 2") as caught:
                reads(body, length)
            assert caught.value.status == 413
    assert reads(bytes(2), 0).rows == 2


def test_axes_too_big_for_any_array_are_refused():
    for shape in ([0, 2**62, 2**62], [1, 2**62, 0]):
        body = request(tensor("x", shape, "FP32", []))
        assert re.match(r"input 'x': shape \[.*\] is too big", refused(codec({"x": "any"}).read, body))


def test_outputs_that_have_no_form_are_said():
    c = codec({"x": "uint8"}, {"y": "any"})
    in_json, in_bytes = c.read(request(tensor("x", [1], "UINT8", [1])), None), c.read(b"\1", 0)
    for asked, column, message in (
        (
            in_json,
            objects([b"\xff", b"a"]),
            "output 'y': element 0 is not UTF-8, and JSON can only hold text\n  hint: ask",
        ),
        (in_json, objects(["a", "\ud800"]), "output 'y': element 1 is not UTF-8, and JSON can only hold text"),
        (in_bytes, objects(["a", "\ud800"]), "output 'y': holds a text that has no UTF-8"),
        (in_json, objects([None, "a"]), "output 'y': row 0 of any is null, and BYTES has texts and bytes only"),
        (
            in_bytes,
            Ragged.from_rows([np.zeros(2), np.zeros(3)]),
            "output 'y': rows differ in shape, and a tensor has one",
        ),
    ):
        with pytest.raises(InputError) as caught:
            c.write(asked, {"y": column}, 0, 2)
        assert str(caught.value).startswith(message)
        assert caught.value.status == (400 if "UTF-8" in message else 422)  # whether another form would do


@pytest.mark.parametrize("datatype", ["INT64", "UINT8", "INT8", "FP16", "FP32", "FP64"])
@pytest.mark.parametrize("kind", ["int64", "uint8", "float64", "bool"])
@pytest.mark.parametrize("data", [[1, True], [[False], [0]], [None, True], [True, float("nan")]])
def test_true_and_false_are_no_numbers(kind, datatype, data):
    reads = codec({"x": kind}).read
    message = f"input 'x': got true or false where a number of {datatype} should be"
    for shape in ([2], [2, 1]):
        assert refused(reads, request(tensor("x", shape, datatype, data))) == message
        assert refused(reads, *framed(b"", tensor("x", shape, datatype, data))) == message
        more = {"parameters": {"binary_data_output": True}}
        assert refused(reads, request(tensor("x", shape, datatype, data), **more)) == message


def test_true_is_no_number_either_where_requests_like_it_were_read_before():
    reads = codec({"x": "int64"}).read
    for _ in range(4):
        assert reads(request(tensor("x", [2], "INT64", [1, 2])), None).columns["x"].tolist() == [1, 2]
    for wrong in ([1, True], [False, 2]):
        refused(reads, request(tensor("x", [2], "INT64", wrong)))


def test_true_is_true_where_bools_are_wanted_or_sent():
    for kind, wanted in (("bool", [True, False]), ("int64", [1, 0]), ("float32", [1, 0])):
        for given in ([True, False], [1, 0]):
            read = codec({"x": kind}).read(request(tensor("x", [2], "BOOL", given)), None)
            assert read.columns["x"].tolist() == wanted
