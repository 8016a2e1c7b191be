"""The Open Inference Protocol over gRPC; needs the extra `grpc`.

server.py   the port: options, TLS, start and stop
config.py   the key `grpc` of serve.yaml
infer.py    ModelInfer: who asks, reading, playing, answering
stream.py   ModelStreamInfer: many requests on one call, each answered when it is ready
about.py    what is served: readiness, metadata, configuration, statistics, loading
health.py   gRPC's own health check
reflection.py   what the server offers, for tools
desk.py     what the server is told of callers, and tells of calls
codec.py    requests as columns, answers as messages
status.py   errors as statuses

The messages themselves are in `motet.oip`.
"""

from motet.errors import MissingExtraError

try:
    import grpc as _grpc  # noqa: F401
except ImportError:
    raise MissingExtraError("grpcio", "grpc", "serving over gRPC") from None

from motet.serving.grpc.config import GrpcConfig
from motet.serving.grpc.desk import Desk, Ended, Visit
from motet.serving.grpc.server import GrpcServer, grpc_server

__all__ = ["Desk", "Ended", "GrpcConfig", "GrpcServer", "Visit", "grpc_server"]
