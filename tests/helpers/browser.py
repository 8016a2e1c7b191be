"""A headless Chromium, driven over two pipes (https://chromedevtools.github.io/devtools-protocol), without other packages."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def found() -> Any:
    """The browser's path, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with one page.

    Attributes:
        troubles: what went wrong in the page: exceptions, errors on the console, files that could not be loaded.
    """

    def __init__(self, timeout_s: Any = 30) -> None:
        self.timeout_s, self.troubles = timeout_s, []
        self._ids, self._left = itertools.count(1), b""
        self._profile = tempfile.mkdtemp(prefix="motet-browser-")
        self._pid, self._write, self._read = self._start()
        target = self.call("Target.createTarget", url="about:blank", session=False)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True, session=False)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def _start(self) -> Any:
        """The browser reads commands from its descriptor 3, and writes to 4."""
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in (theirs_in, theirs_out)]
        null = os.open(os.devnull, os.O_RDWR)
        arguments = [
            found(), "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self._profile}", "--disable-gpu",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio", "--no-proxy-server",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]  # fmt: skip
        actions = [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        actions += [(os.POSIX_SPAWN_DUP2, null, each) for each in (0, 1, 2)]
        pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions, setpgroup=0)
        for each in (theirs_in, theirs_out, *high, null):
            os.close(each)
        return pid, ours_out, ours_in

    def call(self, method: Any, session: bool = True, **parameters: Any) -> Any:
        """A command, and what the browser answers."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout_s
        while True:
            said = self._next(deadline)
            if said.get("id") == number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]
            self._note(said)

    def _next(self, deadline: Any) -> Any:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        text, _, self._left = self._left.partition(b"\0")
        return json.loads(text)

    def _note(self, said: Any) -> None:
        parameters = said.get("params", {})
        if said.get("method") == "Runtime.exceptionThrown":
            self.troubles.append(parameters["exceptionDetails"])
        elif said.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.troubles.append(parameters["entry"])

    def open(self, url: Any) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script: Any) -> Any:
        """The value of a script; of a promise what it becomes."""
        said = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def until(self, condition: Any) -> Any:
        """Wait in the page until something is so; its value."""
        return self.run(
            f"""new Promise((done, failed) => {{
              const end = Date.now() + {1000 * self.timeout_s * 0.9};
              const look = () => {{
                let value = null;
                try {{ value = {condition}; }} catch (error) {{ value = null; }}
                if (value) done(value);
                else if (Date.now() > end) failed(new Error({json.dumps("never came: " + condition)}));
                else setTimeout(look, 20);
              }};
              look();
            }})"""
        )

    def upload(self, selector: Any, path: Any) -> None:
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def drag(self, points: Any) -> None:
        """Draw with the mouse."""
        for place, (x, y) in enumerate(points):
            kind = "mousePressed" if place == 0 else "mouseMoved"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        x, y = points[-1]
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)

    def press(self, key: Any, code: Any = None) -> None:
        named = {"Enter": (13, "\r"), "Tab": (9, "\t"), " ": (32, " ")}.get(key, (code or 0, ""))
        for kind in ("keyDown", "keyUp"):
            text = {"text": named[1]} if named[1] and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=named[0], **text)

    def look_like(self, width: Any, height: Any, scheme: str = "light") -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Any, *, whole: bool = True) -> None:
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(taken["data"]))

    def close(self) -> None:
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)
