"""A relay of TCP that drops connections as networks do: without a word to either end."""

import contextlib
import socket
import threading
from typing import Any


class Relay:
    """Hands on the bytes of connections to a port of this machine, until it is told to swallow them.

    Attributes:
        port: where it listens.
        made: how many connections were made to it.
    """

    def __init__(self, to: Any) -> None:
        self.to, self.made, self._silenced = to, 0, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        """Swallow all that comes over the connections that were made until now, from either end."""
        self._silenced = self.made

    def close(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
                self._open += [near, far]
                self.made += 1
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(*ends, self.made), daemon=True).start()

    def _pass_on(self, near: Any, far: Any, number: Any) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(1 << 16):
                if number > self._silenced:
                    far.sendall(data)
            far.shutdown(socket.SHUT_WR)
