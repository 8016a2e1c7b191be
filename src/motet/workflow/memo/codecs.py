"""How large values are written: one format each, by the type of the value. Frameworks are looked at only where loaded.

npy           numpy arrays                      arrow     tables of Arrow        batch  record batches of Arrow
safetensors   tensors and state dicts of torch  pandas    data frames, as Arrow
onnx          models                            bytes     bytes
json          large structures of plain values  pickle    all else; loading it runs code
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from motet.workflow.memo.content import content_digest, same_content

__all__ = ["BY_NAME", "Codec", "Pickled", "codec_of", "pickled"]


@dataclass(frozen=True, slots=True)
class Codec:
    """A format.

    Attributes:
        name: what it is called in entries.
        write: writes a value to a file that is open for writing; it only writes, and does not seek.
        read: reads it back from a path.
        shared: whether nobody can change what is read, so that all who want it may have the same.
    """

    name: str
    write: Callable[[Any, BinaryIO], None]
    read: Callable[[Path], Any]
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Pickled:
    """A value with no format of its own, pickled.

    Attributes:
        value: the value.
        data: its pickle.
        classes: the classes of what is in it, as `module:name`.
        content: a digest of what it holds, the same in all processes.
    """

    value: Any
    data: bytes
    classes: tuple[str, ...]
    content: str


_PLAIN = {str, bool, int, float, bytes, type(None)}
"""Types of which values are the same where they are equal."""


class _Pickler(pickle.Pickler):
    """Notes the classes of what it pickles, and the functions that it pickles by name."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.classes: set[str] = set()

    def reducer_override(self, value: Any) -> Any:
        kind = value if isinstance(value, type) or hasattr(value, "__code__") else type(value)
        self.classes.add(f"{kind.__module__}:{kind.__qualname__}")
        return NotImplemented


