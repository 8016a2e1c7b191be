"""Values: every kind comes back as it was, in a format of its own."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from motet.errors import WorkflowError
from motet.workflow.memo.artifacts import Artifacts


class Kind(enum.Enum):
    SMALL = 1


class Pair(NamedTuple):
    left: int
    right: Any


@dataclass(frozen=True)
class Model:
    kind: Kind
    weights: Any


@dataclass
class Odd:
    """Says itself how it is pickled, so it is."""

    x: int

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        return Odd, (self.x,)


def kept(folder: Path, value: Any) -> tuple[Any, tuple[str, ...]]:
    artifacts = Artifacts(folder)
    found, leaves = artifacts.keep(value)
    assert artifacts.fault(found) == ""
    again = type(found).from_json(found.to_json())
    assert again == found
    fresh, live = artifacts.load(again), artifacts.load(found, dict(leaves))
    assert type(fresh) is type(live)
    return fresh, found.formats


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary(max_size=800),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.dictionaries(st.integers() | st.tuples(st.integers()), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_values_come_back_with_their_types(tmp_path: Path, value: Any) -> None:
    found, _ = kept(tmp_path, value)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("value", "formats"),
    [
        (Model(Kind.SMALL, (1, 2)), ()),
        (Pair(1, {"a": {3, 4}}), ()),
        ({"$leaf": 3, "x": frozenset({1})}, ()),
        (Path("nowhere/at all"), ()),
        (np.float32(1.5), ()),
        (np.int64(7), ()),
        (10**30, ()),
        ("\ud800", ("pickle",)),
        (b"x" * 4000, ("bytes",)),
        (list(range(100_000)), ("json",)),
        (OrderedDict(a=1), ()),
        (Odd(4), ("pickle",)),
    ],
    ids=repr,
)
def test_other_values_come_back(tmp_path: Path, value: Any, formats: Any) -> None:
    found, used = kept(tmp_path, value)
    assert found == value
    assert type(found) is type(value)
    assert used == formats


def test_what_is_no_number_comes_back(tmp_path: Path) -> None:
    found, _ = kept(tmp_path, [math.inf, -math.inf, math.nan])
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "U5", "datetime64[s]", "complex64"])
@pytest.mark.parametrize("shape", [(3, 2), (0, 4), ()])
def test_arrays_come_back(tmp_path: Path, dtype: str, shape: Any) -> None:
    value = np.zeros(shape, dtype)
    found, formats = kept(tmp_path, {"x": value})
    assert formats == ("npy",)
    assert found["x"].dtype == value.dtype
    np.testing.assert_array_equal(found["x"], value)
    assert type(found["x"]) is np.ndarray


def test_tables_and_frames_come_back(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    found, formats = kept(tmp_path, table)
    assert (found.equals(table), formats) == (True, ("arrow",))
    frame = pd.DataFrame({"a": [1.5, 2.5]}, index=["p", "q"])
    found, formats = kept(tmp_path, frame)
    assert (found.equals(frame), formats) == (True, ("pandas",))
    batch = pa.record_batch({"a": [1, 2]})
    found, formats = kept(tmp_path, [batch, batch.slice(0, 0)])
    assert (found, formats) == ([batch, batch.slice(0, 0)], ("batch",))
    odd = pd.DataFrame({"a": [object]})
    assert kept(tmp_path, odd)[1] == ("pickle",)


def test_tensors_and_state_dicts_come_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = torch.nn.Linear(3, 2).state_dict()
    found, formats = kept(tmp_path, {"state": state, "loss": 0.5})
    assert formats == ("safetensors",)
    assert all(torch.equal(found["state"][name], value) for name, value in state.items())
    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    found, formats = kept(tmp_path, tensor)
    assert (torch.equal(found, tensor), formats) == (True, ("safetensors",))
    order = {"z": torch.zeros(1), "a": torch.zeros(2), "m": torch.zeros(1, dtype=torch.int8)}
    found, formats = kept(tmp_path, order)
    assert (list(found), formats) == (list(order), ("safetensors",))
    with_gradient = torch.ones(2, requires_grad=True)
    found, formats = kept(tmp_path, with_gradient)
    assert (found.requires_grad, formats) == (True, ("pickle",))
    tied = {"a": tensor, "b": tensor}
    found, formats = kept(tmp_path, tied)
    assert torch.equal(found["b"], tensor)


def test_models_of_onnx_come_back(tmp_path: Path, onnx_files: Any) -> None:
    import onnx

    model = onnx.load(onnx_files / "one.onnx")
    found, formats = kept(tmp_path, model)
    assert formats == ("onnx",)
    assert found == model


def test_files_and_folders_are_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "inner" / "b.bin").write_bytes(b"b" * 1000)
    artifacts = Artifacts(tmp_path / "cache")
    found, _ = artifacts.keep({"folder": folder, "file": mt.File(folder / "a.txt")})
    assert found.formats == ("file",)
    (folder / "a.txt").unlink()
    (folder / "inner" / "b.bin").write_bytes(b"changed")
    value = artifacts.load(found)
    assert value == {"folder": folder, "file": mt.File(folder / "a.txt")}
    assert (folder / "a.txt").read_text() == "a"
    assert (folder / "inner" / "b.bin").read_bytes() == b"b" * 1000


def test_what_is_damaged_is_found_out_and_said(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    found, _ = artifacts.keep(np.arange(100))
    path = artifacts.path(found.leaves[0].digest)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"!")
    assert artifacts.fault(found) == f"artifact {found.leaves[0].digest[:12]} is damaged"
    path.unlink()
    assert artifacts.fault(found) == f"artifact {found.leaves[0].digest[:12]} is not there any more"
    with pytest.raises(WorkflowError, match="a kept result .npy. cannot be read: FileNotFoundError"):
        artifacts.load(found)


def test_equal_content_is_kept_once(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    first, _ = artifacts.keep({"a": np.arange(5), "b": np.arange(5)})
    second, _ = artifacts.keep([np.arange(5)])
    assert {leaf.digest for leaf in (*first.leaves, *second.leaves)} == {first.leaves[0].digest}
