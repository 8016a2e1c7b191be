"""What is started or made once: runners of clusters, by the first test that needs one, and the graphs of all features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import trained
from helpers.oip_server import OipServer, Served
from helpers.ways import Tried, tried


@pytest.fixture(scope="session")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Beam's options for pipelines on Prism, with workers in this process."""
    pytest.importorskip("apache_beam")
    from helpers.beam_runners import prism_server

    with prism_server(tmp_path_factory.mktemp("prism") / "log") as options:
        yield options


@pytest.fixture(scope="session")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Beam's options for pipelines on Flink, with workers in this process."""
    pytest.importorskip("apache_beam")
    from helpers.beam_runners import flink_server

    with flink_server(tmp_path_factory.mktemp("flink")) as options:
        yield options


@pytest.fixture
def flink_cluster(tmp_path: Path) -> Iterator[tuple[list[str], int]]:
    """Beam's options for pipelines on Flink's own processes, and that of its task manager, until the test ends."""
    pytest.importorskip("apache_beam")
    from helpers.beam_runners import flink_cluster

    (tmp_path / "flink").mkdir()
    with flink_cluster(tmp_path / "flink") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def worker_pool() -> Iterator[list[str]]:
    """Beam's options that have workers be processes of their own."""
    pytest.importorskip("apache_beam")
    from helpers.beam_runners import worker_pool

    with worker_pool() as options:
        yield options


@pytest.fixture(scope="session")
def all_cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    """Graphs of every feature, and rows with what is right for them."""
    server = OipServer(scores=Served(trained.scores, [("x", "FP32", [-1, 4])], [("probabilities", "FP32", [-1, 3])]))
    yield tried(tmp_path_factory.mktemp("cases"), server)
    server.close()
