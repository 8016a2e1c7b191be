"""What all tests share."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from helpers import onnxes

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


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    """The log of the fakes begins empty."""
    from motet.testing import fakes

    fakes.calls.clear()


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
