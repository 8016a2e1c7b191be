"""Requests that are read and answered at one go; what reads and answers them one by one is the oracle."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from motet.oip.tensors import DATATYPES
from motet.types import ColumnType
from serving.wire.wire_bodies import codec, framed, tensor

NUMBERS = {name: np.dtype(dtype) for name, dtype in DATATYPES.items() if name not in ("BYTES", "BOOL")}
WANTED = {"parameters": {"binary_data_output": True}}


@st.composite
def requests(draw):
    """Inputs by name: a datatype and, for each request, an array; all requests have the same number of rows."""
    rows, count = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    inputs = {}
    for name in draw(st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, unique=True)):
        datatype = draw(st.sampled_from(sorted(NUMBERS)))
        shape = (rows, *draw(arrays.array_shapes(min_dims=0, max_dims=2, max_side=3, min_side=0)))
        inputs[name] = datatype, [draw(arrays.arrays(NUMBERS[datatype], shape)) for _ in range(count)]
    return rows, count, inputs


@given(requests(), st.booleans())
def test_what_is_read_and_answered_together_is_what_is_read_and_answered_alone(given_, two_outputs):
    rows, count, inputs = given_
    kinds = {
        name: str(ColumnType(NUMBERS[datatype].name, each[0].shape[1:])) for name, (datatype, each) in inputs.items()
    }
    outputs = {"p": "float32[2]", "q": "int64"} if two_outputs else {"p": "float32[2]"}
    served = codec(kinds, outputs)
    bodies = []
    for place in range(count):
        raws = {
            name: each[place].astype(each[place].dtype.newbyteorder("<")).tobytes()
            for name, (_, each) in inputs.items()
        }
        tensors = [
            tensor(name, each[place].shape, datatype, size=len(raws[name])) for name, (datatype, each) in inputs.items()
        ]
        body, length = framed(b"".join(raws.values()), *tensors, **WANTED)
        bodies.append(body)
    alone = [served.read(body, length) for body in bodies]
    template = served.template(bodies[0][:length])
    assert template.rows == rows
    assert all(template.fits(body) for body in bodies)
    columns = template.columns(bodies)
    for name in inputs:
        expected = np.concatenate([each.columns[name] for each in alone])
        assert columns[name].dtype == expected.dtype
        assert columns[name].flags.aligned
        np.testing.assert_array_equal(columns[name], expected)
    answers = {"p": np.random.default_rng(0).random((rows * count, 2), np.float32), "q": np.arange(rows * count)}
    together = template.answers(answers, count, b"date: now\r\n")
    form = served.form(alone[0], rows)
    assert together == [
        form.answer(answers, place * rows, (place + 1) * rows, b"date: now\r\n") for place in range(count)
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"id": "seven", **WANTED}, "its answer has an id"),
        ({}, "outputs are wanted in JSON"),
        ({"parameters": {"binary_data_output": True, "timeout": 7}}, "it has a time"),
        ({"parameters": {"binary_data_output": True, "priority": 1}}, "it has a priority"),
    ],
)
def test_what_is_said_of_one_request_alone_keeps_it_alone(body, why):
    served = codec({"x": "float32"})
    whole, length = framed(bytes(8), tensor("x", [2], "FP32", size=8), **body)
    served.read(whole, length)
    assert served.template(whole[:length]) is None, why


def test_only_bodies_of_its_size_and_json_fit():
    served = codec({"x": "float32"})
    body, length = framed(bytes(8), tensor("x", [2], "FP32", size=8), **WANTED)
    assert served.template(body[:length]) is None, "no such request was read"
    served.read(body, length)
    template = served.template(body[:length])
    assert template.fits(body)
    assert not template.fits(body + b"x")
    assert not template.fits(body[:-1])
    assert not template.fits(body.replace(b'"x"', b'"y"'))


def test_inputs_that_need_a_look_keep_requests_alone():
    texts = json.dumps(["a"]).encode()
    served = codec({"x": "string", "y": "float32"}, y=0.0)
    raw = len(texts).to_bytes(4, "little") + texts
    body, length = framed(raw, tensor("x", [1], "BYTES", size=len(raw)), **WANTED)
    served.read(body, length)
    assert served.template(body[:length]) is None
