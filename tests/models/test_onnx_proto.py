from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from motet.models.onnx_proto import OnnxFormatError, read_onnx

DTYPES = [TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.FLOAT16, TensorProto.BFLOAT16]
AXES = st.lists(st.one_of(st.none(), st.integers(0, 2**40), st.sampled_from(["n", "größe"])), max_size=4)
TENSORS = st.lists(
    st.tuples(st.text(min_size=1, max_size=5), st.sampled_from(DTYPES), st.one_of(st.none(), AXES)), max_size=4
)


def write(path: Path, inputs: list[Any], outputs: list[Any], weights: list[str]) -> bytes:
    """Our reader is checked against the official writer: any file that onnx writes says the same to both."""
    initializers = [helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0]) for name in weights]
    values = [[helper.make_tensor_value_info(*tensor) for tensor in tensors] for tensors in (inputs, outputs)]
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", *values, initializers, doc_string="d")
    content: bytes = helper.make_model(graph, producer_name="p", doc_string="m").SerializeToString()
    path.write_bytes(content)
    return content


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=TENSORS, outputs=TENSORS, data=st.data())
def test_it_reads_what_onnx_writes(tmp_path: Path, inputs: list[Any], outputs: list[Any], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.sampled_from([name for name, *_ in inputs] or ["w"]), max_size=2))
    write(tmp_path / "m.onnx", inputs, outputs, weights)
    found = read_onnx(str(tmp_path / "m.onnx"))
    expected = [
        [(name, kind, None if axes is None else tuple(axes)) for name, kind, axes in tensors]
        for tensors in ([tensor for tensor in inputs if tensor[0] not in weights], outputs)
    ]
    got = [
        [(tensor.name, tensor.elem_type, tensor.axes) for tensor in tensors]
        for tensors in (found.inputs, found.outputs)
    ]
    assert got == expected


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with contextlib.suppress(OnnxFormatError):
        read_onnx(str(tmp_path / "m.onnx"))


def test_every_cut_is_noticed_or_harmless(tmp_path: Path) -> None:
    content = write(tmp_path / "m.onnx", [("x", TensorProto.FLOAT, ["n", 3])], [("y", TensorProto.FLOAT, ["n"])], ["w"])
    whole = read_onnx(str(tmp_path / "m.onnx"))
    for length in range(len(content)):
        (tmp_path / "m.onnx").write_bytes(content[:length])
        try:
            assert read_onnx(str(tmp_path / "m.onnx")) == whole
        except OnnxFormatError:
            continue


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\x08\x07", "it has no graph"),
        (b"\x3a\x7f", "field 7 at byte 2 ends at byte 129, behind the end at byte 2"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "the number at byte 11 has no end"),
        (b"\x0b", "byte 1 has a field of an unknown kind 3"),
        (b"plain text", "field 12 at byte 3 ends at byte 11, behind the end at byte 10"),
    ],
)
def test_what_is_no_onnx_file_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(OnnxFormatError) as caught:
        read_onnx(str(tmp_path / "m.onnx"))
    assert str(caught.value) == message


def test_weights_are_stepped_over(tmp_path: Path, save_onnx: Any) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    weights = {f"w{number}": np.zeros(1_000_000, np.float32) for number in range(20)}
    path = save_onnx([node], [("x", 1, ["n"]), ("w0", 1, [1_000_000])], [("y", 1, ["n"])], weights)
    assert Path(path).stat().st_size > 80_000_000
    found = read_onnx(path)
    assert [tensor.name for tensor in found.inputs] == ["x"]


def test_what_is_no_tensor_says_what_it_is(tmp_path: Path) -> None:
    kinds = [
        helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None),
        helper.make_value_info("m", helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, []))),
        helper.make_value_info("o", helper.make_optional_type_proto(helper.make_tensor_type_proto(1, []))),
        helper.make_sparse_tensor_value_info("p", TensorProto.FLOAT, [3]),
    ]
    onnx.save(helper.make_model(helper.make_graph([], "g", [], kinds)), tmp_path / "m.onnx")
    assert [tensor.kind for tensor in read_onnx(str(tmp_path / "m.onnx")).outputs] == [
        "sequence",
        "map",
        "optional",
        "sparse tensor",
    ]
