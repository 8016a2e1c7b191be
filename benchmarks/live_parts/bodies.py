"""Requests as bytes, in the Open Inference Protocol and in the peers' plain form, and what answers say.

The protocol's requests are written by hand here, so that nothing of Motet is needed to ask it.
https://github.com/kserve/open-inference-protocol and Triton's binary tensor extension.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.jobs import FASHION
from benchmarks.live_parts.work import Encoding, Work

__all__ = ["GRAPHS", "Answer", "Ask", "Dialect", "asks", "fashion_images", "meaning", "oip_ask"]

Dialect = Literal["oip", "plain"]
Array = npt.NDArray[Any]
GRAPHS: Final = {"mlp": "mlp_only", "ensemble": "ensemble"}
"""The name of a job's graph."""
HEADER_LENGTH: Final = "inference-header-content-length"
NUMPY: Final[dict[str, np.dtype[Any]]] = {"INT64": np.dtype("<i8"), "FP32": np.dtype("<f4")}


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
        path: its address.
        body: what is sent.
        headers: more headers; host, length and type of the body are added.
    """

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def data(self) -> bytes:
        """The request as it goes over the wire, on a connection that is kept open."""
        lines = [f"POST {self.path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Answer:
    """What a server found.

    Attributes:
        labels: int64 [N].
        scores: float32 [N].
    """

    labels: Array
    scores: Array

    def difference(self, wanted: Answer) -> str:
        """What is wrong with it, empty where it is as wanted; scores may differ by rounding."""
        if self.labels.tolist() != wanted.labels.tolist():
            return f"labels {self.labels.tolist()}, not {wanted.labels.tolist()}"
        if not np.allclose(self.scores, wanted.scores, rtol=0, atol=1e-5):
            return f"scores {self.scores.tolist()}, not {wanted.scores.tolist()}"
        return ""


def fashion_images(number: int) -> npt.NDArray[np.uint8]:
    """The first pictures of Fashion-MNIST's test split, uint8 [number, 28, 28].

    Args:
        number: 1 to 10,000.
    """
    sys.path.insert(0, str(FASHION))
    try:
        from data import load  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(FASHION))
    images: npt.NDArray[np.uint8] = load("test")[0][:number]
    return images


def asks(dialect: Dialect, work: Work, images: npt.NDArray[np.uint8]) -> list[Ask]:
    """Requests for all images, `work.rows` in each.

    Args:
        dialect: `oip` for Motet, `plain` for its peers.
        work: the job.
        images: uint8 [N, 28, 28], N a multiple of `work.rows`.
    """
    parts = images.reshape(-1, work.rows, 28, 28)
    if dialect == "oip":
        return [oip_ask(GRAPHS[work.job], part, work.encoding) for part in parts]
    return [_plain_ask(part, work.encoding) for part in parts]


def oip_ask(model: str, images: npt.NDArray[np.uint8], encoding: Encoding) -> Ask:
    """A request of the Open Inference Protocol for uint8 [N, 28, 28], as the input `image`."""
    path = f"/v2/models/{model}/infer"
    tensor: dict[str, object] = {"name": "image", "shape": images.shape, "datatype": "UINT8"}
    if encoding == "json":
        tensor["data"] = images.ravel().tolist()
        return Ask(path, _json({"inputs": [tensor]}), (("Content-Type", "application/json"),))
    tensor["parameters"] = {"binary_data_size": images.size}
    header = _json({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = (("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", str(len(header))))
    return Ask(path, header + images.tobytes(), headers)


def _plain_ask(images: npt.NDArray[np.uint8], encoding: Encoding) -> Ask:
    if encoding == "json":
        return Ask("/json", _json({"image": images.ravel().tolist()}), (("Content-Type", "application/json"),))
    return Ask("/binary", images.tobytes(), (("Content-Type", "application/octet-stream"),))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def meaning(dialect: Dialect, headers: Mapping[str, str], body: bytes, encoding: Encoding) -> Answer:
    """What an answer of status 200 says.

    Args:
        dialect: of the request.
        headers: names in lower case.
        body: of the answer.
        encoding: of the request.

    Raises:
        ValueError, KeyError: when it is no answer to what was asked.
    """
    if dialect == "oip":
        tensors = _tensors(headers, body)
        return Answer(tensors["label"], tensors["score"])
    if encoding == "json":
        found = json.loads(body)
        return Answer(np.array(found["label"]), np.array(found["score"], np.float32))
    labels = np.frombuffer(body, "<i8", len(body) // 12)
    return Answer(labels, np.frombuffer(body, "<f4", -1, labels.nbytes))


def _tensors(headers: Mapping[str, str], body: bytes) -> dict[str, Array]:
    """The tensors `label` and `score`; others are passed over."""
    at = int(headers.get(HEADER_LENGTH, len(body)))
    found = {}
    for tensor in json.loads(body[:at])["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if tensor["name"] in ("label", "score"):
            kind = NUMPY[tensor["datatype"]]
            values = np.array(tensor["data"], kind) if size is None else np.frombuffer(body[at : at + size], kind)
            found[tensor["name"]] = values
        at += size or 0
    return found
