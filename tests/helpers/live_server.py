"""`motet serve` as a process, for tests of what talks to it."""

import http.client
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from helpers.until import until

TESTS = Path(__file__).parent.parent
SAYS = re.compile(r"on (?:http://)?([\w.:\[\]]+:\d+)(?:, grpc on port (\d+))?")


class Live:
    def __init__(self, folder: Any, *arguments: Any, port: Any = 0) -> None:
        self.log = folder / "serve.log"
        ports = ["--port", str(port), "--grpc-port", "0"]
        command = [sys.executable, "-m", "motet.cli", "serve", *map(str, arguments), *ports]
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path})
        said = until(self._said, otherwise=self.log.read_text)
        self.url, self.grpc_port = f"http://{said[1]}", int(said[2] or 0)
        self.port = int(self.url.rpartition(":")[2])

    def until_ready(self) -> None:
        """Wait until every graph is loaded."""
        until(self._is_ready, 120, self.log.read_text)

    def _said(self) -> Any:
        assert self.process.poll() is None, self.log.read_text()
        return SAYS.search(self.log.read_text())

    def _is_ready(self) -> Any:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
