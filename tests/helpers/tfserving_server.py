"""The servers of TensorFlow Serving's protocol that the example has, in threads."""

import importlib.util
import threading
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MLP = EXAMPLES / "fashion" / "models" / "mlp.onnx"


def module(name: str = "tfserving_server") -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / "swarm" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


class TfServing:
    def __init__(self, path: Any, name: Any, port: Any = 0) -> None:
        found = module()
        self.server = found.make_server(found.Model(str(path), name), port)
        self.server.block_on_close = False
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def tfserving_over_grpc(path: Any, name: Any) -> Any:
    """A server that serves, and its port."""
    found = module("tfserving_grpc_server")
    return found.make_server(found.Model(str(path), name))
