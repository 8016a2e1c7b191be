"""The same small server over gRPC: TensorFlow Serving's service of predictions, for one ONNX model.

    python examples/swarm/tfserving_grpc_server.py --model examples/fashion/models/mlp.onnx --name mlp --port 8500

It answers `Predict` and `GetModelMetadata` of `tensorflow.serving.PredictionService`, with the statuses and the words
that TensorFlow Serving has for mistakes. Needs grpcio. Port 0 takes a free one; the port is printed when the server is
ready.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from motet.errors import InputError
from motet.models.tfs import messages
from motet.models.tfs.tensors import read_tensor, write_tensor
from motet.oip.tensors import tensor_of
from motet.types import ANY

sys.path.append(str(Path(__file__).parent))

from tfserving_server import TYPES, Model

WORKERS = 4
MAX_BYTES = 64 << 20


class Service:
    """Answers for one model."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(request.model_spec, context)
        model = self.model
        name = request.model_spec.signature_name or "serving_default"
        if name != "serving_default":
            message = f'Serving signature name: "{name}" not found in signature def'
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        wanted, got = {each.name for each in model.inputs}, set(request.inputs)
        if wanted != got:
            said = f"input size does not match signature: {len(got)}!={len(wanted)}; missing {sorted(wanted - got)}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, said)
        outputs = list(request.output_filter) or [each.name for each in model.outputs]
        for unknown in sorted(set(outputs) - {each.name for each in model.outputs}):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"output tensor alias not found in signature: {unknown}")
        try:
            given = {each.name: self._array(request.inputs[each.name], each) for each in model.inputs}
            found = model.session.run(outputs, given)
        except Exception as error:  # noqa: BLE001 (whatever the model has against it)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = messages.PredictResponse(model_spec={"name": model.name, "version": {"value": int(model.version)}})
        for output, array in zip(outputs, found, strict=True):
            write_tensor(answer.outputs[output], *tensor_of(array, ANY, f"output {output}"))
        return answer

    def metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(request.model_spec, context)
        if list(request.metadata_field) != ["signature_def"]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Metadata field must be signature_def")
        found = messages.SignatureDefMap()
        signature = found.signature_def["serving_default"]
        signature.method_name = "tensorflow/serving/predict"
        for nodes, listed in ((self.model.inputs, signature.inputs), (self.model.outputs, signature.outputs)):
            for node in nodes:
                info = listed[node.name]
                info.name = f"{node.name}:0"
                info.dtype = messages.DataType.values_by_name[TYPES[node.type][0]].number
                for axis in node.shape:
                    info.tensor_shape.dim.add(size=axis if isinstance(axis, int) else -1)
        answer = messages.GetModelMetadataResponse(model_spec=request.model_spec)
        answer.metadata["signature_def"].Pack(found)
        return answer

    def _check(self, spec: Any, context: grpc.ServicerContext) -> None:
        choice = spec.WhichOneof("version_choice")
        version = str(spec.version.value) if choice == "version" else self.model.version
        if choice == "version_label":
            message = f"Unrecognized servable version label: {spec.version_label}"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        if spec.name != self.model.name or version != self.model.version:
            which = f"Specific({spec.name}, {version})" if choice else f"Latest({spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {which}")

    @staticmethod
    def _array(tensor: Any, node: Any) -> Any:
        array = np.asarray(read_tensor(tensor, ANY, f"input {node.name}"))
        if array.dtype != TYPES[node.type][1]:
            raise InputError(f"Expects arg[0] to be {TYPES[node.type][0]} but {array.dtype} is provided")
        return array


def make_server(
    model: Any, port: int = 0, host: str = "127.0.0.1", service: type[Service] = Service
) -> tuple[Any, int]:
    """A server that serves, and its port."""
    options = (("grpc.max_receive_message_length", MAX_BYTES), ("grpc.max_send_message_length", MAX_BYTES))
    server = grpc.server(ThreadPoolExecutor(WORKERS), options=options)
    made = service(model)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            answer,
            getattr(messages, f"{kind}Request").FromString,
            getattr(messages, f"{kind}Response").SerializeToString,
        )
        for name, kind, answer in (
            ("Predict", "Predict", made.predict),
            ("GetModelMetadata", "GetModelMetadata", made.metadata),
        )
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(messages.SERVICE, handlers),))
    bound = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "fashion" / "models" / "mlp.onnx"
    parser.add_argument("--model", default=str(default), help="the ONNX file")
    parser.add_argument("--name", default="mlp", help="what the model is called")
    parser.add_argument("--port", type=int, default=8500)
    options = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    server, port = make_server(Model(options.model, options.name), options.port)
    print(f"serving {options.name} on grpc://127.0.0.1:{port}", flush=True)
    over.wait()
    server.stop(5).wait()


if __name__ == "__main__":
    main()
