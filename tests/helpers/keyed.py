"""Many small models by key: what they answer tells them apart, and loads and closes are written down."""

from typing import Any

import numpy as np

import motet as mt

LOG: list[tuple[str, str]] = []
"""(what happened, model): `load`, `call`, `close`; tests clear it."""


class Shelved:
    """`x + offset`; says when it is loaded, called and closed."""

    def __init__(self, name: Any, offset: float = 0.0, broken: bool = False) -> None:
        self.name, self.offset = name, offset
        LOG.append(("load", name))
        if broken:
            raise ValueError("the weights are torn")

    def __call__(self, x: Any) -> Any:
        LOG.append(("call", self.name))
        return x + np.float32(self.offset)

    def close(self) -> None:
        LOG.append(("close", self.name))


def model(name: Any, offset: Any, **settings: Any) -> mt.Model:
    """One of them."""
    options = {"name": name, "offset": offset, "broken": settings.pop("broken", False)}
    return mt.Model(
        "python:helpers.keyed:Shelved",
        name,
        inputs={"x": "float32"},
        outputs={"y": "float32"},
        options=options,
        **settings,
    )


def graph(
    count: Any, max_loaded: Any, *, resident: Any = (), broken: Any = (), name: str = "keyed", **settings: Any
) -> mt.Graph:
    """A route by the key `k` over models `m0`, `m1`, ... that add 0, 1, ... to `x`."""
    members = {
        str(place): model(f"m{place}", float(place), resident=place in resident, broken=place in broken)
        for place in range(count)
    }
    chosen = mt.route(
        members, mt.input("x", "float32"), key=mt.input("k", "int64"), max_loaded=max_loaded, name="by_key", **settings
    )
    return mt.Graph(name, {"y": chosen.y, "who": chosen.member})


def rows(keys: Any) -> Any:
    """Rows of these keys, numbered in `x`."""
    keys = np.asarray(keys, dtype=np.int64)
    return {"k": keys, "x": np.arange(len(keys), dtype=np.float32)}


def loads() -> Any:
    """The models in the order in which they were loaded."""
    return [name for what, name in LOG if what == "load"]
