"""Runners of clusters that are started once, by the first test that needs one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Beam's options for pipelines on Prism, with workers in this process."""
    pytest.importorskip("apache_beam")
    from helpers.beam_runners import prism_server

    with prism_server(tmp_path_factory.mktemp("prism") / "log") as options:
        yield options


@pytest.fixture(scope="session")
def worker_pool() -> Iterator[list[str]]:
    """Beam's options that have workers be processes of their own."""
    pytest.importorskip("apache_beam")
    from helpers.beam_runners import worker_pool

    with worker_pool() as options:
        yield options
