"""OpenTelemetry spans (https://opentelemetry.io), with `traceparent` of W3C Trace Context (https://www.w3.org/TR/trace-context).

A request is a span with two below it: `queue`, and `compute`, which is linked to the span of its batch. The span of a batch
is below the first of its requests that is traced, is linked to all of them, and has a span below it for each call of a
model. A request that is not traced costs a look at a number; without tracing nothing is imported.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from motet.errors import MissingExtraError, MotetError
from motet.runtime.executor import Call
from motet.serving.batching.request import Reply, Request
from motet.serving.config.observability import TraceConfig
from motet.system.incidents import Outage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span

__all__ = ["BatchSpan", "RequestSpan", "Tracing", "trace_id"]

_LOG = logging.getLogger("motet.serving")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MAX_CALLS = 128
"""Calls of models that a batch's span shows."""
MAX_TRACED = 16_384
"""Requests that are traced at the same time; others are not traced."""
SEND_S = 5
"""How long sending some spans may take, all tries together."""
QUEUE_SPANS = 4096
"""Spans that may wait to be sent; beyond it they are dropped."""


def trace_id(traceparent: str) -> str:
    """The id of the trace that a caller is in; empty where it says none."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    return match[2] if match and (match[1] != "00" or not match[5]) else ""


class Tracing:
    """Makes spans. `request` is called by those who serve a protocol, `batch` and `played` by those who play.

    Args:
        config: where spans go, and how many.
        processor: takes the spans; None sends them to the configured receiver, from a thread.
        chance: from 0 to 1, for those who come without a trace.

    Raises:
        MissingExtraError: when OpenTelemetry is not installed.
    """

    def __init__(
        self, config: TraceConfig, processor: SpanProcessor | None = None, chance: Any = random.random
    ) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
        except ImportError:
            raise MissingExtraError("opentelemetry-sdk", "otel", "observability.trace") from None
        self._api, self._sample, self._chance = trace, config.sample, chance
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": config.service}), shutdown_on_exit=False
        )
        self._exporter: _Exporter | None = None
        if processor is None:
            self._exporter, processor = _sender(config)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("motet.serving")
        self._traced: dict[int, RequestSpan] = {}

    def request(self, name: str, traceparent: str = "", **attributes: str | int) -> RequestSpan | None:
        """The span of a request that begins now; None where it is not traced.

        Args:
            name: of the span.
            traceparent: what the caller sent; empty where it sent none. It says whether the request is traced.
            attributes: of the span.
        """
        match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
        if match is None or (match[1] == "00" and match[5]):
            if not self._sample or self._chance() >= self._sample:
                return None
            parent = None
        else:
            if not int(match[4], 16) & 1:
                return None
            parent = self._remote(int(match[2], 16), int(match[3], 16))
        if len(self._traced) >= MAX_TRACED:
            return None
        return RequestSpan(
            self, self._tracer.start_span(name, parent, self._api.SpanKind.SERVER, attributes=attributes)
        )

    def batch(self, requests: Sequence[Request], graph: str) -> BatchSpan | None:
        """The span of a batch that is played now, and what is to be given its calls; None where no request is traced."""
        if not self._traced:
            return None
        spans = [self._traced[id(request)] for request in requests if id(request) in self._traced]
        if not spans:
            return None
        api = self._api
        rows = sum(request.rows for request in requests)
        span = self._tracer.start_span(
            "batch",
            api.set_span_in_context(spans[0].span),
            links=[api.Link(each.span.get_span_context()) for each in spans],
            attributes={"motet.graph": graph, "motet.rows": rows, "motet.requests": len(requests)},
        )
        batch = BatchSpan(self, span)
        for each in spans:
            each.batch = batch
            each.span.set_attribute("motet.graph", graph)
        return batch

    def played(self, requests: Sequence[Request]) -> None:
        """A batch has been played."""
        for request in requests if self._traced else ():
            span = self._traced.get(id(request))
            if span is not None and span.batch is not None:
                span.batch.end()

    def close(self, timeout_s: float = 1.5) -> None:
        """Send what waits, for at most this time; nothing where nobody took the last ones."""
        if self._exporter is not None and self._exporter.outage.is_out:
            self._exporter.shutdown()
        closing = threading.Thread(target=self._provider.shutdown, name="motet-trace-close", daemon=True)
        closing.start()
        closing.join(timeout_s)
        if self._exporter is not None:
            self._exporter.shutdown()

    def child(self, name: str, parent: Span, start_ns: int, end_ns: int, **more: Any) -> None:
        """A span below another one that has ended already."""
        span = self._tracer.start_span(name, self._api.set_span_in_context(parent), start_time=start_ns, **more)
        span.end(end_ns)

    def fail(self, span: Span, error: str, message: str) -> None:
        """Mark a span as failed."""
        span.set_attribute("error.type", error)
        span.set_status(self._api.Status(self._api.StatusCode.ERROR, message[:400]))

    def link(self, span: Span) -> Any:
        """A link to a span."""
        return self._api.Link(span.get_span_context())

    def keep(self, request: Request, span: RequestSpan) -> None:
        """Remember which span is a request's."""
        self._traced[id(request)] = span

    def forget(self, request: Request) -> None:
        """A request is over."""
        self._traced.pop(id(request), None)

    def _remote(self, trace: int, span: int) -> Any:
        api = self._api
        context = api.SpanContext(trace, span, is_remote=True, trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED))
        return api.set_span_in_context(api.NonRecordingSpan(context))


