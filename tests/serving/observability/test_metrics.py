"""What a batcher's listener counts, what is copied from elsewhere, and how it is shown."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from helpers.until import until_async
from motet.errors import CancelledError, DeadlineError, ModelError, NotReadyError, OverloadedError
from motet.runtime.executor import NodeStats
from motet.runtime.host import ModelStats
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.observability.errors import RATE, SLOTS, Errors, read_errors
from motet.serving.observability.exposition import SHOWN
from motet.serving.observability.metrics import MOST_FAILURES
from motet.serving.observability.observability import Observability
from motet.serving.observability.status import Status
from motet.serving.observability.totals import Totals
from serving.observability.observability_parts import Asked, Counter, numbers, played

NO_TRAFFIC = SimpleNamespace(connections=(), statuses={}, received_bytes=0, sent_bytes=0)


class GraphBatcher:
    """What is read of a batcher."""

    def __init__(self, **nodes):
        self.executor = SimpleNamespace(stats=nodes, shadows={}, shared=SimpleNamespace(late={}))
        self.models = []
        self.in_flight, self.waiting_rows = 3, 40

    def of_model(self, name, stats):
        self.models.append(SimpleNamespace(model=SimpleNamespace(name=name), stats=stats))


def served(name, batcher, kind="graph"):
    return SimpleNamespace(name=name, kind=kind, batcher=batcher)


@pytest.fixture
def start(tmp_path):
    """Starts what a process does to be seen."""
    made = []

    def begin(config=None, things=(), traffic=None):
        made.append(Observability(config or ObservabilityConfig(), tmp_path / "seen", lambda: things, lambda: traffic))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def shown(seen, accept=""):
    """Every sample of the exposition, by its name and the values of its labels in the order of their names."""
    body, content_type = asyncio.run(seen.exposition(accept))
    read = read_openmetrics if "openmetrics" in content_type else read_text
    samples = [sample for family in read(body.decode()) for sample in family.samples]
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value for sample in samples
    }


def test_a_batch_is_counted_with_its_requests_rows_and_times(start):
    seen = start()
    requests = [Asked(2, waited_s=0.5), Asked(3, waited_s=0.25)]
    seen.listener("g").played(requests, played(5), time.monotonic() - 0.1, 0.08)
    found = shown(seen)
    assert found["motet_requests_total", "g", "ok"] == 2
    assert found["motet_rows_total", "g"] == 5
    assert found["motet_batch_rows_count", "g"] == 1
    assert found["motet_batch_rows_sum", "g"] == 5
    assert found["motet_queue_seconds_count", "g"] == found["motet_request_seconds_count", "g"] == 2
    assert found["motet_queue_seconds_sum", "g"] == pytest.approx(0.55, abs=0.05)
    assert found["motet_request_seconds_sum", "g"] == pytest.approx(0.75, abs=0.05)
    assert found["motet_compute_seconds_sum", "g"] == pytest.approx(0.08)


def test_failed_rows_are_counted_by_node_and_error_and_their_requests_apart(start):
    seen = start()
    requests = [Asked(2, id="good"), Asked(2, id="bad"), Asked(1, id="worse")]
    seen.listener("g").played(requests, played(5, failed=(2, 3, 4)), time.monotonic(), 0.01)
    found = shown(seen)
    assert found["motet_requests_total", "g", "ok"] == 1
    assert found["motet_requests_total", "g", "failed"] == 2
    assert found["motet_rows_total", "g"] == 5
    assert found["motet_failures_total", "ValueError", "g", "vote"] == 3
    errors = {each["id"]: (each["node"], each["rows"], each["message"]) for each in seen.status()["errors"]}
    assert errors == {"bad": ("vote", 2, "row 2 is bad"), "worse": ("vote", 1, "row 4 is bad")}


def test_requests_that_were_answered_before_are_not_counted_again(start):
    seen = start()
    listener = seen.listener("g")
    late = Asked(1, settled=True)
    listener.refused(late, DeadlineError("not answered in time"))
    listener.played([late, Asked(1)], played(2), time.monotonic(), 0.01)
    listener.played([late], played(1), time.monotonic(), 0.01)
    found = shown(seen)
    assert found["motet_requests_total", "g", "ok"] == 1
    assert found["motet_requests_total", "g", "late"] == 1
    assert found["motet_dropped_total", "g", "late"] == 1


@pytest.mark.parametrize(
    ("error", "outcome", "also"),
    [
        (OverloadedError("full"), "rejected", ("motet_rejected_total", "g", "queue_full")),
        (NotReadyError("loading"), "rejected", ("motet_rejected_total", "g", "not_ready")),
        (DeadlineError("late"), "late", ("motet_dropped_total", "g", "late")),
        (CancelledError("gone"), "cancelled", ("motet_dropped_total", "g", "cancelled")),
        (ModelError("broken"), "error", ("motet_failures_total", "ModelError", "g", "")),
    ],
)
def test_a_refused_request_is_counted_by_its_reason(start, error, outcome, also):
    seen = start()
    seen.listener("g").refused(Asked(1), error)
    found = shown(seen)
    assert found["motet_requests_total", "g", outcome] == 1
    assert found[also] == 1


def test_graphs_are_shown_before_they_are_asked_and_models_when_they_are(start):
    seen = start()
    seen.listener("g")
    model = seen.listener("g.mlp")
    assert shown(seen)["motet_requests_total", "g", "ok"] == 0
    assert ("motet_requests_total", "g.mlp", "ok") not in shown(seen)
    model.played([Asked(1)], played(1), time.monotonic(), 0.01)
    assert shown(seen)["motet_requests_total", "g.mlp", "ok"] == 1


def test_kinds_of_failures_are_bounded(start):
    seen = start()
    for number in range(MOST_FAILURES + 10):
        seen.listener("g").played([Asked(1)], played(1, failed=(0,), error=f"E{number}"), time.monotonic(), 0.01)
    kinds = {key[1]: value for key, value in shown(seen).items() if key[0] == "motet_failures_total"}
    assert len(kinds) == MOST_FAILURES + 1
    assert kinds["other"] == 10


def test_nodes_and_models_are_shown_without_being_told(start):
    node, model = NodeStats(10, 2, 0.5, 1), ModelStats(20, 3, 0.25, 2)
    batcher = GraphBatcher(vote=node)
    batcher.of_model("mlp", model)
    seen = start(things=(served("g", batcher), served("g.mlp", batcher, "model")))
    found = shown(seen)
    assert found["motet_node_rows_total", "g", "vote"] == 10
    assert found["motet_node_seconds_total", "g", "vote"] == 0.5
    assert found["motet_node_failed_rows_total", "g", "vote"] == 1
    assert found["motet_model_rows_total", "mlp"] == 20  # one model in two graphs counts once
    assert found["motet_model_calls_total", "mlp"] == 3
    assert found["motet_in_flight", "g"] == 3
    assert found["motet_queued_rows", "g"] == 40
    node.rows += 5
    assert shown(seen)["motet_node_rows_total", "g", "vote"] == 15


def test_a_graph_that_is_loaded_anew_goes_on_counting(start):
    first, second = NodeStats(10), NodeStats(0)
    things = [served("g", GraphBatcher(vote=first))]
    seen = start(things=things)
    assert shown(seen)["motet_node_rows_total", "g", "vote"] == 10
    first.rows += 7  # between the last look and the change
    things[:] = [served("g", GraphBatcher(vote=second))]
    assert shown(seen)["motet_node_rows_total", "g", "vote"] == 17
    second.rows += 3
    assert shown(seen)["motet_node_rows_total", "g", "vote"] == 20
    things[:] = [served("g", None)]
    found = shown(seen)
    assert found["motet_node_rows_total", "g", "vote"] == 20
    assert found["motet_in_flight", "g"] == 0


def test_answers_connections_and_the_process_are_shown(start):
    traffic = SimpleNamespace(connections={1, 2}, statuses={200: 5, 404: 1}, received_bytes=70, sent_bytes=90)
    seen = start(traffic=traffic)
    traffic.statuses[200] = 9
    seen.grpc_answered("OK", 10, 20)
    found = shown(seen)
    assert found["motet_http_responses_total", "200"] == 9
    assert found["motet_http_responses_total", "404"] == 1
    assert found["motet_http_connections",] == 2
    assert found["motet_http_received_bytes_total",] == 70
    assert found["motet_http_sent_bytes_total",] == 90
    assert found["motet_grpc_responses_total", "OK"] == 1
    assert found["motet_processes",] == 1
    assert found["process_cpu_seconds_total",] > 0
    assert found["process_resident_memory_bytes",] > 1 << 20


def test_what_other_processes_count_is_shown_also_when_they_are_killed(start, tmp_path):
    seen = start()
    seen.listener("fashion").played([Asked(1)], played(1), time.monotonic(), 0.01)
    other = Counter(tmp_path / "seen")
    try:
        other.counted()
        assert shown(seen)["motet_requests_total", "fashion", "ok"] == 21
        assert shown(seen)["motet_processes",] == 2
    finally:
        other.kill()
    found = shown(seen)
    assert found["motet_requests_total", "fashion", "ok"] == 21
    assert found["motet_queue_seconds_count", "fashion"] == 21
    assert found["motet_processes",] == 1


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0; charset=utf-8"])
def test_the_exposition_is_read_by_a_parser_in_both_formats(start, accept):
    node = NodeStats(1, 1, 0.1, 0)
    seen = start(things=(served('quo"te\\d', GraphBatcher(node=node)),))
    seen.listener('quo"te\\d').played([Asked(1)], played(1, failed=(0,)), time.monotonic(), 0.01)
    _, content_type = asyncio.run(seen.exposition(accept))
    assert ("openmetrics" in content_type) == ("openmetrics" in accept)
    found = shown(seen, accept)
    assert found["motet_rows_total", 'quo"te\\d'] == 1
    assert found["motet_queue_seconds_bucket", 'quo"te\\d', "+Inf"] == 1


def test_every_metric_that_is_counted_is_shown(start, tmp_path):
    seen = start(things=(served("g", GraphBatcher(n=NodeStats())),), traffic=NO_TRAFFIC)
    seen.listener("g").refused(Asked(1), OverloadedError("full"))
    seen.status()
    inner = {"failed_seconds", "last_batch"}
    assert set(numbers(tmp_path / "seen").series) - inner <= set(SHOWN)


def test_the_status_has_rates_latencies_and_nodes_of_the_last_seconds(start, tmp_path):
    node = NodeStats()
    model = ModelStats()
    batcher = GraphBatcher(vote=node)
    batcher.of_model("mlp", model)
    seen = start(things=(served("g", batcher),))
    listener = seen.listener("g")
    now = [1000.0]
    status = Status(Totals(tmp_path / "seen"), lambda: now[0])
    listener.played([Asked(1)], played(1), time.monotonic() - 90, 90)  # long ago: it must not show below
    seen.status()
    for _ in range(30):
        status.sample()
        now[0] += 1
    for _ in range(50):
        listener.played([Asked(2, waited_s=0.5)], played(2), time.monotonic() - 0.004, 0.004)
    node.rows, node.seconds, model.rows, model.calls = 100, 0.2, 100, 50
    seen.status()
    got = status.snapshot()
    assert got["window_s"] == 10
    graph = got["graphs"]["g"]
    assert graph["requests"] == 51
    assert graph["requests_per_s"] == 5
    assert graph["rows_per_s"] == 10
    assert graph["outcomes"]["ok"] == 51
    assert 0.35 <= graph["queue_p50_s"] <= 0.75
    assert 0.35 <= graph["p50_s"] <= graph["p99_s"] <= 0.75
    assert graph["batch_rows"] == 2
    assert (graph["in_flight"], graph["queued_rows"]) == (3, 40)
    assert graph["nodes"]["vote"] == {
        "rows": 100,
        "failed_rows": 0,
        "rows_per_s": 10,
        "seconds_per_row": pytest.approx(0.002),
        "busy": pytest.approx(0.02),
    }
    assert got["models"]["mlp"]["calls"] == 50
    now[0] += 11
    for _ in range(3):
        quiet = status.snapshot()
        now[0] += 11
    assert quiet["graphs"]["g"]["requests_per_s"] == 0
    assert quiet["graphs"]["g"]["p99_s"] is None
    assert quiet["graphs"]["g"]["nodes"]["vote"]["seconds_per_row"] == pytest.approx(0.002)


def test_what_is_remembered_for_the_status_is_bounded(tmp_path):
    now = [0.0]
    status = Status(Totals(tmp_path), lambda: now[0])
    for _ in range(1000):
        status.snapshot()
        now[0] += 0.001
    assert len(status._kept) <= 64


def test_triton_is_given_its_statistics(start):
    seen = start()
    assert seen.statistics("g") == {}
    listener = seen.listener("g")
    listener.played([Asked(2, waited_s=1), Asked(3, waited_s=1)], played(5), time.monotonic() - 0.5, 0.5)
    listener.refused(Asked(1, waited_s=2), DeadlineError("late"))
    got = seen.statistics("g")
    assert (got["inference_count"], got["execution_count"]) == (5, 1)
    assert abs(got["last_inference"] - time.time() * 1e3) < 60_000
    assert got["success"] == (2, pytest.approx(2e9, rel=0.1))
    assert got["queue"] == (2, pytest.approx(1e9, rel=0.1))
    assert got["compute_infer"] == (2, pytest.approx(1e9, rel=0.1))
    assert got["fail"] == (1, pytest.approx(2e9, rel=0.1))


def test_errors_are_kept_in_a_ring_the_last_first(tmp_path):
    now = [0.0]
    errors = Errors(tmp_path / "a.errors", lambda: now[0])
    for number in range(SLOTS + 10):
        now[0] += 1
        errors.add("g", "vote", "ValueError", f"error {number}", f"id {number}", 2)
    found = read_errors([tmp_path / "a.errors", tmp_path / "missing.errors"])
    assert len(found) == SLOTS
    assert found[0] == {
        "time": SLOTS + 10,
        "graph": "g",
        "node": "vote",
        "error": "ValueError",
        "message": f"error {SLOTS + 9}",
        "id": f"id {SLOTS + 9}",
        "rows": 2,
    }


def test_only_so_many_errors_are_kept_in_a_second(tmp_path):
    now = [100.0]
    errors = Errors(tmp_path / "a.errors", lambda: now[0])
    for number in range(RATE + 5):
        errors.add("g", "", "E", str(number))
    assert {each["message"] for each in read_errors([tmp_path / "a.errors"])} == {str(n) for n in range(RATE)}
    now[0] = 101.0
    errors.add("g", "", "E", "later")
    assert read_errors([tmp_path / "a.errors"])[0]["message"] == "later"


@pytest.mark.parametrize("text", ["x" * 10_000, "\x00" * 10_000, "語" * 10_000, '"' * 10_000])
def test_long_messages_are_cut_and_stay_readable(tmp_path, text):
    errors = Errors(tmp_path / "a.errors")
    errors.add(text, text, text, text, text)
    errors.add("g", "", "E", "short")
    found = read_errors([tmp_path / "a.errors"])
    assert len(found) == 2
    assert {each["error"] for each in found} >= {"E"}


def test_a_slot_that_is_being_written_is_left_out(tmp_path):
    errors = Errors(tmp_path / "a.errors")
    errors.add("g", "", "E", "whole")
    errors.add("g", "", "E", "torn")
    data = bytearray((tmp_path / "a.errors").read_bytes())
    data[1024:1040] = b"x" * 16
    (tmp_path / "b.errors").write_bytes(data)
    assert [each["message"] for each in read_errors([tmp_path / "b.errors"])] == ["whole"]


def test_a_process_that_is_idle_shows_what_its_nodes_did(tmp_path):
    node = NodeStats()

    async def main():
        seen = Observability(ObservabilityConfig(), tmp_path, lambda: (served("g", GraphBatcher(vote=node)),))
        seen.start()
        node.rows = 9
        await until_async(lambda: any(float(v[0]) == 9 for _, v in numbers(tmp_path).of("motet_node_rows")))
        await asyncio.to_thread(seen.close)

    asyncio.run(main())
