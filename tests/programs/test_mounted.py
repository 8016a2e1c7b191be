"""Graphs as an ASGI application: what is mounted answers as a server of its own does, whatever hosts it."""

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

import motet as mt
from helpers.threads import all_end
from helpers.until import until_async
from motet.errors import GraphError, InputError, ModelLoadError
from motet.serving.admission.keys import KeyStore
from motet.serving.config.limits import Limits
from motet.testing.fakes import Affine, Failing, fake

LIMITS = {"rows": 3, "body_bytes": 2000}
INFER = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}
BINARY = (
    b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}],'
    b'"parameters":{"binary_data_output":true}}'
)
SAME_FIELDS = (
    "content-type", "allow", "etag", "retry-after", "inference-header-content-length", "www-authenticate",
    "access-control-allow-origin", "content-encoding", "content-security-policy",
)  # fmt: skip
LONG = {"x-request-timeout-ms": "5000"}
REQUESTS: list[Any] = [
    ("GET", "/", {}),
    ("GET", "/docs", {}),
    ("GET", "/page/page.js", {}),
    ("GET", "/graphs.json", {}),
    ("GET", "/graphs/g.svg", {}),
    ("GET", "/openapi.json", {}),
    ("GET", "/v2", {}),
    ("GET", "/v2/", {}),
    ("GET", "/v2/health/ready", {}),
    ("HEAD", "/readyz", {}),
    ("GET", "/v2/models/g", {}),
    ("GET", "/v2/models/nothing", {}),
    ("GET", "/nothing", {}),
    ("DELETE", "/v2", {}),
    ("GET", "/v2/models/g/infer", {}),
    ("POST", "/v2/models/g/infer", {"json": INFER}),
    ("POST", "/v2/models/g/infer/", {"json": INFER | {"id": "seven"}}),
    ("POST", "/v2/models/g.a/versions/1/infer", {"json": INFER}),
    ("POST", "/v2/models/g/versions/7/infer", {"json": INFER}),
    ("POST", "/v2/models/nothing/infer", {"json": INFER}),
    ("POST", "/v2/models/g/infer", {"json": {"inputs": []}}),
    ("POST", "/v2/models/g/infer", {"content": b"{"}),
    ("POST", "/v2/models/g/infer", {"json": INFER, "headers": LONG}),
    ("POST", "/v2/models/bad/infer", {"json": INFER}),
    (
        "POST",
        "/v2/models/g/infer",
        {"content": BINARY + b"\0\0\x80?", "headers": {"inference-header-content-length": str(len(BINARY))}},
    ),
    ("POST", "/v2/models/g/infer", {"content": b"1" * 3000}),
    ("POST", "/v2/models/g/infer", {"json": INFER, "headers": {"origin": "https://page.example"}}),
    ("POST", "/predict/g", {"json": {"x": 3}}),
    ("POST", "/predict/g?explain=0", {"json": {"rows": [{"x": 3}, {"x": "a"}, {}]}}),
    ("POST", "/predict/g", {"json": {"rows": [{"x": 3}] * 4}}),
    ("POST", "/predict/g", {"json": {"rows": [{"x": 3}], "timeout": 1}}),
    ("POST", "/predict/g", {"content": b"1" * 3000}),
    ("POST", "/predict/bad", {"json": {"rows": [{"x": 1}, {"x": 2}]}}),
    ("POST", "/predict/bad", {"json": {"x": 1}}),
    ("OPTIONS", "/predict/g", {"headers": {"origin": "https://page.example", "access-control-request-method": "POST"}}),
    ("POST", "/v2/repository/index", {}),
    ("POST", "/v2/repository/models/g/load", {"json": {"parameters": {"config": "x"}}}),
]


def graphs() -> Iterator[Any]:
    x = mt.input("x", "float32")
    yield mt.Graph("g", {"y": mt.model(fake(Affine, "a", scale=2.0), x)})
    yield mt.Graph("bad", {"y": mt.model(fake(Failing, "b", bad=[1.0]), x)})


def in_process(app: Any, base: str = "http://127.0.0.1") -> Any:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=base)


def told(answer: Any, *more: Any) -> Any:
    return {name: answer.headers[name] for name in (*SAME_FIELDS, *more) if name in answer.headers}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with mt.serving.start(*graphs(), port=0, limits=LIMITS, cors=["https://page.example"], admin="open") as running:
        yield running


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    made = mt.serving.asgi(*graphs(), limits=LIMITS, cors=["https://page.example"], admin="open")
    yield made
    made.close()


