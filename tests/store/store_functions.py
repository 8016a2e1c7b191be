"""Functions that are published around models."""

from motet.types import returns


@returns("float32")
def plus_one(x):
    return x + 1


@returns("float32")
def halved(x):
    return x / 2
