"""The messages of the Open Inference Protocol over gRPC, of gRPC's health check, reflection and status details.

The classes live in a pool of their own, so that other packages of the same process may bring their own classes of the
same names: protobuf's default pool has place for one only. They are made at run time, so type checkers see `Any`. Each
message of the .proto files is an attribute of this module, by its name.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from motet.errors import MissingExtraError

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError:
    raise MissingExtraError("protobuf", "grpc", "the Open Inference Protocol over gRPC") from None

__all__ = ["HEALTH_SERVICE", "POOL", "REFLECTION_SERVICES", "SERVICE", "DataType", "message_class", "pool_of"]

SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
REFLECTION_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""The service under its name of today, and the one that older tools ask; their messages are the same on the wire."""


def _files(package: str) -> Any:
    """The descriptors of a package's .proto files, which generate.py has compiled."""
    return descriptor_pb2.FileDescriptorSet.FromString((files(package) / "descriptors.binpb").read_bytes()).file


def pool_of(package: str) -> Any:
    """A pool of its own for the messages of a package's .proto files."""
    pool = descriptor_pool.DescriptorPool()
    for file in _files(package):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = pool_of("motet.oip")


def message_class(name: str, pool: Any = POOL) -> Any:
    """The class of a message by its full name, for example `inference.ModelInferRequest`.

    Raises:
        KeyError: when the pool has no such message.
    """
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


DataType = POOL.FindEnumTypeByName("inference.DataType")
_MESSAGES = {
    message.name: f"{file.package}.{message.name}" for file in _files("motet.oip") for message in file.message_type
}


def __getattr__(name: str) -> Any:
    """The class of a message by its name alone, such as `ModelInferRequest`; made when it is first asked for."""
    if name not in _MESSAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it is no message of the .proto files")
    found = globals()[name] = message_class(_MESSAGES[name])
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MESSAGES})
