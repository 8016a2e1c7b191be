"""A gateway with the graphs of these tests, behind a gRPC port."""

import pytest
import tritonclient.grpc as triton

from serving.grpc.grpc_live import Door, Live, echo, gated_graph, graphs


@pytest.fixture(scope="session")
def live():
    made = Live()
    yield made
    made.close()


@pytest.fixture(scope="session")
def repository(live):
    return live.repository(*graphs())


@pytest.fixture(scope="session")
def server(live, repository):
    return live.serve(repository)


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as made:
        yield made


@pytest.fixture(scope="session")
def gated_gateway(live):
    """Plays one batch at a time."""
    return live.repository(gated_graph(), echo("float32"), threads=1)


@pytest.fixture
def door(gated_gateway):
    return Door(gated_gateway)


@pytest.fixture
def gated_server(live, gated_gateway, door):
    return live.serve(gated_gateway, middleware=door)


@pytest.fixture
def gated(gated_server):
    with triton.InferenceServerClient(f"127.0.0.1:{gated_server.port}") as made:
        yield made
