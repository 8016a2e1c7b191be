"""The text that Prometheus reads, in its own format or in OpenMetrics, as it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from motet.serving.observability.buckets import ROWS, SECONDS, SHOWN_SECONDS, coarse
from motet.serving.observability.totals import Numbers

__all__ = ["SHOWN", "Shown", "expose"]


@dataclass(frozen=True)
class Shown:
    """A metric that is shown.

    Attributes:
        kind: `counter`, `gauge` or `histogram`.
        about: what it is.
        labels: what it is of.
        bounds: of the buckets that are counted; only of a histogram.
        shown: those of them that are shown.
    """

    kind: str
    about: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    shown: tuple[float, ...] = ()


def _seconds(about: str, label: str = "graph") -> Shown:
    return Shown("histogram", about, (label,), SECONDS, SHOWN_SECONDS)


_GRAPH, _NODE, _MODEL, _REPLICA = ("graph",), ("graph", "node"), ("model",), ("model", "replica")
_MEMBER = (*_NODE, "member")
_ARM = ("graph", "node", "arm")
_PLACES, _SINK, _COLUMN = ("places",), ("sink",), ("graph", "column")
SHOWN = {
    "motet_requests": Shown(
        "counter",
        "Requests by outcome: ok, failed (some rows), error, rejected, late, cancelled.",
        ("graph", "outcome"),
    ),
    "motet_rows": Shown("counter", "Rows played.", _GRAPH),
    "motet_cached_requests": Shown("counter", "Requests that were given an answer that was kept.", _GRAPH),
    "motet_failures": Shown(
        "counter", "Rows that failed; node is empty where a whole batch did.", ("graph", "node", "error")
    ),
    "motet_rejected": Shown("counter", "Requests that were not let in.", ("graph", "reason")),
    "motet_dropped": Shown("counter", "Requests that were late or whose caller was gone.", ("graph", "reason")),
    "motet_queue_seconds": _seconds("Seconds that a request waited to be played."),
    "motet_compute_seconds": _seconds("Seconds that a batch was played."),
    "motet_request_seconds": _seconds("Seconds from a request's last byte to its answer."),
    "motet_batch_rows": Shown("histogram", "Rows of a batch.", _GRAPH, ROWS, ROWS),
    "motet_in_flight": Shown("gauge", "Requests that wait or are being played.", _GRAPH),
    "motet_queued_rows": Shown("gauge", "Rows that wait.", _GRAPH),
    "motet_node_rows": Shown("counter", "Rows that a node was given.", _NODE),
    "motet_node_batches": Shown("counter", "Batches that a node was given.", _NODE),
    "motet_node_seconds": Shown("counter", "Seconds in a node.", _NODE),
    "motet_node_failed_rows": Shown("counter", "Rows that failed in a node.", _NODE),
    "motet_late_rows": Shown("counter", "Rows that a member of an ensemble did not answer within its time.", _MEMBER),
    "motet_shadow_played_rows": Shown("counter", "Rows that a shadow answered, off the way of the answers.", _MEMBER),
    "motet_shadow_failed_rows": Shown("counter", "Rows that a shadow failed on.", _MEMBER),
    "motet_shadow_compared_rows": Shown("counter", "Rows whose answer by a shadow was compared.", _MEMBER),
    "motet_shadow_agreed_rows": Shown("counter", "Rows for which a shadow said what was answered.", _MEMBER),
    "motet_shadow_dropped_rows": Shown(
        "counter", "Rows that a shadow was not called with: too many were waiting.", _MEMBER
    ),
    "motet_model_rows": Shown("counter", "Rows that a model answered, for all graphs.", _MODEL),
    "motet_model_calls": Shown("counter", "Calls of a model.", _MODEL),
    "motet_model_seconds": Shown("counter", "Seconds in calls of a model.", _MODEL),
    "motet_model_failed_rows": Shown("counter", "Rows that failed in a model.", _MODEL),
    "motet_replica_state": Shown(
        "gauge", "Replicas of a model by state; a process of the server has its own.", ("model", "replica", "state")
    ),
    "motet_replica_in_flight": Shown("gauge", "Calls of a replica that are under way.", _REPLICA),
    "motet_replica_memory_bytes": Shown("gauge", "Memory of the process of a replica.", _REPLICA),
    "motet_replica_restarts": Shown("counter", "Replicas that took the place of one that was lost.", _REPLICA),
    "motet_places_loaded": Shown("gauge", "Models that are loaded, of those that share places.", _PLACES),
    "motet_places_loads": Shown("counter", "How many times models were loaded that share places.", _PLACES),
    "motet_places_waiting_rows": Shown("gauge", "Rows that wait for a model to be loaded.", _PLACES),
    "motet_pool_borrowed": Shown("gauge", "What this server has borrowed from the pool of its machine.", ("resource",)),
    "motet_pool_capacity": Shown("gauge", "What the pool of the machine has.", ("resource",)),
    "motet_http_responses": Shown("counter", "Answers over HTTP by status.", ("code",)),
    "motet_http_connections": Shown("gauge", "Connections that are open."),
    "motet_http_received_bytes": Shown("counter", "Bytes that came over HTTP, heads and bodies."),
    "motet_http_sent_bytes": Shown("counter", "Bytes that were sent over HTTP, heads and bodies."),
    "motet_caller_responses": Shown(
        "counter", "Answers by the class of their callers and status, in the words of HTTP.", ("class", "code")
    ),
    "motet_caller_seconds": _seconds("Seconds of requests by the class of their callers.", "class"),
    "motet_grpc_responses": Shown("counter", "Answers over gRPC by status.", ("code",)),
    "motet_grpc_received_bytes": Shown("counter", "Bytes of messages that came over gRPC."),
    "motet_grpc_sent_bytes": Shown("counter", "Bytes of messages that were sent over gRPC."),
    "motet_log_lines_dropped": Shown("counter", "Lines of logs that were lost, as too many waited.", ("log",)),
    "motet_sink_written": Shown("counter", "Records that are where they belong.", _SINK),
    "motet_sink_spooled": Shown(
        "counter", "Records that went to the spool, as they could not be written in time.", _SINK
    ),
    "motet_sink_dropped": Shown("counter", "Records that are lost, as the buffer or the spool was full.", _SINK),
    "motet_sink_rejected": Shown("counter", "Records that cannot be written, put aside with the reason.", _SINK),
    "motet_sink_retried": Shown("counter", "Writes that were tried again.", _SINK),
    "motet_sink_queued_rows": Shown("gauge", "Rows whose records are held in memory.", _SINK),
    "motet_sink_spool_bytes": Shown("gauge", "What spools hold that is not written yet.", _SINK),
    "motet_experiment_exposures": Shown("counter", "Rows that met an arm of an experiment.", (*_ARM, "failed")),
    "motet_experiment_outcomes": Shown("counter", "Outcomes that feedback told.", _ARM),
    "motet_experiment_share": Shown("gauge", "The share of units that an arm gets now.", _ARM),
    "motet_feedback_refused": Shown("counter", "Rows of feedback that were refused.", ("graph", "reason")),
    "motet_drift_sampled_rows": Shown("counter", "Rows that were looked at for drift.", _GRAPH),
    "motet_drift_rows": Shown("gauge", "Rows of the window that a column of the reference is compared with.", _COLUMN),
    "motet_drift_psi": Shown("gauge", "Population stability index of a column beside the reference.", _COLUMN),
    "motet_drift_psi_by_chance": Shown("gauge", "What that index stays below in 95 % of cases without drift.", _COLUMN),
    "motet_drift_ks": Shown("gauge", "Largest difference of cumulative spreads, of numbers.", _COLUMN),
    "motet_drift_total_variation": Shown("gauge", "Share of rows that went to another bin.", _COLUMN),
    "motet_drift_missing": Shown("gauge", "Share of missing values.", _COLUMN),
    "motet_drift_drifted": Shown("gauge", "1 where a column has drifted by more than the bound and chance.", _COLUMN),
    "motet_rates_uncounted": Shown("counter", "Requests that Redis could not count, as it did not answer."),
    "motet_incidents": Shown("counter", "Incidents of the server by kind, each a line of its log.", ("incident",)),
    "motet_process_restarts": Shown(
        "counter", "Processes of the server that took the place of one that ended or hung.", ("reason",)
    ),
    "process_cpu_seconds": Shown("counter", "Seconds of processors, of all processes."),
    "process_open_fds": Shown("gauge", "Files and connections that are open, of all processes."),
    "process_max_fds": Shown("gauge", "How many may be open, of all processes."),
    "process_resident_memory_bytes": Shown("gauge", "Memory of all processes."),
}
"""Every metric; names of counters get `_total`."""


Computed = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""By the names of metrics labels and values that are in no cell."""