class RequestSpan:
    """The span of a request. It ends with `played` or `failed`, whichever comes first.

    Attributes:
        span: of OpenTelemetry.
        batch: of the batch it was played in.
    """

    __slots__ = ("_request", "_tracing", "batch", "span")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing, self.span = tracing, span
        self.batch: BatchSpan | None = None
        self._request: Request | None = None

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hexadecimal digits."""
        return f"{self.span.get_span_context().trace_id:032x}"

    def of(self, request: Request) -> RequestSpan:
        """Say which request it is of, so that its batch is known; before the request is submitted."""
        self._request = request
        self._tracing.keep(request, self)
        return self

    def played(self, reply: Reply | None, **attributes: str | int) -> None:
        """It was answered; some rows may have failed. None where nothing had to be played."""
        if reply is None:
            self._end()
            return
        now = time.time_ns()
        batch, tracing = self.batch, self._tracing
        started = batch.started_ns if batch is not None else now - _ns(reply.compute_s)
        tracing.child("queue", self.span, started - _ns(reply.queue_s), started)
        links = None if batch is None else [tracing.link(batch.span)]
        tracing.child("compute", self.span, started, min(now, started + _ns(reply.compute_s)), links=links)
        rows = reply.end - reply.first + len(reply.failures)
        self.span.set_attributes({"motet.rows": rows, "motet.batch_rows": reply.batch_rows, **attributes})
        if reply.failures:
            first = reply.failures[0]
            self.span.set_attribute("motet.failed_rows", len(reply.failures))
            tracing.fail(self.span, first.error, str(first))
        self._end()

    def failed(self, error: MotetError, **attributes: str | int) -> None:
        """It was not answered."""
        rows = 0 if self._request is None else self._request.rows
        self._tracing.fail(self.span, type(error).__name__, str(error))
        self.span.set_attributes({"motet.rows": rows, "http.response.status_code": error.status, **attributes})
        if self.batch is not None and not self.batch.ended:
            self._tracing.fail(self.batch.span, type(error).__name__, str(error))
            self.batch.end()
        self._end()

    def _end(self) -> None:
        if self._request is not None:
            self._tracing.forget(self._request)
            self._request = None
        self.span.end()


class BatchSpan:
    """The span of a batch; takes the calls of models in any thread, as a `Trace`."""

    __slots__ = ("_calls", "_tracing", "ended", "span", "started_ns")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing, self.span, self.ended = tracing, span, False
        self.started_ns = time.time_ns()
        self._calls = 0

    @property
    def afterwards(self) -> BatchSpan:
        """What takes calls that end when the batch has been answered."""
        return self

    def append(self, call: Call, /) -> None:
        """A model or graph was called."""
        self._calls += 1
        if self._calls > MAX_CALLS:
            return
        now = time.time_ns()
        attributes: dict[str, str | int] = {"motet.node": call.node, "motet.model": call.uses, "motet.rows": call.rows}
        attributes["motet.version"] = call.version
        if call.member:
            attributes["motet.member"] = call.member
        if call.faults:
            attributes["motet.failed_rows"] = len(call.faults)
        self._tracing.child(call.uses, self.span, now - _ns(call.seconds), now, attributes=attributes)

    def end(self) -> None:
        """It was played; a second time does nothing."""
        if not self.ended:
            self.ended = True
            self.span.end()


class _Exporter:
    """Sends spans, and says when nobody takes them, in place of the library, which does so at every try.

    Args:
        exporter: of OpenTelemetry.
        endpoint: where it sends them.
    """

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._exporter, self._endpoint, self._taken = exporter, endpoint, SpanExportResult.SUCCESS
        self.outage = Outage(_LOG, "traces", endpoint)
        logging.getLogger(type(exporter).__module__).setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some."""
        result = self._exporter.export(spans)
        if result is self._taken:
            self.outage.back("traces are taken again at %s", self._endpoint)
        else:
            self.outage.out("traces are not taken at %s, and are dropped", self._endpoint)
        return result

    def shutdown(self) -> None:
        """Send nothing any more, and end what is being sent."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether all is sent that was given."""
        return self._exporter.force_flush(timeout_millis)


def _sender(config: TraceConfig) -> tuple[_Exporter, SpanProcessor]:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtraError("opentelemetry-exporter-otlp-proto-http", "otel", "observability.trace") from None
    exporter = OTLPSpanExporter(endpoint=config.endpoint or None, timeout=SEND_S)
    said = _Exporter(exporter, config.endpoint or "the receiver that the environment names")
    return said, BatchSpanProcessor(said, max_queue_size=QUEUE_SPANS, schedule_delay_millis=1000)  # type: ignore[arg-type]


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
