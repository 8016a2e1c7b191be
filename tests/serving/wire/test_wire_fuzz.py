"""Whatever comes, it is read or refused; and a codec that knows many requests reads as one that knows none."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import InputError, TooLargeError
from serving.wire.wire_bodies import codec, dense, framed, request, tensor

KINDS = {"x": "uint8[2]", "f": "float32[?]", "s": "string", "a": "any", "b": "bool"}
DEFAULTS = {"x": [1, 2], "f": [1.0], "s": "", "a": None, "b": True}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
GOOD = [
    framed(b"\1\2", tensor("x", [1, 2], "UINT8", size=2), id="a"),
    framed(bytes(8), tensor("f", [1, 2], "FP32", size=8), outputs=[{"name": "y", "parameters": {"binary_data": True}}]),
    framed(b"\1\0\0\0a", tensor("s", [1], "BYTES", size=5), tensor("x", [1, 2], "UINT8", [3, 4])),
    framed(b"\1\0", tensor("b", [2], "BOOL", size=2), parameters={"binary_data_output": True, "timeout": 9}),
    (request(tensor("x", [2, 2], "UINT8", [[1, 2], [3, 4]])), None),
    (request(tensor("x", [1, 2], "UINT8", [1, 2]), id="b"), None),
    (request(tensor("f", [1, 2], "FP32", [float("nan"), 2.5]), tensor("a", [1], "BYTES", ["é"])), None),
    (request(tensor("x", [1, 2], "UINT8", [1, 2]), tensor("s", [1], "BYTES", ["a"]), id="b"), None),
    (b"\1\2", 0),
]


def outcome(c, body, length):
    """What a codec makes of a body, so that two can be compared."""
    try:
        got = c.read(body, length)
    except (InputError, TooLargeError) as error:
        return str(error)
    for column in got.columns.values():
        assert len(column) == got.rows
    columns = {
        name: (str(column.dtype), repr(dense(column).tolist())) for name, column in got.columns.items() if got.rows
    }
    return columns, got.rows, got.id, repr(got.parameters), got.wanted


def fresh():
    return codec(KINDS, **DEFAULTS)


KNOWING = fresh()


def agree(body, length):
    for _ in range(3):
        assert outcome(KNOWING, body, length) == outcome(fresh(), body, length)


@given(st.binary(max_size=100), st.none() | st.integers(0, 110))
def test_random_bytes(body, length):
    agree(body, length)


@given(JSON, st.binary(max_size=10), st.booleans())
def test_random_json(value, raw, with_bytes):
    body = json.dumps(value).encode()
    agree(*((body + raw, len(body)) if with_bytes else (body, None)))


TENSORS = st.fixed_dictionaries(
    {"name": st.sampled_from([*KINDS, "z"]), "shape": JSON | st.lists(st.integers(-1, 3), max_size=3)},
    optional={
        "datatype": JSON | st.sampled_from(["UINT8", "FP32", "BYTES", "BOOL", "FP16", "INT64", "BF16"]),
        "data": JSON | st.lists(st.integers(0, 3) | st.floats() | st.text(max_size=2), max_size=6),
        "parameters": JSON | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 9)}),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=3) | JSON},
    optional={
        "id": JSON,
        "parameters": JSON,
        "outputs": JSON
        | st.lists(
            st.fixed_dictionaries({"name": st.just("y")}, optional={"parameters": JSON}),
            max_size=2,
        ),
    },
)


@given(REQUESTS, st.binary(max_size=12), st.booleans())
def test_random_requests(value, raw, with_bytes):
    body = json.dumps(value).encode()
    agree(*((body + raw, len(body)) if with_bytes else (body, None)))


@given(st.sampled_from(GOOD), st.data())
def test_good_requests_with_some_bytes_changed(good, data):
    body, length = bytearray(good[0]), good[1]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1)) if body else 0
        what = data.draw(st.sampled_from(["change", "drop", "double", "insert", "cut"]))
        if what == "change" and body:
            body[place] = data.draw(st.sampled_from(b'"]}[{,:0\\ \xff\0') | st.integers(0, 255))
        elif what == "drop" and body:
            del body[place]
        elif what == "double":
            body[place:place] = body[place : place + 9]
        elif what == "insert":
            body[place:place] = data.draw(
                st.sampled_from([b'"data":[1,2]', b'"id":"c",', b"[", b"]", b"NaN", b"1e999", b"-"])
            )
        else:
            del body[place:]
    agree(bytes(body), length)


@given(st.sampled_from(GOOD), st.none() | st.integers(0, 300))
def test_good_requests_with_another_length(good, length):
    agree(good[0], length)


def test_good_requests_are_read():
    for body, length in GOOD:
        if length != 0:
            assert not isinstance(outcome(fresh(), body, length), str)


@given(st.lists(st.integers(0, 255) | st.sampled_from([256, -1, 1.5, None, "a", True, [1]]), min_size=2, max_size=2))
def test_elements_are_read_the_same_when_the_json_around_them_is_known(elements):
    body = request(tensor("x", [1, 2], "UINT8", elements))
    first, *others = [outcome(KNOWING, body, None) for _ in range(3)]
    assert others == [first, first]
    if not isinstance(first, str):
        assert first[0]["x"] == ("uint8", repr(np.array(elements, "u1").reshape(1, 2).tolist()))


ODD_TEXTS = st.sampled_from(["a", "", "true", '"data":', "]", "}", '"data":[1]}', "\0", "é"])
ODD = ODD_TEXTS | st.sampled_from([0, 1, 1.5, 300, None, True, False, [1], float("nan")])
SEVERAL = st.tuples(
    st.lists(ODD, min_size=2, max_size=2), st.lists(ODD, min_size=1, max_size=2), st.lists(ODD, min_size=1, max_size=1),
    st.lists(ODD, min_size=1, max_size=1), st.permutations(range(4)), st.sampled_from(["", "c", "}"]), st.booleans(),
)  # fmt: skip


@given(SEVERAL)
def test_elements_of_several_inputs_are_read_the_same_when_the_json_around_them_is_known(several):
    x, f, s, b, order, id, dense_json = several
    tensors = [
        tensor("x", [1, 2], "UINT8", x), tensor("f", [1, len(f)], "FP32", f),
        tensor("s", [1], "BYTES", s), tensor("b", [1], "BOOL", b),
    ]  # fmt: skip
    value = {**({"id": id} if id else {}), "inputs": [tensors[place] for place in order]}
    body = json.dumps(value, separators=(",", ":") if dense_json else None, ensure_ascii=False).encode()
    agree(body, None)


def test_what_was_cut_out_of_json_is_not_taken_for_a_byte_of_it():
    known = request(tensor("x", [1, 2], "UINT8", [1, 2]), tensor("s", [1], "BYTES", ["a"]))
    agree(known, None)
    for place in range(len(known)):
        agree(known[:place] + b"\0" + known[place:], None)

    agree(known, None)


def test_the_json_around_the_elements_of_several_inputs_is_kept_once():
    c = fresh()
    for row in range(100):
        asked = c.read(request(tensor("x", [1, 2], "UINT8", [row, 2]), tensor("s", [1], "BYTES", [f"key {row}"])))
        assert (asked.columns["x"].tolist(), asked.columns["s"].tolist()) == ([[row, 2]], [f"key {row}"])
    assert (len(c._frames), len(c._seen)) == (1, 1)


def test_json_that_lacks_its_beginning_is_refused_also_where_what_follows_an_id_is_known():
    known = request(tensor("x", [1, 2], "UINT8", [1, 2]))[1:]
    for _ in range(3):
        assert KNOWING.read(b'{"id": "a", ' + known).id == "a"
    agree(known, None)
    assert "is not JSON" in outcome(KNOWING, known, None)


def test_the_last_id_counts_however_its_key_is_written():
    for size, raw in ((None, b""), (2, b"\1\2")):
        inputs = request(tensor("x", [1, 2], "UINT8", None if raw else [1, 2], size=size))[1:]
        for own in (b'"id": "b", ', rb'"i\u0064": "b", ', rb'"\u0069d": null, '):
            head = b'{"id": "a", ' + own + inputs
            agree(head + raw, len(head) if raw else None)
