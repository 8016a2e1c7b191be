"""Spans of requests and batches, and their way to a receiver."""

import gzip
import logging
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from motet.errors import DeadlineError, Failure, MissingExtraError, ModelError
from motet.graph.node import Fault
from motet.runtime.executor import Call
from motet.serving.batching.request import Reply
from motet.serving.config.observability import ObservabilityConfig, TraceConfig
from motet.serving.observability import tracing as trace_module
from motet.serving.observability.observability import Observability
from motet.serving.observability.tracing import Tracing, trace_id
from serving.observability.observability_parts import Asked, played

pytest.importorskip("opentelemetry.sdk")
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it goes on to say that nobody takes its spans

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans():
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def start(spans):
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    made = []

    def begin(sample=1.0, chance=lambda: 0.5):
        made.append(Tracing(TraceConfig(sample=sample), SimpleSpanProcessor(spans), chance))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def named(spans):
    found = {}
    for span in spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def reply(rows=1, failures=()):
    return Reply({}, 0, rows - len(failures), None, failures, 8, 0.25, 0.125)


def call(model="mlp", seconds=0.01, faults=()):
    return Call("vote", model, "v7", 8, seconds, {"scores": np.zeros(8)}, faults, "first")


def test_a_request_has_a_queue_and_a_compute_and_its_batch_has_calls(start, spans):
    tracing = start()
    one, other = Asked(2), Asked(1)
    first = tracing.request("fashion", f"00-{TRACE}-{SPAN}-01", **{"url.path": "/v2"}).of(one)
    second = tracing.request("fashion").of(other)
    batch = tracing.batch([Asked(5), one, other], "fashion")
    batch.append(call("linear"))
    batch.append(call("mlp", faults=(Fault(0, "E", "bad"),)))
    tracing.played([one, other])
    first.played(reply(2))
    second.played(reply(1))
    found = named(spans)
    assert {name: len(each) for name, each in found.items()} == {
        "fashion": 2, "queue": 2, "compute": 2, "batch": 1, "linear": 1, "mlp": 1,
    }  # fmt: skip
    root = found["fashion"][0]
    assert f"{root.context.trace_id:032x}" == TRACE == first.trace_id
    assert f"{root.parent.span_id:016x}" == SPAN
    assert root.kind.name == "SERVER"
    assert dict(root.attributes) == {
        "motet.graph": "fashion", "url.path": "/v2", "motet.rows": 2, "motet.batch_rows": 8,
    }  # fmt: skip
    assert root.resource.attributes["service.name"] == "motet"
    queue, compute = found["queue"][0], found["compute"][0]
    assert queue.parent.span_id == compute.parent.span_id == root.context.span_id
    assert queue.end_time - queue.start_time == 250_000_000
    assert queue.end_time == compute.start_time
    [played_batch] = found["batch"]
    assert [link.context.span_id for link in compute.links] == [played_batch.context.span_id]
    requests = {span.context.span_id for span in found["fashion"]}
    assert {link.context.span_id for link in played_batch.links} == requests
    assert played_batch.parent.span_id == root.context.span_id
    assert dict(played_batch.attributes) == {"motet.graph": "fashion", "motet.rows": 8, "motet.requests": 3}
    [mlp] = found["mlp"]
    assert mlp.parent.span_id == played_batch.context.span_id
    assert mlp.attributes["motet.version"] == "v7"
    assert mlp.attributes["motet.failed_rows"] == 1
    assert mlp.end_time - mlp.start_time == 10_000_000
    assert not tracing._traced


def test_a_caller_decides_whether_it_is_traced(start, spans):
    tracing = start()
    assert tracing.request("g", f"00-{TRACE}-{SPAN}-00") is None
    tracing.request("g", f" 00-{TRACE}-{SPAN}-01 ").played(reply())
    tracing.request("g", f"cc-{TRACE}-{SPAN}-03-what-comes-later").played(reply())
    assert {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()} == {TRACE}


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}", "é" * 1000,
    ],
)  # fmt: skip
def test_a_traceparent_that_is_none_begins_a_trace(start, bad):
    span = start().request("g", bad)
    assert span.trace_id != TRACE
    assert trace_id(bad) == ""
    span.played(reply())


