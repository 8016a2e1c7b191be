"""What it costs to read a request and to write its answer, without sockets: `python -m benchmarks.wire`.

Beside each, in the same run, the least that any server has to do: decode the JSON and make an array of the elements.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable

import msgspec
import numpy as np

from motet.graph.input import Input
from motet.serving.wire.infer import InferCodec
from motet.types import ColumnType

ROUNDS, CALLS = 200, 50
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
OUTPUTS = {"label": np.arange(64), "score": np.random.default_rng(0).random((64, 10), np.float32)}


def body(binary: bool, id: str = "") -> tuple[bytes, int | None]:
    """A request with one image, and the length of its JSON where bytes follow it."""
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8"}
    elements = {"parameters": {"binary_data_size": IMAGE.nbytes}} if binary else {"data": IMAGE.ravel().tolist()}
    request = {
        **({"id": id} if id else {}),
        "inputs": [{**tensor, **elements}],
        "parameters": {"binary_data_output": binary},
    }
    head = json.dumps(request, separators=(",", ":")).encode()
    return (head + IMAGE.tobytes(), len(head)) if binary else (head, None)


def least(raw: bytes, length: int | None) -> Callable[[], object]:
    """The least that must be done to read a request."""
    decode = msgspec.json.Decoder().decode
    if length is None:
        return lambda: np.array(decode(raw)["inputs"][0]["data"], np.uint8).reshape(1, 28, 28)
    return lambda: (decode(raw[:length]), np.frombuffer(raw, np.uint8, 784, length).reshape(1, 28, 28))


def main() -> None:
    inputs = {"image": Input(ColumnType("uint8", (28, 28)))}
    outputs = {"label": ColumnType("int64"), "score": ColumnType("float32", (10,))}
    codec = InferCodec("fashion", "1", inputs, outputs, 1000)
    works: dict[str, Callable[[], object]] = {}
    for name, binary in (("binary", True), ("JSON", False)):
        raw, length = body(binary)
        asked = codec.read(raw, length)
        named = [body(binary, f"request-{place}") for place in range(1000)]
        turn = iter(named * (ROUNDS * CALLS // 1000 + 2))
        works[f"read {name}, the least"] = least(raw, length)
        works[f"read {name}"] = lambda raw=raw, length=length: codec.read(raw, length)
        works[f"read {name}, another id each time"] = lambda turn=turn: codec.read(*next(turn))
        works[f"write {name}"] = lambda asked=asked: codec.write(asked, OUTPUTS, 3, 4)
    whole = codec.read(*body(True))
    works["write binary, with the HTTP head"] = lambda: codec.form(whole, 1).answer(OUTPUTS, 3, 4, b"")
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):  # in turn, so that all see the same machine
        for name, work in works.items():
            best[name] = min(best[name], timeit.timeit(work, number=CALLS) / CALLS * 1e6)
    for name, spent_us in best.items():
        print(f"{spent_us:8.2f} µs  {name}")
    for name in ("binary", "JSON"):
        print(f"{best[f'read {name}'] / best[f'read {name}, the least']:8.2f} x   read {name} against the least")


if __name__ == "__main__":
    main()
