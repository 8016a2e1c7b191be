"""`motet workflow ui`: the runs of this machine in a browser of its user."""

from __future__ import annotations

import hmac
import secrets
import threading
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import click

from motet.cli.exits import FAILED, Command

if TYPE_CHECKING:
    from motet.workflow.page.site import RunPage

__all__ = ["command", "make_server"]

MOST_CONNECTIONS = 16
_TIMEOUT_S = 10.0


@click.command(
    "ui",
    cls=Command,
    short_help="Show the runs in a browser.",
    exits={0: "it was ended by Ctrl-C", FAILED: "the port is taken"},
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes one that is free."
)
def command(port: int) -> None:
    """Show the runs of this machine in a browser: a list, each run with its curves, logs and results, two side by side.

    It listens on this machine alone, and answers those who have the address that it prints, which has a key in it.
    """
    token = secrets.token_urlsafe(24)
    try:
        server = make_server(port, token)
    except OSError as error:
        raise click.ClickException(f"port {port} cannot be listened on: {error}") from None
    with server:
        click.echo(f"http://127.0.0.1:{server.server_address[1]}/?key={token}")
        click.echo("Ctrl-C ends it", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("", err=True)


def make_server(port: int, token: str) -> ThreadingHTTPServer:
    """A server of the runs on the loopback interface, which answers those who know the token.

    Raises:
        OSError: when the port is taken.
    """
    return _RunsServer(("127.0.0.1", port), type("Handler", (_RunsHandler,), {"token": token}))


class _RunsServer(ThreadingHTTPServer):
    """Answers so many at once; others wait until one of these is done, in the system's own bounded queue."""

    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._free = threading.Semaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, once one is free."""
        self._free.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be begun
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class _RunsHandler(BaseHTTPRequestHandler):
    """Answers one connection; the first page sets a cookie, so that the key is in no other address."""

    token = ""
    timeout = _TIMEOUT_S

    def handle(self) -> None:
        """Answer what comes; a browser that is gone before it has its answer is no fault."""
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        """Answer a question."""
        from motet.workflow.page.site import RunPage, answer

        asked = urlsplit(self.path)
        query = parse_qs(asked.query)
        host = self.headers.get("host", "").rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost"):
            self._send(RunPage(403, "text/plain; charset=utf-8", "ask by the address that was printed\n"))
        elif self._is(query.get("key", [""])[0]):
            self.send_response(303)
            self.send_header("location", "/")
            self.send_header("set-cookie", f"{self._cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/")
            self.send_header("content-length", "0")
            self.end_headers()
        elif not self._is(self._given()):
            self._send(
                RunPage(403, "text/plain; charset=utf-8", "ask by the address that motet workflow ui has printed\n")
            )
        else:
            self._send(answer(asked.path, query.get("run", ())))

    @property
    def _cookie(self) -> str:
        """The name of the cookie: browsers keep those of all ports of a machine together."""
        address: tuple[str, int] = self.server.server_address  # type: ignore[assignment]  # it listens on IPv4
        return f"motet-runs-{address[1]}"

    def _given(self) -> str:
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    def _is(self, key: str) -> bool:
        return hmac.compare_digest(key.encode(), self.token.encode())

    def _send(self, found: RunPage) -> None:
        from motet.workflow.page.site import HEADERS

        data = found.text.encode()
        self.send_response(found.status)
        for name, value in {**HEADERS, "content-type": found.kind, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing: addresses have the key in them."""
