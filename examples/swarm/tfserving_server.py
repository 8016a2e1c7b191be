"""A small server of TensorFlow Serving's REST protocol for one ONNX model, so that the example needs no TensorFlow.

    python examples/swarm/tfserving_server.py --model examples/fashion/models/mlp.onnx --name mlp --port 8501

It answers what clients of that protocol ask:

    GET  /v1/models/NAME[/versions/V]             state of the versions
    GET  /v1/models/NAME[/versions/V]/metadata    types of the inputs and outputs
    POST /v1/models/NAME[/versions/V]:predict     {"instances": [...]} (rows) or {"inputs": {...}} (columns)

Errors are `{"error": ...}`. Port 0 takes a free one; the port is printed when the server is ready.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

MAX_BODY_BYTES = 64 << 20
TYPES = {
    "tensor(float)": ("DT_FLOAT", np.float32), "tensor(double)": ("DT_DOUBLE", np.float64),
    "tensor(int64)": ("DT_INT64", np.int64), "tensor(int32)": ("DT_INT32", np.int32),
    "tensor(uint8)": ("DT_UINT8", np.uint8), "tensor(bool)": ("DT_BOOL", np.bool_),
}  # fmt: skip
PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/([0-9]+))?(/metadata|:predict)?")


class Refused(Exception):
    """A request that is not answered, and with which status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Model:
    """An ONNX model as TensorFlow Serving shows models."""

    def __init__(self, path: str, name: str, version: str = "1") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.name, self.version = name, version
        self.inputs, self.outputs = self.session.get_inputs(), self.session.get_outputs()

    def state(self) -> dict[str, Any]:
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": self.version, "state": "AVAILABLE", "status": status}]}

    def metadata(self) -> dict[str, Any]:
        signature = {
            "inputs": {each.name: tensor_info(each) for each in self.inputs},
            "outputs": {each.name: tensor_info(each) for each in self.outputs},
            "method_name": "tensorflow/serving/predict",
        }
        spec = {"name": self.name, "signature_name": "", "version": self.version}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}}}

    def predict(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
            raise Refused(400, "Request has either 'instances' or 'inputs', and not both")
        name = request.get("signature_name", "serving_default")
        if name != "serving_default":
            raise Refused(400, f'Serving signature name: "{name}" not found in signature def')
        rows = "instances" in request
        given = by_row(request["instances"], self.inputs) if rows else by_column(request["inputs"], self.inputs)
        feed = {each.name: tensor(given[each.name], each) for each in self.inputs}
        try:
            answers = self.session.run(None, feed)
        except Exception as error:
            raise Refused(400, str(error)) from error
        found = {each.name: answer.tolist() for each, answer in zip(self.outputs, answers, strict=True)}
        only = next(iter(found.values())) if len(found) == 1 else None
        if not rows:
            return {"outputs": found if only is None else only}
        if only is not None:
            return {"predictions": only}
        return {"predictions": [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]}


def tensor_info(node: Any) -> dict[str, Any]:
    sizes = [axis if isinstance(axis, int) else -1 for axis in node.shape]
    shape = {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": False}
    return {"dtype": TYPES[node.type][0], "tensor_shape": shape, "name": f"{node.name}:0"}


def by_column(given: Any, inputs: list[Any]) -> Mapping[str, Any]:
    columns = given if isinstance(given, dict) else {inputs[0].name: given}
    if set(columns) != {each.name for each in inputs}:
        raise Refused(400, f"inputs must be {', '.join(each.name for each in inputs)}; got {', '.join(columns)}")
    return columns


def by_row(given: Any, inputs: list[Any]) -> Mapping[str, Any]:
    if not isinstance(given, list) or not given:
        raise Refused(400, "'instances' must be a list of at least one row")
    if not isinstance(given[0], dict):
        return by_column(given, inputs)
    try:
        return {each.name: [row[each.name] for row in given] for each in inputs}
    except (KeyError, TypeError) as error:
        raise Refused(400, f"a row is not like the others: {error!r}") from error


def tensor(value: Any, node: Any) -> Any:
    try:
        array = np.array(value, TYPES[node.type][1])
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(400, f"input {node.name}: {error}") from error
    axes = [axis if isinstance(axis, int) else None for axis in node.shape]
    if len(axes) != array.ndim or any(want not in (None, got) for want, got in zip(axes, array.shape, strict=True)):
        raise Refused(400, f"input {node.name}: expected shape {node.shape}; got {list(array.shape)}")
    return array


class Handler(BaseHTTPRequestHandler):
    """Answers requests; connections stay open."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1  # head and body leave in one piece
    model: Model

    def do_GET(self) -> None:
        self._answer(
            lambda verb: self.model.metadata() if verb == "/metadata" else self.model.state(), (None, "/metadata")
        )

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._write(413 if length.isdigit() else 411, {"error": f"Content-Length is {length!r}"})
            return
        body = self.rfile.read(int(length))

        def predict(_verb: str | None) -> dict[str, Any]:
            try:
                return self.model.predict(json.loads(body))
            except (ValueError, RecursionError) as error:
                raise Refused(400, f"JSON Parse error: {error}") from error

        self._answer(predict, (":predict",))

    def _answer(self, answer: Any, verbs: tuple[str | None, ...]) -> None:
        match = PATH.fullmatch(self.path)
        try:
            if match is None or match[3] not in verbs:
                raise Refused(404, f"Malformed request: {self.command} {self.path}")
            if match[1] != self.model.name or match[2] not in (None, self.model.version):
                version = f"Specific({match[1]}, {match[2]})" if match[2] else f"Latest({match[1]})"
                raise Refused(404, f"Servable not found for request: {version}")
            self._write(200, answer(match[3]))
        except Refused as refused:
            self._write(refused.status, {"error": str(refused)})

    def _write(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


def make_server(model: Model, port: int = 0, host: str = "127.0.0.1") -> Server:
    """A server that is bound, and serves when its `serve_forever` is called."""
    return Server((host, port), type("Bound", (Handler,), {"model": model}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "fashion" / "models" / "mlp.onnx"
    parser.add_argument("--model", default=str(default), help="the ONNX file")
    parser.add_argument("--name", default="mlp", help="what the model is called")
    parser.add_argument("--port", type=int, default=8501)
    options = parser.parse_args()
    server = make_server(Model(options.model, options.name), options.port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"serving {options.name} on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
