"""What all tests share."""

import gc
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from helpers import onnxes
from helpers.until import until

JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""What is played is little: it would take longer to compile it well."""
QUIET: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
settings.register_profile("quick", max_examples=30, **QUIET)
settings.register_profile("same", max_examples=30, derandomize=True, **QUIET)
settings.register_profile("deep", max_examples=500, **QUIET)  # pytest --hypothesis-profile=deep
settings.load_profile(os.environ.get("MOTET_TEST_PROFILE", "quick"))  # CI judges a change by the same examples each day

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell begins what it does in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


CLUSTERED = {
    "test_conformance.py", "test_ray.py", "test_ray_serve.py", "test_ray_steps.py", "test_spark.py",
    "test_spark_connect.py", "test_split_engines.py",
    "test_the_blocks_of_a_page_run[docs/ray.md]", "test_the_blocks_of_a_page_run[docs/spark.md]",
}  # fmt: skip
"""Modules, and tests of others, that need a cluster of Ray or Spark."""
STREAMED = {"test_kafka.py", "test_the_blocks_of_a_page_run[docs/streams.md]"}
"""The same that need a broker of Kafka."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests, one has all of a module, and one all that need what is begun once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module, _, test = nodeid.partition("::")
            named = {module.rpartition("/")[2], test}
            return "clusters" if named & CLUSTERED else "streams" if named & STREAMED else module

    return ByModule(config, log)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What is remembered between runs stays in the tests' own folder."""
    before = os.environ.get("MOTET_CACHE_DIR")
    os.environ["MOTET_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["MOTET_CACHE_DIR"]
    else:
        os.environ["MOTET_CACHE_DIR"] = before


@pytest.fixture(scope="session", autouse=True)
def _own_sockets() -> Iterator[Any]:
    """Servers of the tests are found by the tests alone."""
    folder = tempfile.mkdtemp(prefix="motet-", dir="/tmp")
    before = os.environ.get("MOTET_RUNTIME_DIR")
    os.environ["MOTET_RUNTIME_DIR"] = folder
    yield
    shutil.rmtree(folder)
    os.environ.pop("MOTET_RUNTIME_DIR")
    if before is not None:
        os.environ["MOTET_RUNTIME_DIR"] = before


@pytest.fixture(scope="module", autouse=True)
def _frozen_garbage() -> None:
    """What modules before have left stays, and is not looked through again by each collection: that takes seconds in a long run."""
    with warnings.catch_warnings(action="ignore"):  # of what others have left open
        gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    """The log of the fakes begins empty."""
    from motet.testing import fakes

    fakes.calls.clear()


def _began(cluster: Any, node: dict[str, Any]) -> bool:
    """Whether a node of Ray has begun within 30 seconds, more than which Ray does not wait for one.

    What Ray forks may die before it begins, where threads of gRPC, of tests before, are at work at that moment.
    """
    try:
        cluster.add_node(**node)
    except Exception as error:
        if "timed out" not in str(error).lower():
            raise
        return False
    return True


@pytest.fixture(scope="session")
def _ray_nodes() -> Iterator[Any]:
    """A cluster of Ray with a node of two CPUs and one of one."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from motet.system.signals import kept_signals

    with warnings.catch_warnings(action="ignore"), kept_signals(), pytest.MonkeyPatch.context() as variables:
        variables.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")  # on a busy machine Ray ends what begins slowly
        cluster = Cluster()
        for node in ({"num_cpus": 2, "include_dashboard": False}, {"num_cpus": 1}):
            until(partial(_began, cluster, node), 300)
    yield cluster
    with warnings.catch_warnings(action="ignore"):  # of processes that it does not wait for
        cluster.shutdown()
        gc.collect()


@pytest.fixture(scope="module")
def ray_cluster(_ray_nodes: Any) -> Iterator[Any]:
    """A cluster of Ray, to which the tests of a module are connected; others find no thread and no file of it."""
    import ray

    with warnings.catch_warnings(action="ignore"):
        ray.init(address=_ray_nodes.address, log_to_driver=False)
    yield _ray_nodes
    with warnings.catch_warnings(action="ignore"):
        ray.shutdown()
        gc.collect()


@pytest.fixture(scope="session")
def spark_session() -> Iterator[Any]:
    """A session of Spark with two executors, each a process of its own."""
    pyspark = pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, which is not here")
    from pyspark.sql import SparkSession

    from motet.engines.engine import find_engine

    settings = {
        "spark.executor.memory": "512m", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2",
        "spark.driver.extraJavaOptions": JAVA, "spark.executor.extraJavaOptions": JAVA,
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin", "spark.connect.grpc.binding.port": "0",
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    engine: Any = find_engine("spark", ["--master", "local-cluster[2,1,1024]", *options])
    context = engine._context()
    yield SparkSession.builder.getOrCreate()
    work, gateway = Path(pyspark.__file__).parent / "work" / context.applicationId, context._gateway
    context.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
    pyspark.SparkContext._gateway = pyspark.SparkContext._jvm = None
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture(scope="session")
def connect_url(spark_session: Any) -> Any:
    """Where Spark Connect is served, on the cluster of that session."""
    pytest.importorskip("grpc_status")
    service = getattr(spark_session._jvm.org.apache.spark.sql.connect.service, "SparkConnectService$")
    return f"sc://localhost:{getattr(service, 'MODULE$').localPort()}"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A broker of Kafka."""
    from helpers.kafka_broker import KafkaBroker, need_kafka

    need_kafka()
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def onnx_files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of tiny ONNX models."""
    folder = tmp_path_factory.mktemp("onnx")
    for seed, name in enumerate(("one", "two", "three")):
        onnxes.classifier(folder / f"{name}.onnx", seed=seed, sharpness=seed + 1.0)
    onnxes.affine(folder / "affine.onnx")
    onnxes.affine(folder / "fixed.onnx", rows=4)
    onnxes.row_mean(folder / "mean.onnx")
    onnxes.two_inputs(folder / "minus.onnx")
    return folder
