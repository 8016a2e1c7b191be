"""An S3 server on a socket that counts what it is asked, and may take its time to answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["ObjectStore"]


class ObjectStore:
    """A server of S3 with a bucket named `bucket`.

    Attributes:
        url: its address.
        requests: what it was asked, such as `GET /bucket/a.parquet`; listings as `LIST /bucket`.
        delay_s: how long it waits before each answer.
        most: the most requests that it had at once.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server

        self.requests: list[str] = []
        self.delay_s = 0.0
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._app: Callable[[dict[str, Any], Any], Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._count, True, request_handler=MotoRequestHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def _count(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        listing = method == "GET" and "list-type=" in environ.get("QUERY_STRING", "")
        with self._lock:
            self.requests.append(f"{'LIST' if listing else method} {path.rstrip('/')}")
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.delay_s)
        try:
            return self._app(environ, start_response)
        finally:
            with self._lock:
                self._now -= 1

    def start(self) -> ObjectStore:
        """Serve, with an empty bucket."""
        import boto3

        self._thread.start()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=self.url, **keys)
        client.create_bucket(Bucket="bucket")
        client.close()
        self.requests.clear()
        return self

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
