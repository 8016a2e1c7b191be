"""The messages of the Open Inference Protocol over gRPC, of gRPC's health check, reflection and status details.

The classes live in a pool of their own, so that other packages of the same process may bring their own classes of the
same names: protobuf's default pool has place for one only. They are made at run time, so type checkers see `Any`.
"""

from __future__ import annotations

from typing import Any

from motet.errors import MissingExtraError
from motet.oip.descriptors import DESCRIPTORS

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError:
    raise MissingExtraError("protobuf", "grpc", "the Open Inference Protocol over gRPC") from None

__all__ = [
    "HEALTH_SERVICE",
    "POOL",
    "REFLECTION_SERVICES",
    "SERVICE",
    "DataType",
    "HealthCheckRequest",
    "HealthCheckResponse",
    "InferParameter",
    "InferTensorContents",
    "ModelConfigRequest",
    "ModelConfigResponse",
    "ModelInferRequest",
    "ModelInferResponse",
    "ModelMetadataRequest",
    "ModelMetadataResponse",
    "ModelReadyRequest",
    "ModelReadyResponse",
    "ModelStatisticsRequest",
    "ModelStatisticsResponse",
    "ModelStreamInferResponse",
    "RepositoryIndexRequest",
    "RepositoryIndexResponse",
    "RepositoryModelLoadRequest",
    "RepositoryModelLoadResponse",
    "RepositoryModelUnloadRequest",
    "RepositoryModelUnloadResponse",
    "RetryInfo",
    "ServerLiveRequest",
    "ServerLiveResponse",
    "ServerMetadataRequest",
    "ServerMetadataResponse",
    "ServerReadyRequest",
    "ServerReadyResponse",
    "ServerReflectionRequest",
    "ServerReflectionResponse",
    "Status",
    "message_class",
    "pool_of",
]

SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
REFLECTION_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""The service under its name of today, and the one that older tools ask; their messages are the same on the wire."""


def pool_of(descriptors: bytes) -> Any:
    """A pool of its own for the messages of a serialized `FileDescriptorSet`."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = pool_of(DESCRIPTORS)


def message_class(name: str, pool: Any = POOL) -> Any:
    """The class of a message by its full name, for example `inference.ModelInferRequest`.

    Raises:
        KeyError: when the pool has no such message.
    """
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


DataType = POOL.FindEnumTypeByName("inference.DataType")
ServerLiveRequest = message_class("inference.ServerLiveRequest")
ServerLiveResponse = message_class("inference.ServerLiveResponse")
ServerReadyRequest = message_class("inference.ServerReadyRequest")
ServerReadyResponse = message_class("inference.ServerReadyResponse")
ModelReadyRequest = message_class("inference.ModelReadyRequest")
ModelReadyResponse = message_class("inference.ModelReadyResponse")
ServerMetadataRequest = message_class("inference.ServerMetadataRequest")
ServerMetadataResponse = message_class("inference.ServerMetadataResponse")
ModelMetadataRequest = message_class("inference.ModelMetadataRequest")
ModelMetadataResponse = message_class("inference.ModelMetadataResponse")
InferParameter = message_class("inference.InferParameter")
InferTensorContents = message_class("inference.InferTensorContents")
ModelInferRequest = message_class("inference.ModelInferRequest")
ModelInferResponse = message_class("inference.ModelInferResponse")
ModelStreamInferResponse = message_class("inference.ModelStreamInferResponse")
ModelConfigRequest = message_class("inference.ModelConfigRequest")
ModelConfigResponse = message_class("inference.ModelConfigResponse")
ModelStatisticsRequest = message_class("inference.ModelStatisticsRequest")
ModelStatisticsResponse = message_class("inference.ModelStatisticsResponse")
RepositoryIndexRequest = message_class("inference.RepositoryIndexRequest")
RepositoryIndexResponse = message_class("inference.RepositoryIndexResponse")
RepositoryModelLoadRequest = message_class("inference.RepositoryModelLoadRequest")
RepositoryModelLoadResponse = message_class("inference.RepositoryModelLoadResponse")
RepositoryModelUnloadRequest = message_class("inference.RepositoryModelUnloadRequest")
RepositoryModelUnloadResponse = message_class("inference.RepositoryModelUnloadResponse")
HealthCheckRequest = message_class("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = message_class("grpc.health.v1.HealthCheckResponse")
ServerReflectionRequest = message_class("grpc.reflection.v1.ServerReflectionRequest")
ServerReflectionResponse = message_class("grpc.reflection.v1.ServerReflectionResponse")
Status = message_class("google.rpc.Status")
RetryInfo = message_class("google.rpc.RetryInfo")
