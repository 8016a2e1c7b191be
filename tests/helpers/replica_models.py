"""A model that does what its rows say, for tests of replicas in processes of their own."""

import os
import signal
import sys
import time
from typing import Any

import numpy as np


class OddError(Exception):
    """Cannot be made from its arguments alone."""

    def __init__(self, left: Any, *, right: Any) -> None:
        super().__init__(left)
        self.right = right

    def __str__(self) -> str:
        return f"{self.args[0]} and {self.right}"


class Doing:
    """Does what the first row of `what` says, and answers with the rows of `x`, unless it does something else."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.kept = []
        self.inside = self.most = 0

    def __call__(self, what: Any, x: Any) -> Any:
        name, _, argument = str(what[0]).partition(" ") if len(what) else ("echo", "", "")
        return getattr(self, name)(argument, x)

    def echo(self, argument: Any, x: Any) -> Any:
        return x

    def fresh(self, argument: Any, x: Any) -> Any:
        return x + x.dtype.type(1)

    def over(self, argument: Any, x: Any) -> Any:
        x *= 2
        return x[1:]

    def columns(self, argument: Any, x: Any) -> Any:
        return x[:, ::2]

    def keep(self, argument: Any, x: Any) -> Any:
        self.kept.append(x)
        return np.array([each[0, 0] for each in self.kept])

    def larger(self, argument: Any, x: Any) -> Any:
        return np.full((len(x), int(argument)), 7, np.uint8)

    def rows(self, argument: Any, x: Any) -> Any:
        return [np.full((place, 2), value[0]) for place, value in enumerate(x)]

    def printing(self, argument: Any, x: Any) -> Any:
        print("printed", argument)  # noqa: T201
        os.write(1, b"written\n")
        return x

    def sleep(self, argument: Any, x: Any) -> Any:
        time.sleep(float(argument))
        return x

    def spin(self, argument: Any, x: Any) -> None:
        open(argument, "w").close()
        while True:
            sum(range(1000))

    def crowd(self, argument: Any, x: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if argument:
            open(argument, "w").close()
            while os.path.exists(argument):
                time.sleep(0.002)
            time.sleep(0.2)  # another call could come meanwhile
        self.inside -= 1
        return np.full(len(x), self.most)

    def leave(self, argument: Any, x: Any) -> None:
        sys.exit(int(argument))

    def vanish(self, argument: Any, x: Any) -> None:
        os._exit(int(argument))

    def vanish_with_a_child(self, argument: Any, x: Any) -> None:
        self.fork(argument, x)
        os._exit(5)

    def fork(self, argument: Any, x: Any) -> Any:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
        with open(argument, "w") as file:
            file.write(str(pid))
        return x

    def die(self, argument: Any, x: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def talk(self, argument: Any, x: Any) -> None:
        os.write(int(sys.argv[2]), argument.encode())
        time.sleep(60)

    def interrupted(self, argument: Any, x: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return x

    def fail(self, argument: Any, x: Any) -> None:
        raise {
            "value": ValueError("not this", 7),
            "key": KeyError("name"),
            "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
            "file": FileNotFoundError(2, "No such file or directory", "nowhere"),
            "memory": MemoryError("full"),
            "odd": OddError("one", right={1, 2}),
            "silent": ValueError(),
        }[argument]

    def no_room(self, argument: Any, x: Any) -> Any:
        return np.empty(2**60, np.uint8)

    def hungry(self, argument: Any, x: Any) -> Any:
        return np.ones((len(x), int(argument) * 2**20), np.uint8)[:, :1]

    def environment(self, argument: Any, x: Any) -> Any:
        return np.array([os.environ.get(argument, "")] * len(x), dtype=object)

    def modules(self, argument: Any, x: Any) -> Any:
        return np.array([" ".join(sys.modules)] * len(x), dtype=object)

    def unpicklable(self, argument: Any, x: Any) -> Any:
        return [lambda: None for _ in x]

    def close(self) -> None:
        if "closed" in self.options:
            with open(self.options["closed"], "w") as file:
                file.write("closed")
