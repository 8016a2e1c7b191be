"""gRPC's own reflection, `grpc.reflection.v1.ServerReflection`: tools such as grpcurl ask it what a server offers."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from motet.oip.messages import (
    HEALTH_SERVICE,
    POOL,
    REFLECTION_SERVICES,
    SERVICE,
    ServerReflectionRequest,
    ServerReflectionResponse,
)
from motet.serving.grpc.calls import begun

__all__ = ["Reflection"]


class Reflection:
    """Answers with the descriptions of the services and messages that the server speaks."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let those go who ask."""
        self._stopping.set()

    async def info(self, _iterator: Any, context: Any) -> None:
        """Answer a stream of `ServerReflectionRequest`, each given as its bytes."""
        await begun(context)
        stopping = asyncio.ensure_future(self._stopping.wait())
        reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())
        try:
            while True:
                await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() or (data := reading.result()) is grpc.aio.EOF:
                    return
                await context.write(_answer(data))
                reading = asyncio.ensure_future(context.read())
        finally:
            stopping.cancel()
            reading.cancel()


def _answer(data: bytes) -> Any:
    answer = ServerReflectionResponse()
    try:
        request = ServerReflectionRequest.FromString(data)
        answer.original_request.CopyFrom(request)
        answer.valid_host = request.host
        _fill(answer, request)
    except KeyError:
        _refuse(answer, grpc.StatusCode.NOT_FOUND, "there is nothing of that name here")
    except Exception as error:  # noqa: BLE001 (the class of protobuf's error depends on its implementation)
        _refuse(answer, grpc.StatusCode.INVALID_ARGUMENT, f"no ServerReflectionRequest: {error}")
    return answer


def _refuse(answer: Any, code: Any, message: str) -> None:
    answer.error_response.error_code, answer.error_response.error_message = code.value[0], message


def _fill(answer: Any, request: Any) -> None:
    """Answer what is asked.

    Raises:
        KeyError: when there is nothing of that name.
    """
    asked = request.WhichOneof("message_request")
    if asked == "list_services":
        for name in (SERVICE, HEALTH_SERVICE, *REFLECTION_SERVICES):
            answer.list_services_response.service.add(name=name)
    elif asked == "file_by_filename":
        _put(answer, POOL.FindFileByName(request.file_by_filename))
    elif asked == "file_containing_symbol":
        symbol = request.file_containing_symbol.replace("grpc.reflection.v1alpha.", "grpc.reflection.v1.")
        _put(answer, _file_of(symbol))
    elif asked == "all_extension_numbers_of_type":
        name = request.all_extension_numbers_of_type
        answer.all_extension_numbers_response.base_type_name = POOL.FindMessageTypeByName(name).full_name
    else:
        raise KeyError(asked)


def _file_of(symbol: str) -> Any:
    try:
        return POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        return POOL.FindMethodByName(symbol).containing_service.file


def _put(answer: Any, file: Any) -> None:
    """A file and all that it imports."""
    found: dict[str, bytes] = {}
    left = [file]
    while left:
        one = left.pop()
        if one.name not in found:
            found[one.name] = one.serialized_pb
            left += one.dependencies
    answer.file_descriptor_response.file_descriptor_proto.extend(found.values())