def pickled(value: Any) -> Pickled:
    """Pickle a value. Raises whatever pickling it raises."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(value)
    data = file.getvalue()
    return Pickled(value, data, tuple(sorted(pickler.classes)), content_digest(value, len(data)))


def _is(value: Any, module: str, *names: str) -> bool:
    """Whether a value is of a class of a module, which is not imported for it."""
    found = sys.modules.get(module)
    return found is not None and any(type(value) is getattr(found, name, None) for name in names)


def codec_of(value: Any) -> str:
    """The name of the format for a value that is no plain one; `pickle` where there is none."""
    if _is(value, "numpy", "ndarray") and not value.dtype.hasobject:
        return "npy"
    if _is(value, "pyarrow", "Table"):
        return "arrow"
    if _is(value, "pyarrow", "RecordBatch"):
        return "batch"
    if _is(value, "pandas", "DataFrame"):
        return "pandas" if _fits_arrow(value) else "pickle"
    if _is(value, "torch", "Tensor") and _fits_safetensors(value):
        return "safetensors"
    if _is(value, "onnx", "ModelProto"):
        return "onnx"
    return "pickle"


def is_state(value: dict[Any, Any]) -> bool:
    """Whether a dict is a state dict of torch: tensors by name, none of which shares memory with another."""
    torch = sys.modules.get("torch")
    if torch is None or not value or not all(type(name) is str and name for name in value):
        return False
    if not all(type(each) is torch.Tensor and _fits_safetensors(each) for each in value.values()):
        return False
    places = [each.untyped_storage().data_ptr() for each in value.values() if each.numel()]
    return len(set(places)) == len(places)


def _fits_safetensors(tensor: Any) -> bool:
    plain = not (tensor.is_complex() or tensor.is_quantized or tensor.requires_grad)
    return plain and str(tensor.layout) == "torch.strided"


def _fits_arrow(frame: Any) -> bool:
    """Whether a frame comes back from Arrow as it is, in all that it has."""
    import pyarrow as pa

    if frame.attrs or not frame.flags.allows_duplicate_labels:
        return False
    try:
        back = pa.Table.from_pandas(frame).to_pandas()
        axes = zip(frame.axes, back.axes, strict=True)
        if not (back.equals(frame) and all(_same_axis(*each) for each in axes)):
            return False
        return all(_same_objects(frame.iloc[:, place], back.iloc[:, place]) for place in range(frame.shape[1]))
    except Exception:  # noqa: BLE001  comparing a user's values may raise anything
        return False


def _same_axis(one: Any, other: Any) -> bool:
    """Whether the rows' or columns' labels of two equal frames are the same in all that they have."""
    if type(one) is not type(other) or getattr(one, "freq", None) != getattr(other, "freq", None):
        return False
    if not same_content(list(one.names), list(other.names)):
        return False
    if hasattr(one, "levels"):
        levels = zip(one.levels, other.levels, strict=True)
        return same_content(one.codes, other.codes) and all(_same_axis(*each) for each in levels)
    return _same_objects(one, other)


def _same_objects(one: Any, other: Any) -> bool:
    """Whether two equal columns have the same type, and objects in them the same types and content."""
    kind = one.dtype
    if kind != other.dtype or type(kind) is not type(other.dtype):
        return False
    if kind == "category":
        return _same_axis(one.dtype.categories, other.dtype.categories)
    if not getattr(kind, "hasobject", False):
        return True
    kinds = list(map(type, one))
    if kinds != list(map(type, other)):
        return False
    return set(kinds) <= _PLAIN or same_content(list(one), list(other))


def _write_npy(value: Any, file: BinaryIO) -> None:
    import numpy as np

    np.lib.format.write_array(file, value, allow_pickle=False)


def _read_npy(path: Path) -> Any:
    import numpy as np

    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:  # an array without values cannot be mapped
        return np.load(path, allow_pickle=False)


def _write_arrow(value: Any, file: BinaryIO) -> None:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        value = value.unify_dictionaries()  # a file has one dictionary a column
    with pa.ipc.new_file(file, value.schema) as writer:
        writer.write(value)


def _read_arrow(path: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _read_batch(path: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).get_batch(0)


def _write_pandas(value: Any, file: BinaryIO) -> None:
    import pyarrow as pa

    _write_arrow(pa.Table.from_pandas(value), file)


def _write_tensors(value: Any, file: BinaryIO) -> None:
    from safetensors.torch import save

    tensors = value if isinstance(value, dict) else {"": value}
    order = orjson.dumps(list(tensors)).decode()  # the format has an order of its own
    file.write(save({name: each.cpu().contiguous() for name, each in tensors.items()}, {"order": order}))


def _read_tensors(path: Path) -> Any:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        names = orjson.loads((file.metadata() or {}).get("order", "null")) or file.keys()
        found = {name: file.get_tensor(name) for name in names}
    return found[""] if list(found) == [""] else found


def _read_onnx(path: Path) -> Any:
    import onnx

    return onnx.load_model_from_string(path.read_bytes())


def _read_pickle(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


BY_NAME = {
    codec.name: codec
    for codec in (
        Codec("npy", _write_npy, _read_npy, shared=True),
        Codec("arrow", _write_arrow, _read_arrow, shared=True),
        Codec("batch", _write_arrow, _read_batch, shared=True),
        Codec("pandas", _write_pandas, lambda path: _read_arrow(path).to_pandas()),
        Codec("safetensors", _write_tensors, _read_tensors),
        Codec("onnx", lambda value, file: _write_bytes(value.SerializeToString(deterministic=True), file), _read_onnx),
        Codec("bytes", lambda value, file: _write_bytes(value, file), lambda path: path.read_bytes(), shared=True),
        Codec("json", lambda value, file: _write_bytes(value, file), lambda path: path.read_bytes(), shared=True),
        Codec("pickle", lambda value, file: _write_bytes(value.data, file), _read_pickle),
    )
}


def _write_bytes(value: bytes, file: BinaryIO) -> None:
    file.write(value)
