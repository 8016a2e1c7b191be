"""The key `observability` of serve.yaml says what is wrong with it, and where."""

import pytest

from motet.errors import GraphError
from motet.serving.config.observability import DriftConfig, LogConfig, ObservabilityConfig, TraceConfig


def test_nothing_is_the_default():
    assert (
        ObservabilityConfig.read(None, "observability")
        == ObservabilityConfig.read({}, "observability")
        == ObservabilityConfig(None, None)
    )
    assert ObservabilityConfig.read({"access_log": False, "trace": False}, "observability") == ObservabilityConfig()


def test_a_reference_alone_is_enough_for_drift():
    short = ObservabilityConfig.read({"drift": "r.json"}, "observability", "/etc").drift
    assert short == DriftConfig(("/etc/r.json",), 0.1, 3600.0, 0.2)
    both = ObservabilityConfig.read({"drift": {"reference": ["a.json", "/b.json"]}}, "observability", "/etc").drift
    assert both.reference == ("/etc/a.json", "/b.json")


def test_short_and_long_forms():
    assert ObservabilityConfig.read(
        {"access_log": "a.jsonl", "trace": True}, "observability", "/etc/motet"
    ) == ObservabilityConfig(LogConfig("/etc/motet/a.jsonl"), TraceConfig())
    assert ObservabilityConfig.read({"access_log": "stderr"}, "observability", "/etc").access_log == LogConfig("stderr")
    long = {"file": "/var/a", "file_bytes": "1MiB", "files": 2, "waiting": 10}
    trace = {"endpoint": "http://localhost:4318/v1/traces", "sample": 0.5, "service": "shop"}
    assert ObservabilityConfig.read(
        {"access_log": long, "trace": trace}, "observability", "/etc"
    ) == ObservabilityConfig(
        LogConfig("/var/a", 1 << 20, 2, 10), TraceConfig("http://localhost:4318/v1/traces", 0.5, "shop")
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"acces_log": "a"},
            "observability: unknown key 'acces_log'; did you mean 'access_log'? known: access_log, trace, drift",
        ),
        (
            {"access_log": 3},
            "observability.access_log: expected a text; got 3",
        ),
        ({"access_log": {}}, "observability.access_log: 'file' is missing"),
        ({"access_log": ""}, "observability.access_log: is empty\n  hint: name a file, or stderr"),
        ({"access_log": {"file": "a", "files": 0}}, "observability.access_log.files: must be at least 1; got 0"),
        (
            {"access_log": {"file": "a", "file_bytes": 10}},
            "observability.access_log.file_bytes: must be at least 4096; got 10",
        ),
        (
            {"access_log": {"file": "a", "waiting": True}},
            "observability.access_log.waiting: expected a whole number; got True",
        ),
        ({"trace": "yes"}, "observability.trace: expected a mapping with some of endpoint, sample, service; got 'yes'"),
        ({"drift": {"sample": 0.1}}, "observability.drift: 'reference' is missing"),
        (
            {"drift": {"reference": "r.json", "sample": 0}},
            "observability.drift.sample: must be more than 0, at most 1; got 0.0",
        ),
        ({"trace": {"sample": 2}}, "observability.trace.sample: must be from 0 to 1; got 2.0"),
        (
            {"trace": {"endpoint": "localhost:4318"}},
            "observability.trace.endpoint: 'localhost:4318' is no address of a receiver\n  hint: write http://HOST:4318/v1/traces",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(value, message):
    with pytest.raises(GraphError) as raised:
        ObservabilityConfig.read(value, "observability")
    assert str(raised.value) == message
