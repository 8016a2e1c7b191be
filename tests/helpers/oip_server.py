"""A small real server of the Open Inference Protocol over REST, written apart from what it tests.

Models are functions of arrays by name. What it is told with `then` it does to the next requests instead of answering
them: `Say(status, headers, body)`, `BREAK` (the connection ends without an answer), `HANG` (until the test is over).
"""

import contextlib
import gzip
import json
import re
import struct
import threading
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

import motet as mt

BREAK, HANG = "break", "hang"
DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
PATH = re.compile(r"/v2/models/([^/?]+)(?:/versions/([^/?]+))?(/infer|/ready|/stats|/config)?")


@dataclass
class Say:
    status: int
    body: bytes = b"{}"
    headers: dict = field(default_factory=dict)


@dataclass
class Served:
    """A model: its function, and its inputs and outputs as (name, datatype, shape, content type)."""

    function: object
    inputs: list
    outputs: list
    versions: tuple = ("1",)
    loaded: bool = True

    def metadata(self, name: Any) -> Any:
        def tensors(listed: Any) -> Any:
            return [
                {"name": n, "datatype": d, "shape": s, **({"parameters": {"content_type": c[0]}} if c else {})}
                for n, d, s, *c in listed
            ]

        return {
            "name": name,
            "versions": list(self.versions),
            "platform": "test",
            "inputs": tensors(self.inputs),
            "outputs": tensors(self.outputs),
        }


class Refused(Exception):
    def __init__(self, status: Any, message: Any) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    daemon_threads, block_on_close, request_queue_size = True, False, 128


class OipServer:
    def __init__(self, **models: Any) -> None:
        self.models, self.requests, self.next = models, [], []
        self.infers = []
        self.over = threading.Event()
        self.server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"owner": self}))
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def then(self, *what: Any) -> None:
        self.next += what

    def paths(self, ending: str = "") -> Any:
        return [path for _, path, _, _ in self.requests if path.endswith(ending)]

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    owner: Any
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            super().handle()

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        encoding = self.headers.get("Content-Encoding")
        if encoding:
            body = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body)
        self.answer(body)

    def answer(self, body: Any) -> None:
        owner = self.owner
        headers = {key.lower(): value for key, value in self.headers.items()}
        owner.requests.append((self.command, self.path, headers, body))
        if owner.next:
            what = owner.next.pop(0)
            if isinstance(what, Say):
                self.write(what.status, what.body, what.headers)
                return
            if what == HANG:
                owner.over.wait(30)
            self.close_connection = True
            return
        try:
            self.write(*self.found(body, headers))
        except Refused as error:
            self.write(error.status, json.dumps({"error": str(error)}).encode(), {})

    def found(self, body: Any, headers: Any) -> Any:
        path, models = self.path, self.owner.models
        if path == "/v2":
            return self.json({"name": "fake", "version": "0", "extensions": ["binary_tensor_data"]})
        if path in ("/v2/health/live", "/v2/health/ready"):
            return 200, b"", {}
        if path == "/v2/repository/index":
            states = {True: "READY", False: "UNAVAILABLE"}
            return self.json([{"name": n, "version": "1", "state": states[m.loaded]} for n, m in models.items()])
        match = re.fullmatch(r"/v2/repository/models/([^/]+)/(load|unload)", path)
        if match:
            models[match[1]].loaded = match[2] == "load"
            return 200, b"", {}
        if path == "/v2/models/stats":
            return self.json({"model_stats": [{"name": name} for name in models]})
        match = PATH.fullmatch(path)
        if not match or match[1] not in models or match[2] not in (None, *models[match[1]].versions):
            raise Refused(404, f"unknown model: {path}")
        name, _, verb = match.groups()
        model = models[name]
        if verb == "/stats":
            return self.json({"model_stats": [{"name": name}]})
        if verb == "/config":
            return self.json({"name": name})
        if verb == "/ready":
            return (200 if model.loaded else 503), b"", {}
        if verb is None:
            return self.json(model.metadata(name))
        if not model.loaded:
            raise Refused(503, f"{name} is not loaded")
        return self.infer(name, model, body, headers)

    def json(self, value: Any) -> Any:
        return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}

    def infer(self, name: Any, model: Any, body: Any, headers: Any) -> Any:
        length = int(headers.get("inference-header-content-length", len(body)))
        request, raw = json.loads(body[:length]), body[length:]
        self.owner.infers.append(request)
        arrays = {}
        for tensor in request["inputs"]:
            size = tensor.get("parameters", {}).get("binary_data_size")
            if size is None:
                arrays[tensor["name"]] = from_json(tensor)
            else:
                arrays[tensor["name"]] = from_bytes(tensor, raw[:size])
                raw = raw[size:]
        if raw:
            raise Refused(400, f"{len(raw)} bytes belong to no input")
        wanted = {each["name"]: each.get("parameters", {}) for each in request.get("outputs", [])}
        every = request.get("parameters", {}).get("binary_data_output", False)
        try:
            found = model.function(**arrays)
        except ValueError as error:
            raise Refused(400, str(error)) from error
        found = found if isinstance(found, dict) else {model.outputs[0][0]: found}
        outputs, tail = [], b""
        for (output, datatype, *_), array in zip(model.outputs, found.values(), strict=True):
            if wanted and output not in wanted:
                continue
            told = {"name": output, "datatype": datatype, "shape": list(array.shape)}
            if wanted.get(output, {}).get("binary_data", every):
                data = to_bytes(datatype, array)
                told["parameters"] = {"binary_data_size": len(data)}
                tail += data
            else:
                told["data"] = to_json(array)
            outputs.append(told)
        answer = {"model_name": name, "model_version": "1", "outputs": outputs}
        if "id" in request:
            answer["id"] = request["id"]
        head, more = json.dumps(answer).encode(), {}
        if tail:
            more["Inference-Header-Content-Length"] = str(len(head))
        data = head + tail
        if headers.get("accept-encoding") == "gzip":
            data, more["Content-Encoding"] = gzip.compress(data), "gzip"
        return 200, data, more

    def write(self, status: Any, body: Any, headers: Any) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


def from_json(tensor: Any) -> Any:
    if tensor["datatype"] == "BYTES":
        flat = [value.encode() for value in tensor["data"]]
        return np.array([*flat, None], object)[:-1].reshape(tensor["shape"])
    return np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])


def from_bytes(tensor: Any, raw: Any) -> Any:
    if tensor["datatype"] != "BYTES":
        return np.frombuffer(raw, DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
    values = []
    while raw:
        (size,) = struct.unpack("<I", raw[:4])
        values.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return np.array([*values, None], object)[:-1].reshape(tensor["shape"])


def to_bytes(datatype: Any, array: Any) -> Any:
    if datatype != "BYTES":
        return array.astype(DTYPES[datatype]).tobytes()
    return b"".join(struct.pack("<I", len(value)) + value for value in array.reshape(-1))


def to_json(array: Any) -> Any:
    if array.dtype == object:
        return [value.decode() for value in array.reshape(-1)]
    return array.reshape(-1).tolist()


def far(server: Any) -> mt.Model:
    """The model `slow` of a server, from a number to a number."""
    return mt.Model(
        f"oip+http://127.0.0.1:{server.port}/v2/models/slow", "slow", inputs={"x": "float32"}, outputs={"y": "float32"},
        timeout_s=30,
    )  # fmt: skip
