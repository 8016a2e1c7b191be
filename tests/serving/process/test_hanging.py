"""A process of a server that hangs is noticed, killed and replaced, and counted."""

from __future__ import annotations

import os
import signal
import socket
import textwrap

import httpx
import pytest

from motet.serving.process import supervisor
from motet.serving.process.heartbeat import BUSY, BUSY_S, SERVING, Pulse
from motet.system.incidents import INCIDENTS
from serving.process.serve_process import body, serving, slow_graph, until_gone, written

HOLDS = """
import ctypes, pathlib
import numpy as np

class Holds:
    \"\"\"For row 13 a call of C that keeps the interpreter for itself, once.\"\"\"

    def __call__(self, image):
        if (image == 13).any() and not pathlib.Path("held").exists():
            pathlib.Path("held").touch()
            ctypes.PyDLL(None).sleep(3600)
        return np.zeros((len(image), 10), np.float32)
"""


@pytest.fixture
def pulse():
    ours, theirs = socket.socketpair()
    with theirs:
        made = Pulse(ours, os.getpid(), 5.0, 0.0)
        yield made, theirs
        made.close()


def looked(pulse, start, seconds):
    """Whether it hangs, after looks each half second."""
    return any(pulse.hangs(start + at / 2) for at in range(1, int(seconds * 2) + 1))


def test_silence_of_a_process_that_serves_is_a_hang(pulse):
    heard, link = pulse
    link.send(SERVING)
    assert not heard.hangs(0.0)
    assert heard.serving
    assert not looked(heard, 0.0, 5)
    assert looked(heard, 5.0, 1)
    link.send(SERVING)
    assert not heard.hangs(7.0)


def test_a_process_that_starts_loads_or_ends_may_be_silent_for_longer(pulse):
    heard, link = pulse
    assert not looked(heard, 0.0, BUSY_S)
    assert looked(heard, BUSY_S, 1)
    link.send(SERVING + BUSY)
    assert not looked(heard, BUSY_S + 1, 60)


def test_a_parent_that_was_stopped_itself_takes_nobody_for_dead(pulse):
    heard, link = pulse
    link.send(SERVING)
    assert not heard.hangs(0.0)
    assert not heard.hangs(3600.0)
    link.send(SERVING)
    assert not heard.hangs(7200.0)


def test_who_is_gone_says_nothing(pulse):
    heard, link = pulse
    link.close()
    assert not heard.hangs(1.0)


def test_incidents_that_the_parent_says_are_counted_by_a_process(pulse, monkeypatch):
    heard, link = pulse
    counted: list[str] = []
    monkeypatch.setattr(INCIDENTS, "counters", [counted.append])
    monkeypatch.setattr(os, "kill", lambda pid, number: counted.append(signal.Signals(number).name))
    assert heard.count("stalled")
    assert heard.count("credentials_out")
    heard.close()
    supervisor._until_parent_ends(link)
    assert counted == ["stalled", "credentials_out", "supervisor_lost", "SIGTERM"]


def test_who_is_gone_counts_nothing(pulse):
    heard, link = pulse
    link.close()
    assert not heard.count("stalled")


@pytest.mark.parametrize("how", ["stopped", "holds the interpreter"])
def test_a_hanging_process_is_replaced_said_and_counted(tmp_path, monkeypatch, how):
    graph = slow_graph(tmp_path)
    (tmp_path / "slow.py").write_text(textwrap.dedent(HOLDS).replace("Holds", "Slow"))
    monkeypatch.chdir(tmp_path)
    config = written(tmp_path / "serve.yaml", {"limits": {"hang_timeout_s": 1}})
    with serving(graph, "--config", config, "--processes", "2", ready="slow") as server:
        server.until(lambda: metric(server, "motet_processes ") == 2)
        before = server.children()
        if how == "stopped":
            os.kill(before[0], signal.SIGSTOP)
        else:
            with pytest.raises(httpx.HTTPError):
                server.infer("slow", body(pixel=13))
        (gone,) = set(before) - server.until_replaced(before)
        server.until(lambda: metric(server, 'motet_process_restarts_total{reason="hung"} ') == 1)
        server.until(lambda: metric(server, "motet_processes ") == 2)
        assert all(server.answers("slow") for _ in range(8))
        assert any(f"process {gone} hangs" in line for line in server.log)
        assert server.stop() == 0


@pytest.mark.parametrize("how", ["stopped", "holds the interpreter"])
def test_a_process_that_hangs_is_not_left_behind_by_a_parent_that_is_killed(tmp_path, monkeypatch, how):
    graph = slow_graph(tmp_path)
    (tmp_path / "slow.py").write_text(textwrap.dedent(HOLDS).replace("Holds", "Slow"))
    monkeypatch.chdir(tmp_path)
    config = written(tmp_path / "serve.yaml", {"limits": {"hang_timeout_s": 600, "drain_timeout_s": 0.1}})
    with serving(graph, "--config", config, "--processes", "2", ready="slow") as server:
        server.until(lambda: metric(server, "motet_processes ") == 2)
        children = server.children()
        if how == "stopped":
            os.kill(children[0], signal.SIGSTOP)
        else:
            with pytest.raises(httpx.HTTPError):
                httpx.post(f"{server.url}/v2/models/slow/infer", content=body(pixel=13), timeout=2)
        server.process.kill()
        server.process.wait()
        for child in children:
            until_gone(child)


def metric(server, name):
    """The number of a metric, of whichever process takes the connection; 0 where none does yet."""
    try:
        text = httpx.get(f"{server.url}/metrics", timeout=2).text
    except httpx.HTTPError:
        return 0
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0)