@pytest.mark.parametrize("lifespan", [False, True], ids=["thread", "lifespan"])
def test_an_application_answers_as_a_server_does(server: Any, app: Any, lifespan: bool) -> None:
    async def asked() -> Any:
        async with in_process(app) as client:
            return [await client.request(method, path, **more) for method, path, more in REQUESTS]

    async def lived() -> Any:
        async with app.lifespan():
            return await asked()

    answers = asyncio.run(lived() if lifespan else asked())
    with httpx.Client(base_url=server.url) as client:
        for answer, (method, path, more) in zip(answers, REQUESTS, strict=True):
            wanted = client.request(method, path, **more)
            assert (answer.status_code, told(answer)) == (wanted.status_code, told(wanted)), (method, path, answer.text)
            assert answer.content == wanted.content, (method, path)


def test_below_a_prefix_its_links_and_its_description_lead_there(app: Any) -> None:
    async def asked() -> None:
        async with in_process(Starlette(routes=[Mount("/models/here", app)])) as client:
            for page in ("/models/here/", "/models/here/docs", "/models/here/docs/"):
                text = (await client.get(page)).text
                links = [part.split('"')[0] for part in text.split('="/')[1:]]
                assert links
                for link in links:
                    assert link.startswith("models/here/")
                    assert (await client.get(f"/{link}")).status_code == 200, link
            description = (await client.get("/models/here/openapi.json")).json()
            assert description["servers"] == [{"url": "/models/here"}]
            answer = await client.post("/models/here/predict/g", json={"x": 3})
            assert answer.json() == {"y": 6.0}
            answer = await client.post("/models/here/v2/models/g/infer", json=INFER)
            assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]
            wrong = await client.get("/models/here/nothing")
            assert (wrong.status_code, "/models/here/docs lists what" in wrong.json()["error"]) == (404, True)

    asyncio.run(asked())


def test_a_host_that_takes_the_prefix_off_the_path(app: Any) -> None:
    """As hypercorn's dispatcher and older frameworks do."""

    async def host(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix("/models") or "/"
        await app({**scope, "root_path": "/models", "path": path}, receive, send)

    async def asked() -> None:
        async with in_process(host) as client:
            assert (await client.post("/models/predict/g", json={"x": 3})).json() == {"y": 6.0}
            assert (await client.post("/models/v2/models/g/infer", json=INFER)).status_code == 200
            assert 'href="/models/page/page.css"' in (await client.get("/models")).text

    asyncio.run(asked())


def test_requests_from_many_loops_and_threads_meet_one_copy_of_the_models(app: Any) -> None:
    """As the test clients of frameworks do, which make a loop a request."""
    answers = []

    async def asked(value: Any) -> Any:
        async with in_process(app) as client:
            return (await client.post("/predict/g", json={"x": value})).json()

    def ask(value: Any) -> None:
        answers.append((value, asyncio.run(asked(value))))

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=lambda each: each[0]) == [(value, {"y": 2.0 * value}) for value in range(12)]
    assert (
        sum(thread.name == "motet-serve" for thread in threading.enumerate()) <= 2
    )  # this one, and the module's server


class Weighty:
    alive: weakref.WeakSet = weakref.WeakSet()

    def __init__(self) -> None:
        self.alive.add(self)

    def __call__(self, x: Any) -> Any:
        return x


def weighty() -> mt.Graph:
    model = mt.Model(f"python:{__name__}:Weighty", "w", inputs={"x": "float32"}, outputs={"y": "float32"})
    return mt.Graph("w", {"y": mt.model(model, mt.input("x", "float32"))})


@pytest.mark.parametrize("lifespan", [False, True], ids=["thread", "lifespan"])
def test_the_end_gives_models_and_threads_back(lifespan: bool) -> None:
    made, before = mt.serving.asgi(weighty()), threading.enumerate()

    async def asked() -> None:
        async with in_process(made) as client:
            assert (await client.post("/predict/w", json={"x": 1})).json() == {"y": 1.0}
            assert len(Weighty.alive) == 1

    async def lived() -> None:
        async with made.lifespan():
            assert len(Weighty.alive) == 1  # before anybody asks
            await asked()

    for _ in range(2):  # it can begin anew
        asyncio.run(lived() if lifespan else asked())
        made.close()
        gc.collect()
        assert not Weighty.alive
        all_end(before)


def test_the_lifespan_of_a_host_loads_and_frees(app: Any) -> None:
    asked = []

    @asynccontextmanager
    async def lifespan(host: Any) -> AsyncIterator[Any]:
        async with app.lifespan(host):
            asked.append("began")
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/models", app)
    with uvicorn_of(host) as url:
        assert asked == ["began"]
        assert httpx.post(f"{url}/models/predict/g", json={"x": 3}).json() == {"y": 6.0}
        assert httpx.get(f"{url}/models/").status_code == 200