def expose(numbers: Numbers, accept: str, computed: Computed | None = None) -> tuple[bytes, str]:
    """The metrics as a text.

    Args:
        numbers: the totals.
        accept: what the reader takes, as its header `Accept` says.
        computed: gauges that are in no cell.

    Returns:
        The text, and its content type.
    """
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(numbers, computed or {}))
    return encode(registry), content_type


class _Collector:
    """Gives the metrics to `prometheus_client`."""

    def __init__(self, numbers: Numbers, computed: Computed) -> None:
        self._numbers, self._computed = numbers, computed

    def collect(self) -> Iterator[Metric]:
        """Every metric that has been counted."""
        for name, shown in SHOWN.items():
            made = _family(name, shown)
            for labels, values in self._numbers.of(name):
                texts = [labels[label] for label in shown.labels]
                if isinstance(made, HistogramMetricFamily):
                    counts = coarse(values[:-1], shown.bounds, shown.shown)
                    bounds = [*map(str, shown.shown), "+Inf"]
                    made.add_metric(texts, list(zip(bounds, counts.tolist(), strict=True)), float(values[-1]))
                else:
                    made.add_metric(texts, float(values[0]))
            for known, value in self._computed.get(name, ()):
                if not isinstance(made, HistogramMetricFamily):
                    made.add_metric([known[label] for label in shown.labels], value)
            if made.samples:
                yield made
        processes = GaugeMetricFamily("motet_processes", "Processes that serve.")
        processes.add_metric([], self._numbers.processes)
        yield processes


def _family(name: str, shown: Shown) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    if shown.kind == "counter":
        return CounterMetricFamily(name, shown.about, labels=shown.labels)
    if shown.kind == "gauge":
        return GaugeMetricFamily(name, shown.about, labels=shown.labels)
    return HistogramMetricFamily(name, shown.about, labels=shown.labels)
