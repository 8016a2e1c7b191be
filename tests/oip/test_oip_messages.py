"""The messages are those of the public protocol, and stay beside other packages' messages of the same names."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc.service_pb2 as stock

from motet.oip import messages
from motet.oip.generate import compiled

SHARED = [name for name in stock.DESCRIPTOR.message_types_by_name if f"{name}" in dir(messages)]


def test_the_compiled_messages_are_those_of_the_proto_files() -> None:
    assert Path(messages.__file__).with_name("descriptors.binpb").read_bytes() == compiled()


def fields_of(descriptor: Any) -> Any:
    return {
        (field.name, field.number, field.type, field.is_repeated, field.message_type and field.message_type.full_name)
        for field in descriptor.fields
    }


def nested(descriptor: Any) -> Iterator[Any]:
    yield descriptor
    for each in descriptor.nested_types:
        yield from nested(each)


@pytest.mark.parametrize("name", SHARED)
def test_every_field_is_one_of_the_stock_clients(name: Any) -> None:
    theirs = {each.full_name: each for each in nested(getattr(stock, name).DESCRIPTOR)}
    for ours in nested(getattr(messages, name).DESCRIPTOR):
        assert fields_of(ours) <= fields_of(theirs[ours.full_name])


def test_the_messages_that_carry_tensors_have_all_fields() -> None:
    assert len(SHARED) >= 20
    for name in ("ModelInferRequest", "ModelInferResponse", "InferTensorContents", "InferParameter"):
        for ours, theirs in zip(
            nested(getattr(messages, name).DESCRIPTOR), nested(getattr(stock, name).DESCRIPTOR), strict=True
        ):
            assert fields_of(ours) == fields_of(theirs)


@pytest.mark.parametrize("order", ["motet.oip.messages, tritonclient.grpc", "tritonclient.grpc, motet.oip.messages"])
def test_the_stock_client_may_be_imported_before_or_after(order: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", f"import {order}"], check=True, timeout=60)
