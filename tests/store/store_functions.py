"""Functions that are published around models."""

from typing import Any

from motet.types import returns


@returns("float32")
def plus_one(x: Any) -> Any:
    return x + 1


@returns("float32")
def halved(x: Any) -> Any:
    return x / 2
