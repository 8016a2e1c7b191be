"""The runs as pages: what they show, who may see them, and that nothing in them runs."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

import motet as mt
from motet.cli.workflow_ui import MOST_CONNECTIONS, make_server
from motet.metrics_log import MetricSeries
from motet.workflow.memo.cache import home_folder
from motet.workflow.page.curves import draw_curves
from motet.workflow.page.site import answer


@mt.step(cache=True)
def descend(rate: Any) -> Any:
    print("going down at", rate)  # noqa: T201  what a step prints is its log
    for epoch in range(4):
        mt.log(epoch, loss=rate ** (epoch + 1))
    return rate


@mt.step
def fail(rate: Any, name: Any) -> Any:
    if rate > 1:
        raise ValueError("too <steep>")
    return rate


@mt.workflow
def descent(rate: float = 0.5, name: str = "a b") -> Any:
    return fail(descend(rate), name)


class Found(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, page: Any) -> None:
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag: Any, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: Any) -> None:
        self.text += data

    def of(self, tag: Any, name: Any) -> Any:
        return [attrs[name] for each, attrs in self.tags if each == tag and name in attrs]


def page(path: Any, runs: Any = (), base: str = "") -> Any:
    found = answer(path, runs, base)
    assert (found.status, found.kind) == (200, "text/html; charset=utf-8")
    parsed = Found(found.text)
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "img", "link", "iframe")]
    return parsed


def test_a_list_has_all_runs_with_links() -> None:
    assert "no runs yet" in page("/").text
    runs = [descent().run(), descent(rate=0.25).run(), descent(rate=2).run(check=False)]
    found = page("/", base="/workflows")
    assert found.of("a", "href") == [f"/workflows/run/{each.id}" for each in reversed(runs)]
    assert found.of("span", "data-run-state") == ["failed", "done", "done"]
    assert found.of("input", "value") == [each.id for each in reversed(runs)]
    assert "rate=0.25, name='a b'" in found.text
    assert "too <steep>" in found.text
    assert [each["id"] for each in json.loads(answer("/runs.json").text)] == [each.id for each in reversed(runs)]


def test_a_run_shows_curves_results_logs_and_how_a_step_runs_again() -> None:
    run = descent().run(capture=True)
    found = page(f"/run/{run.id}")
    assert found.of("svg", "data-metric") == ["descend loss"]
    assert found.of("polyline", "data-points") == ["4"]
    (log,) = [each for each in found.of("a", "href") if "/log/" in each]
    assert answer(log).text == "going down at 0.5\n"
    assert "--set rate=0.5 --set 'name=a b' --again descend" in found.text
    assert not found.of("meta", "http-equiv")
    assert page("/run/last").text == found.text


@mt.step
def tell(text: Any) -> Any:
    print(text)  # noqa: T201  what a step prints is its log
    return text


def test_names_that_are_alike_have_logs_of_their_own_whatever_is_in_them() -> None:
    @mt.workflow(name="a")
    def inner(text: Any) -> None:
        tell.named("b")(text)

    names = ["a.b", "a%2Fb", "..", ".", "a\\b", "é" * 100, "é" * 101, " ", "a\nb"]

    @mt.workflow(name="../outer/x")
    def outer() -> None:
        inner("a/b")
        for name in names:
            tell.named(name)(name)

    run = outer().run(capture=True)
    logs = [answer(each).text for each in page(f"/run/{run.id}").of("a", "href") if "/log/" in each]
    assert sorted(logs) == sorted(f"{name}\n" for name in ["a/b", *names])
    assert [each.name for each in (home_folder() / "runs").iterdir()] == [run.id]
    assert page("/").of("a", "href") == [f"/run/{run.id}"]


def test_two_runs_stand_side_by_side() -> None:
    one, two = descent().run(), descent(rate=0.25).run()
    found = page("/compare", [one.id, two.id])
    assert {one.id, two.id} <= {each.rpartition("/")[2] for each in found.of("a", "href")}
    assert found.of("polyline", "class") == ["curve c0", "curve c1"]
    assert "descendrate: 0.5 -> 0.25" in found.text
    assert answer("/compare", [one.id]).status == 400


@pytest.mark.parametrize("path", ["/run/nobody", "/nowhere", "/run", "/../etc/passwd", "/run/last/log/nobody"])
def test_what_is_not_there_is_said(path: str) -> None:
    descent().run()
    assert answer(path).status == 404
    assert answer(path).kind.startswith("text/plain")


def test_a_run_that_runs_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    @mt.step
    def look() -> None:
        run = mt.current_step().run
        seen.append((page("/").of("meta", "http-equiv"), page(f"/run/{run}").of("meta", "content")))

    @mt.workflow
    def looked() -> Any:
        return look()

    looked().run()
    assert seen == [(["refresh"], ["2", "width=device-width"])]


def series(values: Any) -> Any:
    numbers = tuple(map(float, range(len(values))))
    return MetricSeries("s", "m", numbers, tuple(values), numbers)


def test_curves_keep_their_lows_and_highs_and_have_gaps() -> None:
    values = [1.0] * 10_000
    values[5_003], values[7_001] = 9.0, -3.0
    drawn = ET.fromstring(draw_curves("s m", [series(values)]))
    (line,) = [each for each in drawn if each.tag.endswith("polyline")]
    heights = [float(each.split(",")[1]) for each in line.get("points").split()]
    assert len(heights) <= 402
    assert heights.count(min(heights)) == heights.count(max(heights)) == 1
    nan = float("nan")
    gaps = ET.fromstring(draw_curves("<s> & m", [series([1.0, 2.0, nan, 3.0, float("inf"), 4.0, 5.0])]))
    assert [each.tag.rpartition("}")[2] for each in gaps if each.get("data-points")] == [
        "polyline",
        "circle",
        "polyline",
    ]
    assert "no finite value" in draw_curves("m", [series([nan, nan])])
    alone = ET.fromstring(draw_curves("m", [None, series([1.0, 2.0])]))
    assert [each.get("class") for each in alone if each.get("data-points")] == ["curve c1"]


@pytest.fixture
def server() -> Iterator[Any]:
    made = make_server(0, "secret")
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made.server_address[1]
    made.shutdown()
    thread.join()
    made.server_close()


def ask(port: Any, path: Any, **headers: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    found = connection.getresponse()
    text = found.read().decode()
    connection.close()
    return found, text


def test_a_browser_that_does_not_wait_is_no_fault() -> None:
    with make_server(0, "secret") as made:
        browser, ours = socket.socketpair()
        with ours:
            browser.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1:1\r\n\r\n")
            browser.close()
            made.RequestHandlerClass(ours, ("127.0.0.1", 1), made)


def test_so_many_connections_are_answered_at_once_and_no_more(server: Any) -> None:
    many = [socket.create_connection(("127.0.0.1", server)) for _ in range(MOST_CONNECTIONS + 8)]
    last = http.client.HTTPConnection("127.0.0.1", server, timeout=60)
    last.request("GET", "/")  # waits behind all that say nothing
    many.pop(0).close()
    assert sum("process_request_thread" in each.name for each in threading.enumerate()) <= MOST_CONNECTIONS
    for each in many:
        each.close()
    assert last.getresponse().status == 403
    last.close()


def test_who_has_the_key_sees_the_runs_and_nobody_else(server: Any) -> None:
    run = descent().run()
    for path, headers in (
        ("/", {}),
        ("/?key=wrong", {}),
        (f"/run/{run.id}", {"cookie": f"motet-runs-{server}=wrong"}),
        ("/", {"cookie": "é;;="}),
        ("/?key=secret", {"host": f"evil.example:{server}"}),
        ("/", {"host": "evil.example", "cookie": f"motet-runs-{server}=secret"}),
    ):
        found, text = ask(server, path, **{name: value.encode() for name, value in headers.items()})
        assert found.status == 403
        assert run.id not in text
    first, _ = ask(server, "/?key=secret")
    assert (first.status, first.headers["location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in first.headers["set-cookie"]
    found, text = ask(server, "/", cookie=first.headers["set-cookie"].partition(";")[0])
    assert run.id in text
    assert "default-src 'none'" in found.headers["content-security-policy"]
