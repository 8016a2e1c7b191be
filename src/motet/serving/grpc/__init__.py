"""The Open Inference Protocol over gRPC; needs the extra `grpc`.

server.py   the port: options, TLS, start and stop
calls.py    what came in, for the middleware
infer.py    ModelInfer: reading, playing, answering
stream.py   ModelStreamInfer: many requests on one call, each answered when it is ready
about.py    what is served: readiness, metadata, configuration, statistics, loading
health.py   gRPC's own health check
reflection.py   what the server offers, for tools
codec.py    requests as columns, answers as messages
status.py   errors as statuses

The messages themselves are in `motet.oip`.
"""

from motet.errors import MissingExtraError

try:
    import grpc as _grpc  # noqa: F401
except ImportError:
    raise MissingExtraError("grpcio", "grpc", "serving over gRPC") from None

from motet.serving.config.grpc import GrpcConfig
from motet.serving.grpc.server import GrpcServer

__all__ = ["GrpcConfig", "GrpcServer"]
