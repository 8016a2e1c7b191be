"""Reflection: what a tool that knows nothing of the server learns of it."""

import threading
import time

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from motet.oip.messages import REFLECTION_SERVICES, ServerReflectionRequest, ServerReflectionResponse

OLD, NEW = REFLECTION_SERVICES[::-1]


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def stream(channel, requests, service=NEW):
    return channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )(iter(requests))


@pytest.mark.parametrize("service", [OLD, NEW])
def test_services_are_listed_and_described_with_all_that_they_need(channel, service):
    listed, described = stream(
        channel,
        [
            ServerReflectionRequest(list_services="*"),
            ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
        ],
        service,
    )
    names = [each.name for each in listed.list_services_response.service]
    assert names == ["inference.GRPCInferenceService", "grpc.health.v1.Health", NEW, OLD]
    pool = descriptor_pool.DescriptorPool()
    for data in described.file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(data))
    methods = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name
    assert methods["ModelInfer"].input_type.full_name == "inference.ModelInferRequest"


@pytest.mark.parametrize(
    "asked",
    [
        {"file_containing_symbol": "inference.ModelInferRequest"},
        {"file_containing_symbol": "grpc.health.v1.Health.Check"},
        {"file_containing_symbol": OLD},
        {"file_by_filename": "status.proto"},
    ],
)
def test_files_are_found_by_what_they_hold_and_by_their_names(channel, asked):
    [answer] = stream(channel, [ServerReflectionRequest(**asked)])
    assert answer.file_descriptor_response.file_descriptor_proto
    assert answer.original_request == ServerReflectionRequest(**asked)


@pytest.mark.parametrize(
    "asked",
    [
        {"file_containing_symbol": "nothing.Here"},
        {"file_by_filename": "nothing.proto"},
        {"file_containing_extension": {"containing_type": "inference.ModelInferRequest", "extension_number": 7}},
        {"all_extension_numbers_of_type": "nothing.Here"},
        {},
    ],
)
def test_what_there_is_not_is_said(channel, asked):
    answer, other = stream(channel, [ServerReflectionRequest(**asked), ServerReflectionRequest(list_services="")])
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert answer.error_response.error_message
    assert other.list_services_response.service


def test_a_stream_that_is_open_does_not_hold_the_server_up_when_it_stops(live, repository):
    server = live.serve(repository)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        over = threading.Event()

        def requests():
            yield ServerReflectionRequest(list_services="")
            over.wait(30)

        next(stream(channel, requests()))
        begun = time.monotonic()
        live.run(server.stop(20), 25)
        over.set()
        assert time.monotonic() - begun < 10
