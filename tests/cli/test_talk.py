"""What commands say to running servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from motet.cli.servers import ServerAccess
from motet.cli.talk import ask
from motet.errors import InputError


@contextmanager
def answering(seen: list[str | None], to: str = "") -> Iterator[str]:
    """A server that notes the keys that it is sent, and sends its callers to another one or answers; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["authorization"])
            self.send_response(302 if to else 200)
            self.send_header("location", to)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_key_is_sent_to_the_server_that_was_named_alone() -> None:
    access = ServerAccess("s3cret")
    named: list[str | None] = []
    other: list[str | None] = []
    with answering(other) as elsewhere, answering(named, f"{elsewhere}/status.json") as url:
        assert ask(url, "/status.json", access) == {}
    assert (named, other) == (["Bearer s3cret"], [None])
    assert "s3cret" not in repr(access)


@pytest.mark.parametrize(
    ("server", "key", "said"),
    [
        ("http://me:s3cret@localhost:1", None, "the URL of the server holds a credential"),
        ("http://localhost:1", "s3cr\net", r"--key has '\\n' at character 5, which cannot be sent in a header"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_not_shown(server: str, key: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        ask(server, "/status.json", ServerAccess(key))
    assert "s3cr" not in str(refused.value)
