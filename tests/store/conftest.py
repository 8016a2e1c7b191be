"""A store in each kind of storage."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from store.store_files import write_model


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[Any]:
    """A real S3 server on a socket, with a bucket."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="bucket")
        client.close()
        yield endpoint
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


@pytest.fixture(params=["disk", "memory", "s3"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Opens the same store, again and again."""
    place = uuid.uuid4().hex
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        url, options = f"s3://bucket/{place}", {"endpoint_url": endpoint}
    else:
        url, options = (f"memory://{place}" if request.param == "memory" else str(tmp_path / "store")), {}
    return lambda: mt.Store(url, options=options, cache_dir=tmp_path / "cache")


@pytest.fixture
def store(open_store: Any) -> Any:
    return open_store()


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """Writes a model that multiplies by a factor."""
    return lambda factor: write_model(tmp_path / f"times{factor}.onnx", factor)
