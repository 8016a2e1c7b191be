"""Driving a server: with wrk, or with `client` where wrk is missing. Both wait for an answer before they ask again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.live_parts.bodies import Ask
from benchmarks.measure import ROOT

__all__ = ["Driven", "LoadError", "drive", "driver", "read_report", "written"]

MORE_S: Final = 30.0
"""What a driver may take beyond what it was told."""

SCRIPT: Final = """
-- Sends the requests of the files that it is given, one after another, and reports one line of JSON.
local requests, at = {}, 0
function init(arguments)
  for place, name in ipairs(arguments) do
    local file = assert(io.open(name, "rb"))
    requests[place] = file:read("*a")
    file:close()
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, "bad_status": %d, "broken": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class LoadError(RuntimeError):
    """The driver failed."""


@dataclass(frozen=True)
class Driven:
    """What a driver saw.

    Attributes:
        requests: answers, bad ones too.
        seconds: how long it drove.
        p50_ms: median time to an answer.
        p99_ms: 99th percentile of it.
        max_ms: the longest.
        bad_status: answers of another status than 2xx or 3xx.
        broken: connections that failed, answers that did not come.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    bad_status: int
    broken: int

    @property
    def errors(self) -> int:
        """Requests without a good answer."""
        return self.bad_status + self.broken

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return (self.requests - self.bad_status) / self.seconds


def driver() -> str:
    """Where wrk is; empty where it is not installed."""
    return shutil.which("wrk") or ""


def written(asks: Sequence[Ask], folder: Path, name: str) -> list[str]:
    """Requests as files, each as it goes over the wire."""
    paths = [folder / f"{name}-{place}.http" for place in range(len(asks))]
    for path, ask in zip(paths, asks, strict=True):
        path.write_bytes(ask.data())
    return [str(path) for path in paths]


def drive(port: int, files: Sequence[str], connections: int, seconds: float, folder: Path, wrk: str = "") -> Driven:
    """Drive a server on loopback.

    Args:
        port: where it listens.
        files: requests, see `written`; sent in turn.
        connections: how many, each with one request under way.
        seconds: for how long; wrk takes whole ones, and at least one.
        folder: where a script may be written.
        wrk: where wrk is; empty for the client in Python.

    Raises:
        LoadError: when the driver fails.
    """
    if wrk:
        script = folder / "wrk.lua"
        script.write_text(SCRIPT)
        told = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(script)]
        command = [wrk, *told, f"http://127.0.0.1:{port}", "--", *files]
    else:
        client = [sys.executable, "-m", "benchmarks.live_parts.client"]
        command = [*client, str(port), str(connections), str(seconds), *files]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + MORE_S, cwd=ROOT, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{command[0]} took longer than {seconds + MORE_S:g} s") from error
    if run.returncode:
        raise LoadError(f"{command[0]}: exit code {run.returncode}: {run.stderr.strip()[-300:]}")
    return read_report(run.stdout)


def read_report(text: str) -> Driven:
    """The last line of a driver that is JSON.

    Raises:
        LoadError: when there is none.
    """
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadError(f"the driver reported nothing; it said: {text.strip()[-300:]!r}")
    found = json.loads(lines[-1])
    times = {f"{name}_ms": found[f"{name}_us"] / 1000 for name in ("p50", "p99", "max")}
    seconds = found["duration_us"] / 1e6
    return Driven(found["requests"], seconds, **times, bad_status=found["bad_status"], broken=found["broken"])