@contextmanager
def uvicorn_of(app: Any, **options: Any) -> Iterator[Any]:
    """An application under uvicorn, on a real port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", **options))
    started = threading.Event()
    startup = server.startup

    async def told_startup(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = told_startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(60)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_it_runs_under_uvicorn_by_itself(http: str) -> None:
    made = mt.serving.asgi(*graphs())
    with uvicorn_of(made, http=http) as url:
        assert httpx.get(f"{url}/readyz").json() == {"ready": True}
        assert httpx.post(f"{url}/v2/models/g/infer", json=INFER).json()["outputs"][0]["data"] == [2.0, 4.0]
        with httpx.stream("POST", f"{url}/predict/g?stream=1", json={"rows": [{"x": 3}]}) as stream:
            events = [line for line in stream.iter_lines() if line.startswith(("event", "data"))]
        assert [each for each in events if each.startswith("event")] == ["event: member", "event: result"]
        assert json.loads(events[-1].removeprefix("data: ")) == {"rows": [{"y": 6.0}]}


@pytest.mark.parametrize("prefix", ["", "/one", "/two/deep"])
def test_it_runs_under_hypercorn(tmp_path: Path, prefix: str) -> None:
    """By itself, and behind the dispatcher with which Quart and others are mounted: it hands its lifespan on."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from hypercorn.middleware import DispatcherMiddleware

    config = Config()
    config.bind = [f"unix:{tmp_path / 'socket'}"]
    config.loglevel = "ERROR"

    before = set(threading.enumerate())

    async def main() -> None:
        ending = asyncio.Event()
        mounts = {each: mt.serving.asgi(*graphs()) for each in ("/one", "/two/deep", "")}
        app = DispatcherMiddleware(mounts) if prefix else mounts[""]  # type: ignore[arg-type]
        serving = asyncio.ensure_future(serve(app, config, shutdown_trigger=ending.wait))  # type: ignore[arg-type]
        await until_async((tmp_path / "socket").exists)
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "socket"))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            assert (await client.post(f"{prefix}/predict/g", json={"x": 3})).json() == {"y": 6.0}
            assert (await client.post(f"{prefix}/v2/models/g/infer", json=INFER)).status_code == 200
            assert f'href="{prefix}/page/page.css"' in (await client.get(f"{prefix}/")).text
        assert not any(thread.name == "motet-serve" for thread in set(threading.enumerate()) - before)
        ending.set()
        await serving

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_starlettes_test_client_with_and_without_a_lifespan() -> None:
    from starlette.testclient import TestClient

    made = mt.serving.asgi(*graphs())
    client = TestClient(made)
    for value in range(3):  # a loop each
        assert client.post("/predict/g", json={"x": value}).json() == {"y": 2.0 * value}
    made.close()
    with TestClient(made) as client:
        assert client.post("/v2/models/g/infer", json=INFER).json()["outputs"][0]["data"] == [2.0, 4.0]


def test_several_graphs_and_several_mounts() -> None:
    one, other = graphs()
    host = Starlette(routes=[Mount("/one", mt.serving.asgi(one)), Mount("/other", two := mt.serving.asgi(other, one))])

    async def asked() -> None:
        async with in_process(host) as client:
            assert (await client.get("/one/v2/models/bad")).status_code == 404
            for path in ("/one", "/other"):
                assert (await client.post(f"{path}/predict/g", json={"x": 3})).json() == {"y": 6.0}
            answer = await client.post("/other/predict/bad", json={"rows": [{"x": 1}, {"x": 2}]})
            assert [list(row) for row in answer.json()["rows"]] == [["error"], ["y"]]

    asyncio.run(asked())
    host.routes[0].app.close()  # type: ignore[attr-defined]
    two.close()


def test_who_may_ask_and_how_much_is_decided_as_by_a_server(tmp_path: Path) -> None:
    key, _ = KeyStore(tmp_path / "keys.jsonl").add("ann")
    admission = {"anonymous": False, "keys": "keys.jsonl"}
    (tmp_path / "serve.yaml").write_text(json.dumps({"admission": admission, "port": 9, "limits": {"rows": 1}}))
    made = mt.serving.asgi(*graphs(), config=tmp_path / "serve.yaml")

    async def asked() -> None:
        async with in_process(made) as client:
            for path, body in (("/predict/g", {"x": 1}), ("/v2/models/g/infer", INFER)):
                refused = await client.post(path, json=body)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="motet"')
            keyed = {"x-api-key": key}
            assert (await client.post("/predict/g", json={"x": 1}, headers=keyed)).json() == {"y": 2.0}
            assert (await client.post("/v2/models/g/infer", json=INFER, headers=keyed)).status_code == 413

    try:
        asyncio.run(asked())
    finally:
        made.close()


