"""What the tests of gateways and batchers share."""

import pytest

from helpers.loops import Loop


@pytest.fixture(scope="session")
def batcher_loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def gateways(batcher_loop):
    """Makes gateways with graphs that are loaded."""
    from serving.batching.batcher_live import made

    kept = []

    def make(*graphs, **options):
        kept.append(batcher_loop.run(made(graphs, **options)))
        return kept[-1]

    yield make
    for repository in kept:
        batcher_loop.call(repository.close)
    errors, batcher_loop.errors = batcher_loop.errors, []
    assert not errors
