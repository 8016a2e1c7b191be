"""What the tests of gateways and lanes share."""

import pytest

from helpers.loops import Loop


@pytest.fixture(scope="session")
def lane_loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def gateways(lane_loop):
    """Makes gateways with graphs that are loaded."""
    from lane_live import made

    kept = []

    def make(*graphs, **options):
        kept.append(lane_loop.run(made(graphs, **options)))
        return kept[-1]

    yield make
    for gateway in kept:
        lane_loop.call(gateway.close)
    errors, lane_loop.errors = lane_loop.errors, []
    assert not errors
