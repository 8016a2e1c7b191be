"""`motet serve` as a process, for tests of what talks to it."""

import http.client
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

TESTS = Path(__file__).parent.parent
SAYS = re.compile(r"on (?:http://)?([\w.:\[\]]+:\d+)(?:, grpc on port (\d+))?")


class Live:
    def __init__(self, folder, *arguments, port=0):
        self.log = folder / "serve.log"
        ports = ["--port", str(port), "--grpc-port", "0"]
        command = [sys.executable, "-m", "motet.cli", "serve", *map(str, arguments), *ports]
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path})
        end = time.monotonic() + 60
        while not (said := SAYS.search(self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        self.url, self.grpc_port = f"http://{said[1]}", int(said[2] or 0)
        self.port = int(self.url.rpartition(":")[2])

    def until_ready(self):
        """Wait until every graph is loaded."""
        end = time.monotonic() + 120
        while True:
            assert time.monotonic() < end, self.log.read_text()
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.02)

    def close(self):
        self.process.terminate()
        self.process.wait(30)
