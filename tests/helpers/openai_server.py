"""An endpoint of OpenAI's protocol on a real socket, whose answers and mistakes a test says beforehand."""

import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

HANG = "hang"
"""No answer until the server closes."""
CUT = "cut"
"""An answer of which half is sent before the connection ends."""


class Say(NamedTuple):
    """An answer as it is: what is no text is sent as JSON."""

    status: int
    body: Any
    headers: dict[str, str] = {}


class Change(NamedTuple):
    """The right answer with something changed in it."""

    change: Callable[[dict[str, Any]], Any]


class Events(NamedTuple):
    """Server-sent events as they are, one after the other; at an event of threading it waits.

    Attributes:
        parts: texts are sent as they are, what is no text as JSON.
        cut: whether the connection ends after them without the answer's end.
    """

    parts: list[Any]
    cut: bool = False


class Wait(NamedTuple):
    """The right answer once an event is set."""

    event: threading.Event


def error(message: str, kind: str = "invalid_request_error", code: Any = None) -> dict[str, Any]:
    """An error as OpenAI says it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def vector(text: str, dimensions: int) -> list[float]:
    """What stands for a text: the same for the same text, of the floats that have few digits."""
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[place % 32] / 256 - place % 3 for place in range(dimensions)]


def called(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools that are called: the first where the last message begins with `call`, all where it begins with `call all`, the one that
    must be called; none where none may be, and once a tool has answered. Each is given the last message as its `text`."""
    tools, choice, last = body.get("tools") or [], body.get("tool_choice", "auto"), body["messages"][-1]
    told = str(last.get("content"))
    if not tools or choice == "none" or last["role"] == "tool":
        return []
    names = [each["function"]["name"] for each in tools]
    if isinstance(choice, dict):
        names = [choice["function"]["name"]]
    elif not told.startswith("call all") or body.get("parallel_tool_calls") is False:
        names = names[:1] if told.startswith("call") or choice == "required" else []
    return [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": json.dumps({"text": told})}}
        for place, name in enumerate(names)
    ]


def echo(messages: list[dict[str, Any]]) -> str:
    """An answer of the last message."""
    return f"you said {messages[-1]['content']}"


