"""What a sink loses leaves a trace: in the metrics, in the status and in the log."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from serving.process.serve_process import serving, written

GRAPH = {
    "motet": 1, "name": "g", "inputs": {"x": "float32"}, "outputs": {"y": "a"},
    "nodes": {"a": {"map": "motet.ops.image.scale", "inputs": ["x"], "with": {"by": 2}}},
}  # fmt: skip
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [3]}]})


@pytest.mark.parametrize("processes", [1, 2])
def test_records_that_are_lost_are_counted_shown_and_said(tmp_path, processes):
    place = tmp_path / "kept"
    place.mkdir()
    sink = {"to": str(place / "full.jsonl"), "spool_bytes": 2048, "batch_s": 0.05, "retry_s": 0.05, "timeout_s": 1}
    graph = written(tmp_path / "g.yaml", GRAPH)
    config = written(tmp_path / "serve.yaml", {"sinks": [{"name": "kept", **sink}]})
    (place / "full.jsonl").symlink_to("/dev/full")
    asked = 120
    with serving(graph, "--config", config, "--processes", str(processes)) as server:
        server.until(server.is_ready)
        for _ in range(asked):
            assert httpx.post(f"{server.url}/v2/models/g/infer", content=BODY, timeout=30).status_code == 200

        def sinks():
            return httpx.get(f"{server.url}/status.json", timeout=30).json()["sinks"].get("kept", {})

        server.until(lambda: sinks() and sinks()["spooled"] + sinks()["dropped"] == asked)
        lost = sinks()["dropped"]
        assert 0 < lost < asked
        assert sinks()["written"] == 0
        assert sinks()["spool_bytes"] > 0
        text = httpx.get(f"{server.url}/metrics", timeout=30).text
        assert f'motet_sink_dropped_total{{sink="kept"}} {lost:.1f}' in text
        assert f'motet_sink_spooled_total{{sink="kept"}} {asked - lost:.1f}' in text
        assert server.stop() == 0
    said = [re.search(r"sink kept: (\d+) records are lost", line) for line in server.log]
    assert sum(int(found[1]) for found in said if found) == lost