def test_the_id_of_a_trace_is_known_without_tracing():
    assert trace_id(f"00-{TRACE}-{SPAN}-00") == TRACE


def test_only_a_part_is_traced(start):
    tracing = start(sample=0.1, chance=iter([0.05, 0.1, 0.99]).__next__)
    assert [tracing.request("g") is not None for _ in range(3)] == [True, False, False]
    assert start(sample=0.0).request("g") is None


def test_a_batch_without_traced_requests_has_no_span(start, spans):
    tracing = start()
    assert tracing.batch([Asked(1)], "g") is None
    span = tracing.request("g").of(Asked(1))
    assert tracing.batch([Asked(1)], "g") is None
    span.played(reply())
    assert set(named(spans)) == {"g", "queue", "compute"}


def test_failures_are_marked(start, spans):
    tracing = start()
    failures = (Failure(1, "vote", "m", "1", "ValueError", "bad"),)
    tracing.request("rows").played(reply(2, failures))
    late = Asked(4)
    tracing.request("late").of(late).failed(DeadlineError("not answered in time"), **{"http.response.status_code": 408})
    asked = Asked(1)
    broken = tracing.request("broken").of(asked)
    tracing.batch([asked], "broken")
    broken.failed(ModelError("it broke"))
    found = named(spans)
    [rows], [late], [broken], [batch] = (found[name] for name in ("rows", "late", "broken", "batch"))
    assert {span.status.status_code.name for span in (rows, late, broken, batch)} == {"ERROR"}
    assert rows.attributes["motet.failed_rows"] == 1
    assert late.attributes["error.type"] == "DeadlineError"
    assert late.attributes["http.response.status_code"] == 408
    assert "it broke" in broken.status.description
    assert not tracing._traced


def test_calls_of_a_batch_and_requests_under_way_are_bounded(start, spans, monkeypatch):
    monkeypatch.setattr(trace_module, "MAX_CALLS", 3)
    monkeypatch.setattr(trace_module, "MAX_TRACED", 2)
    tracing = start()
    requests = [Asked(1) for _ in range(2)]
    held = [tracing.request("g").of(each) for each in requests]
    assert tracing.request("g") is None
    batch = tracing.batch(requests, "g")
    for _ in range(10):
        batch.append(call())
    assert len(named(spans)["mlp"]) == 3
    for each in held:
        each.played(reply())
    assert tracing.request("g") is not None


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'motet\[otel\]'"):
        Tracing(TraceConfig())


class Receiver:
    """A receiver of OTLP over HTTP on loopback."""

    def __init__(self):
        received = self.received = []
        self.came = came = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                received.append((self.path, self.headers["content-type"], body))
                self.send_response(200)
                self.end_headers()
                came.set()

            def log_message(self, *args):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_spans_come_to_a_receiver(tmp_path):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    receiver = Receiver()
    try:
        endpoint = f"http://127.0.0.1:{receiver.server.server_port}/v1/traces"
        seen = Observability(ObservabilityConfig(trace=TraceConfig(endpoint, service="shop")), tmp_path)
        asked = Asked(1)
        span = seen.tracing.request("fashion", f"00-{TRACE}-{SPAN}-01").of(asked)
        listener = seen.listener("fashion")
        listener.trace([asked]).append(call())
        listener.played([asked], played(1), time.monotonic(), 0.1)
        span.played(reply())
        seen.close()
        assert receiver.came.wait(10)
    finally:
        receiver.close()
    [(path, kind, body)] = receiver.received
    assert (path, kind) == ("/v1/traces", "application/x-protobuf")
    [resource] = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {each.value.string_value for each in resource.resource.attributes} >= {"shop"}
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert names == {"fashion", "queue", "compute", "batch", "mlp"}


def test_a_receiver_that_is_not_there_does_not_hold_up_the_end():
    tracing = Tracing(TraceConfig("http://127.0.0.1:9/v1/traces"))
    tracing.request("g").played(reply())
    started = time.monotonic()
    tracing.close(timeout_s=0.3)
    assert time.monotonic() - started < 3