class OpenAIServer:
    """The endpoint.

    Args:
        answer: what a model says to messages.
        key: what callers must show; empty for nobody.
        models: what it has.
        dimensions: of embeddings, where nobody asks for a number.
        context: of TLS; None for none.

    Attributes:
        requests: what came in, in order: path, headers (lower case), and JSON.
        most: the most requests that were under way at the same time.
        connections: how many there have been.
        told: how many events of streams have been sent.
    """

    def __init__(
        self,
        answer: Callable[[list[dict[str, Any]]], str] = echo,
        key: str = "",
        models: tuple[str, ...] = ("small", "large"),
        dimensions: int = 4,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.answer, self.key, self.models, self.dimensions = answer, key, models, dimensions
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.most = self.connections = self.told = self._under_way = 0
        self._script: list[tuple[str, list[Any]]] = []
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._server = _server(self, context)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def uri(self, model: str = "small", scheme: str = "openai+http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/v1#{model}"

    def then(self, text: str, *steps: Any) -> None:
        """The next requests with this text in them are answered so, one after the other; later ones rightly."""
        with self._lock:
            self._script.append((text, list(steps)))

    def asked(self, text: str = "") -> int:
        """How many requests there were with this text in them."""
        with self._lock:
            return sum(text in json.dumps(body) for _, _, body in self.requests)

    def begin(self, path: str, headers: dict[str, str], body: Any) -> Any:
        """A request came in; how it is to be answered, None rightly."""
        with self._lock:
            self.requests.append((path, headers, body))
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            told = json.dumps(body, ensure_ascii=False)
            found = next((steps for text, steps in self._script if steps and text in told), None)
            return None if found is None else found.pop(0)

    def end(self) -> None:
        """A request is over."""
        with self._lock:
            self._under_way -= 1

    def wait(self, event: threading.Event) -> None:
        """Wait for an event, or until the server closes."""
        while not event.wait(0.01) and not self._closing.is_set():
            pass

    def hang(self) -> None:
        """Wait until the server closes."""
        self._closing.wait()

    def right(self, path: str, headers: dict[str, str], body: Any) -> Say:
        """The right answer."""
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            got = headers.get("authorization", "").removeprefix("Bearer ")
            return Say(401, error(f"Incorrect API key provided: {got}.", code="invalid_api_key"))
        if path == "/v1/models":
            return Say(200, {"object": "list", "data": [_model(name) for name in self.models]})
        kinds = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/embeddings": self._embeddings,
        }
        if path not in kinds:
            return Say(404, error(f"Invalid URL (POST {path})"))
        if body.get("model") not in self.models:
            return Say(404, error(f"The model `{body.get('model')}` does not exist", code="model_not_found"))
        return kinds[path](body)

    def _chat(self, body: dict[str, Any]) -> Say:
        text = self.answer(body["messages"])
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "finish_reason": "stop",
        }
        if calls := called(body):
            choice["message"] |= {"content": None, "tool_calls": calls}
            # a tool that had to be called is no reason, as OpenAI has it
            choice["finish_reason"] = "stop" if isinstance(body.get("tool_choice"), dict) else "tool_calls"
            text = ""
        logprobs = [{"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []} for word in text.split()]
        choice["logprobs"] = {"content": logprobs, "refusal": None} if body.get("logprobs") else None
        asked = sum(len(str(each.get("content")).split()) for each in body["messages"])
        return Say(200, _answer("chat.completion", body, choice, asked, len(text.split())))

    def _completion(self, body: dict[str, Any]) -> Say:
        prompt = body["prompt"]
        text = self.answer([{"role": "user", "content": prompt}])
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        if body.get("logprobs"):
            words = text.split()
            choice["logprobs"] = {"tokens": words, "token_logprobs": [None, *[-0.25] * (len(words) - 1)],
                                  "top_logprobs": None, "text_offset": [0] * len(words)}  # fmt: skip
        return Say(200, _answer("text_completion", body, choice, len(prompt.split()), len(text.split())))

    def _embeddings(self, body: dict[str, Any]) -> Say:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        if "" in texts:
            return Say(400, error("'$.input' is invalid: an empty text"))
        size = body.get("dimensions", self.dimensions)
        data = [
            {
                "object": "embedding",
                "index": place,
                "embedding": _coded(vector(text, size), body.get("encoding_format")),
            }
            for place, text in enumerate(texts)
        ]
        tokens = sum(len(text.split()) for text in texts)
        used = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Say(200, {"object": "list", "model": body["model"], "data": data, "usage": used})

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._sockets.add(connection)
            self._threads.append(threading.current_thread())

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(connection)

    def close(self) -> None:
        """End; nothing is left of it."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for each in self._sockets:
                _shut(each)
        for thread in self._threads:
            thread.join()
        self._server.server_close()


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tests"}


def _answer(kind: str, body: dict[str, Any], choice: dict[str, Any], asked: int, answered: int) -> dict[str, Any]:
    used = {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
    return {"id": "x-1", "object": kind, "created": 0, "model": body["model"], "choices": [choice], "usage": used}


def chunks(answer: dict[str, Any], usage: bool = False) -> list[Any]:
    """A whole answer as OpenAI streams it, a word and the space behind it an event."""
    (choice,) = answer["choices"]
    chat = "message" in choice
    text = choice["message"]["content"] if chat else choice["text"]
    head = {key: answer[key] for key in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    logprobs = (choice["logprobs"] or {}).get("content" if chat else "token_logprobs") or []

    def chunk(piece: dict[str, Any], place: int | None = None, finish: str | None = None) -> dict[str, Any]:
        told = logprobs[place : place + 1] if place is not None else []
        said = {"content" if chat else "token_logprobs": told} if told else None
        own = {"delta": piece} if chat else piece
        return {**head, "choices": [{"index": 0, **own, "logprobs": said, "finish_reason": finish}]}

    calls = choice["message"].get("tool_calls") if chat else None
    found: list[Any] = [chunk({"role": "assistant", "content": None if calls else ""})] if chat else []
    found += [chunk({"tool_calls": [each]}) for each in _call_pieces(calls or [])]
    pieces = [] if calls else [each + " " for each in text.split(" ")]
    if pieces:
        pieces[-1] = pieces[-1][:-1]
    found += [chunk({"content" if chat else "text": each}, place) for place, each in enumerate(pieces)]
    found.append(chunk({} if chat else {"text": ""}, None, choice["finish_reason"]))
    if usage:
        found.append({**head, "choices": [], "usage": answer["usage"]})
    return [*found, "data: [DONE]\n\n"]


def _call_pieces(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls as OpenAI streams them: who is called, then what with, some letters a piece."""
    found = []
    for index, call in enumerate(calls):
        function = call["function"]
        found.append({"index": index, **call, "function": {**function, "arguments": ""}})
        text = function["arguments"]
        found += [
            {"index": index, "function": {"arguments": text[place : place + 5]}} for place in range(0, len(text), 5)
        ]
    return found


def _coded(values: list[float], coding: Any) -> Any:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode() if coding == "base64" else values


def _server(owner: OpenAIServer, context: ssl.SSLContext | None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            owner.opened(self.connection)

        def finish(self) -> None:
            owner.closed(self.connection)
            super().finish()

        def do_GET(self) -> None:
            self._answered({})

        def do_POST(self) -> None:
            self._answered(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answered(self, body: Any) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            step = owner.begin(self.path, headers, body)
            try:
                self._take(step, owner.right(self.path, headers, body), body)
            except OSError:  # the client is gone
                self.close_connection = True
            finally:
                owner.end()

        def _take(self, step: Any, right: Say, body: Any) -> None:
            if step == HANG:
                owner.hang()
                self.close_connection = True
            elif isinstance(step, Wait):
                owner.wait(step.event)
                self._say(right)
            elif isinstance(step, Change):
                changed = step.change(right.body)
                self._say(right if changed is None else right._replace(body=changed))
            elif isinstance(step, Events):
                self._tell(step)
            elif body.get("stream") and right.status == 200 and step in (None, CUT):
                events = chunks(right.body, usage=bool(body.get("stream_options", {}).get("include_usage")))
                self._tell(Events(events[: len(events) // 2], cut=True) if step == CUT else Events(events))
            elif step == CUT:
                self._say(right, share=0.5)
            else:
                self._say(right if step is None else step)

        def _say(self, said: Say, share: float = 1.0) -> None:
            data = said.body.encode() if isinstance(said.body, str) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {"Content-Type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: int(len(data) * share)])
            self.close_connection = self.close_connection or share < 1

        def _tell(self, events: Events) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in events.parts:
                if isinstance(part, threading.Event):
                    owner.wait(part)
                    continue
                data = (part if isinstance(part, str) else f"data: {json.dumps(part)}\n\n").encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()
                owner.told += 1
            self.close_connection = self.close_connection or events.cut
            if not events.cut:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, *args: Any) -> None:
            """A client that went away is none."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server
