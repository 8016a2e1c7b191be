"""Whatever users' code raises, and wherever it stands, fails its own row, and the server lives on."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from helpers.live_server import Live
from helpers.odd_functions import NAMES as ALL_NAMES

NAMES = [name for name in ALL_NAMES if name]

RAISE = {
    "panics": "Panic",
    "leaves": "SystemExit",
    "cancels": "CancelledError",
    "generator": "GeneratorExit",
    "mute": "Mute",
}
FILE = "helpers.odd_functions"


def model(function: Any, name: str = "m", **settings: Any) -> mt.Model:
    kinds: dict[str, Any] = {"inputs": {"name": "string"}, "outputs": {"y": "string"}}
    return mt.Model(f"python:{FILE}:{function}", name, **kinds, **settings)


def other(name: str = "other", **settings: Any) -> Any:
    return model("numpy_text", name, **settings)


def inner(function: Any) -> mt.Graph:
    x = mt.input("name", "string")
    return mt.Graph("inner", {"y": mt.map(f"{FILE}.{function}", x, outputs="string")})


PLACES = {
    "function": lambda f, x: mt.map(f"{FILE}.{f}", x, outputs="string"),
    "inline": lambda f, x: mt.model(model(f, placement="inline"), x),
    "thread": lambda f, x: mt.model(model(f, placement="thread"), x),
    "process": lambda f, x: mt.model(model(f, placement="process"), x),
    "concurrent": lambda f, x: mt.model(model(f, concurrent=1), x),
    "before": lambda f, x: mt.model(other(before=f"{FILE}.{f}"), x),
    "after": lambda f, x: mt.model(other(after=f"{FILE}.{f}"), x),
    "member": lambda f, x: mt.ensemble([model(f), other()], x, combine="majority_vote"),
    "remote-like member": lambda f, x: mt.ensemble(
        [model(f, placement="process"), other()], x, combine="majority_vote"
    ),
    "combiner": lambda f, x: mt.ensemble([other("a"), other("b")], x, combine=f"{FILE}.combined_{f}"),
    "route": lambda f, x: mt.route({"bob": model(f), "*": other()}, x, key=x),
    "inner graph": lambda f, x: mt.model(inner(f), x),
    "piece": lambda f, x: mt.shard(model(f), x, apart=f"{FILE}.as_pieces", together=f"{FILE}.as_rows"),
    "apart": lambda f, x: mt.shard(other(), x, apart=f"{FILE}.apart_{f}", together=f"{FILE}.as_rows"),
    "together": lambda f, x: mt.shard(other(), x, apart=f"{FILE}.as_pieces", together=f"{FILE}.together_{f}"),
}
CASES = [(place, function) for place in PLACES for function in RAISE]
CASES += [(place, "reported") for place in PLACES]
RAISE["reported"] = "LookupError"  # as an exception in the place of the row's value


def graph_of(place: Any, function: Any) -> mt.Graph:
    node = PLACES[place](function, mt.input("name", "string"))
    return mt.Graph(f"{place}-{function}".replace(" ", "-"), {"y": node})


def shown(error: Any) -> Any:
    return [error if name == "bob" else name for name in NAMES]


@pytest.mark.parametrize(("place", "function"), CASES)
def test_its_own_row_fails_in_a_call_and_in_bulk(place: Any, function: Any, tmp_path: Path) -> None:
    graph, wanted = graph_of(place, function), shown(RAISE[function])
    for _ in range(2):
        answers, failures = graph({"name": NAMES}, failures="return")
        values, failed = iter(answers["y"].tolist()), {each.row: each.error for each in failures}
        assert [failed[row] if row in failed else next(values) for row in range(len(NAMES))] == wanted
    report = graph.run({"name": NAMES}, str(tmp_path / "o.jsonl"), batch_rows=4)
    assert (report.answered, report.failed) == (len(NAMES) - 2, 2)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("live")
    files = []
    for place, function in CASES:
        graph = graph_of(place, function)
        files.append(folder / f"{graph.name}.yaml")
        graph.save(str(files[-1]))
    server = Live(folder, *files)
    server.until_ready()
    yield server
    server.close()


def posted(server: Any, graph: Any, body: Any) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", f"/predict/{graph}", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(("place", "function"), CASES)
def test_its_own_row_fails_live(place: Any, function: Any, live: Any) -> None:
    name = graph_of(place, function).name
    for _ in range(2):
        status, said = posted(live, name, {"rows": [{"name": each} for each in NAMES]})
        assert status == 200, said
        assert [
            row.get("y", RAISE[function] if RAISE[function] in json.dumps(row) else row) for row in said["rows"]
        ] == shown(RAISE[function])
        assert posted(live, name, {"name": "bob"})[0] == 422
        assert posted(live, name, {"name": "ann"}) == (200, {"y": "ann"})
