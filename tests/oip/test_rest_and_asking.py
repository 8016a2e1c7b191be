"""What clients share: requests written, answers read, and when a call is made again."""

import contextlib
import json
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from motet.errors import InputError
from motet.oip.asking import LostCall, RemoteAnswer, RemoteCall, Wait, ask
from motet.oip.info import ModelInfo
from motet.oip.rest import LENGTH_HEADER, read_answer, write_request
from motet.oip.tensors import DATATYPES
from motet.types import ColumnType

NUMBERS = [name for name in DATATYPES if name != "BYTES"]


@given(data=st.data(), binary=st.booleans())
def test_what_is_written_is_read_back(data: Any, binary: Any) -> None:
    """A request's inputs have the form of an answer's outputs."""
    datatype = data.draw(st.sampled_from(NUMBERS))
    array = data.draw(
        arrays.arrays(DATATYPES[datatype], arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    )
    body, headers = write_request({"x": (datatype, array)}, binary=binary)
    length = headers.get(LENGTH_HEADER)
    size = len(body) if length is None else int(length)
    head = json.loads(body[:size])
    head["outputs"] = head.pop("inputs")
    head = json.dumps(head).encode()
    got = read_answer(head + body[size:], None if length is None else str(len(head)), {}, "m")["x"]
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@given(values=st.lists(st.text() | st.binary(), max_size=6), binary=st.booleans())
def test_texts_and_bytes_are_read_back(values: Any, binary: Any) -> None:
    array = np.fromiter(values, object, len(values))
    body, headers = write_request({"x": ("BYTES", array)}, binary=binary)
    length = headers.get(LENGTH_HEADER)
    size = len(body) if length is None else int(length)
    head = json.dumps({"outputs": json.loads(body[:size])["inputs"]}).encode()
    got = read_answer(head + body[size:], None if length is None else str(len(head)), {}, "m")["x"]
    assert got.tolist() == [value.encode() if isinstance(value, str) else value for value in values]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters", "binary_data_size"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
TENSOR = st.fixed_dictionaries({
    "name": st.text(max_size=2) | JSON, "datatype": st.sampled_from([*DATATYPES, "BF16"]) | JSON,
    "shape": st.lists(st.integers(-2, 4), max_size=3) | JSON, "data": JSON,
    "parameters": st.none() | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40) | JSON}) | JSON,
})  # fmt: skip


@given(
    outputs=st.lists(TENSOR, max_size=3) | JSON,
    tail=st.binary(max_size=40),
    kind=st.sampled_from(["string", "float32", "any"]),
)
def test_an_answer_is_read_or_refused_and_nothing_else(outputs: Any, tail: Any, kind: Any) -> None:
    head = json.dumps({"outputs": outputs}).encode()
    with contextlib.suppress(InputError):
        read_answer(head + tail, str(len(head)), {"x": ColumnType(kind)}, "m")


@given(body=st.binary(max_size=60), length=st.none() | st.text(max_size=3))
def test_any_bytes_are_refused(body: Any, length: Any) -> None:
    with contextlib.suppress(InputError):
        read_answer(body, length, {}, "m")
    with contextlib.suppress(InputError):
        ModelInfo.read(body, "m")


def test_metadata_of_other_servers_are_understood() -> None:
    info = ModelInfo.read(
        b'{"name": "m", "versions": null, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3], "extra": 1}], "outputs": []}',
        "m",
    )
    assert (info.versions, info.platform, str(info.inputs["x"].type), info.outputs) == ((), "", "float32[3]", {})
    with pytest.raises(InputError, match="the metadata of the model is not understood"):
        ModelInfo.read(b"[]", "m")


class Driver:
    """Drives `ask` with a clock of its own."""

    def __init__(self, *answers: Any, call_s: float = 0.0) -> None:
        self.now, self.answers, self.call_s, self.waits, self.lefts = 0.0, list(answers), call_s, [], []

    def run(self, repeatable: bool = True, timeout_s: float = 10.0, retries: Any = 2) -> Any:
        def make(left_s: Any) -> Any:
            self.lefts.append(left_s)
            return RemoteCall("POST", "/", timeout_s=left_s, repeatable=repeatable)

        asking = ask(make, timeout_s=timeout_s, retries=retries, clock=lambda: self.now, chance=lambda: 1.0)
        got = None
        while True:
            try:
                step = asking.send(got)
            except StopIteration as done:
                return done.value
            if isinstance(step, Wait):
                self.waits.append(step.seconds)
                self.now += step.seconds
                got = None
            else:
                self.now += self.call_s
                got = self.answers.pop(0)


def said(status: Any, retry_after: Any = None) -> Any:
    return RemoteAnswer(status, {} if retry_after is None else {"retry-after": retry_after}, b"")


def test_waits_double_up_to_a_bound() -> None:
    driver = Driver(*[said(503)] * 10)
    assert driver.run(retries=9, timeout_s=100).status == 503
    assert driver.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


def test_the_first_call_has_all_the_time_and_the_others_what_is_left() -> None:
    driver = Driver(said(503), said(200), call_s=3.0)
    driver.run(timeout_s=10.0)
    assert driver.lefts == [10.0, pytest.approx(6.95)]


def test_no_call_is_made_when_the_time_is_over() -> None:
    driver = Driver(*[said(503)] * 9, call_s=4.0)
    assert driver.run(timeout_s=10.0, retries=9).status == 503
    assert len(driver.lefts) == 3


@pytest.mark.parametrize("when", ["1", "1.0"])
def test_retry_after_is_kept_to(when: str) -> None:
    driver = Driver(said(429, when), said(200))
    assert driver.run().status == 200
    assert driver.waits == [pytest.approx(1.01)]


def test_retry_after_may_be_a_date_and_nonsense_is_none() -> None:
    assert 58 < said(429, formatdate(usegmt=True)).retry_after_s + 59 < 61
    assert said(429, "soon").retry_after_s is None
    assert said(429, "-5").retry_after_s == 0


def test_longer_than_what_is_left_is_not_waited() -> None:
    driver = Driver(said(429, "11"))
    assert driver.run(timeout_s=10).status == 429
    assert driver.waits == []


@pytest.mark.parametrize(
    ("got", "repeatable", "again"),
    [
        (LostCall("connect", ""), False, True), (LostCall("broken", ""), True, True), (LostCall("broken", ""), False, False),
        (LostCall("timeout", ""), True, False), (said(502), True, True), (said(502), False, False), (said(429), False, True),
        (said(500), True, False), (said(504), True, False), (said(200), True, False),
    ],
)  # fmt: skip
def test_a_call_is_made_again_only_where_that_is_safe(got: Any, repeatable: bool, again: bool) -> None:
    driver = Driver(got, said(204))
    assert (driver.run(repeatable=repeatable) != got) == again