def test_a_handler_beside_it_calls_the_graph_itself() -> None:
    graph, _ = graphs()
    made = mt.serving.asgi(graph)
    host = FastAPI()
    host.mount("/models", made)

    def given() -> Any:
        return graph

    @host.get("/sync/{value}")
    def sync(value: float, graph: Annotated[mt.Graph, Depends(given)]) -> Any:
        return graph({"x": [value]})["y"].tolist()

    async def asked() -> None:
        async with in_process(host) as client:
            assert (await client.get("/sync/3")).json() == [6.0]
            assert (await client.post("/models/predict/g", json={"x": 3})).json() == {"y": 6.0}

    asyncio.run(asked())
    made.close()


class Unloadable:
    def __init__(self) -> None:
        raise OSError("no weights")


def test_a_model_that_cannot_be_loaded_ends_the_start_and_says_why() -> None:
    model = mt.Model(f"python:{__name__}:Unloadable", "u", inputs={"x": "float32"}, outputs={"y": "float32"})
    made = mt.serving.asgi(mt.Graph("u", {"y": mt.model(model, mt.input("x", "float32"))}))

    async def lived() -> None:
        async with made.lifespan():
            pass

    with pytest.raises(ModelLoadError, match="graph 'u'.*no weights"):
        asyncio.run(lived())

    async def asked() -> Any:
        async with in_process(made) as client:
            return await client.post("/predict/u", json={"x": 1})

    answer = asyncio.run(asked())
    assert answer.status_code == 503
    assert answer.json()["error"] == "u is not ready: model 'u' cannot be loaded (ModelLoadError)"
    made.close()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"port": 8000}, InputError, "port is for the server that hosts this application"),
        ({"processes": 2}, InputError, "processes has no meaning here"),
        ({"limit": {}}, InputError, "unknown option 'limit' of serve; did you mean 'limits'"),
        ({"limits": {"row": 1}}, GraphError, "limits.*unknown key 'row'"),
        ({"cors": "*"}, GraphError, "serve.cors"),
        ({"config": "nothing.yaml"}, GraphError, "nothing.yaml' cannot be read"),
    ],
)
def test_what_it_cannot_be_told(options: Any, error: Any, said: str) -> None:
    graph, _ = graphs()
    with pytest.raises(error, match=said):
        mt.serving.asgi(graph, **options)


def test_files_are_those_that_were_named_wherever_the_program_is_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, _ = graphs()
    graph.save(tmp_path / "g.yaml")
    (tmp_path / "serve.yaml").write_text("limits: {rows: 1}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    made = mt.serving.asgi("g.yaml", config="serve.yaml")
    monkeypatch.chdir(tmp_path / "elsewhere")

    async def asked() -> None:
        async with in_process(made) as client:
            assert (await client.post("/predict/g", json={"x": 3})).json() == {"y": 6.0}
            assert (await client.post("/predict/g", json={"rows": [{"x": 3}] * 2})).status_code == 413

    asyncio.run(asked())
    made.close()


def test_without_graphs_there_is_nothing_to_serve() -> None:
    with pytest.raises(InputError, match="there is no graph to serve"):
        mt.serving.asgi()
    with pytest.raises(InputError, match="a graph or its file is served; got int"):
        mt.serving.asgi(7)  # type: ignore[arg-type]
    graph, _ = graphs()
    with pytest.raises(GraphError, match="two graphs are called 'g'"):
        asyncio.run(mt.serving.asgi(graph, graph).lifespan().__aenter__())


def test_limits_may_be_given_as_they_are_or_as_a_file_has_them() -> None:
    graph, _ = graphs()
    for limits in (Limits(rows=1), {"rows": 1}):
        made = mt.serving.asgi(graph, limits=limits, trusted_proxies=("10.0.0.0/8",))

        async def asked(made: Any = made) -> Any:
            async with in_process(made) as client:
                return await client.post("/predict/g", json={"rows": [{"x": 1}] * 2})

        assert asyncio.run(asked()).status_code == 413
        made.close()


def test_a_client_that_goes_is_given_up() -> None:
    """The host cancels, or says that the client is gone: what was asked is dropped."""
    made = mt.serving.asgi(weighty())
    sent = []

    async def main() -> None:
        messages = [{"type": "http.request", "body": json.dumps(INFER).encode(), "more_body": True}]

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v2/models/w/infer", "headers": [], "query_string": b""}
        async with made.lifespan():
            await made(scope, receive, send)
        await made(scope, receive, send)

    asyncio.run(main())
    assert sent == []
    made.close()


def test_a_websocket_is_refused(app: Any) -> None:
    sent = []

    async def main() -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "websocket", "path": "/predict/g", "headers": []}, receive, send)

    asyncio.run(main())
    assert sent == ["websocket.close"]
