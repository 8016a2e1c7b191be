"""Pure functions of JAX, and what is none, of parameters that a file has."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

traced: list[int] = []
"""The numbers of rows that `scores` was compiled for."""


def scores(parameters: Any, x: Any) -> Any:
    """Probabilities."""
    traced.append(len(x))
    return {"probabilities": jax.nn.softmax(jnp.tanh(x @ parameters["w"]) + parameters["b"])}


def nested(parameters: Any, x: Any) -> Any:
    """As `scores`, with the parameters as Flax keeps them."""
    layer = parameters["params"]["dense"]
    return jax.nn.softmax(jnp.tanh(x @ layer["kernel"]) + layer["bias"])


def two(parameters: Any, left: Any, right: Any) -> Any:
    """A tuple of two."""
    return left * parameters["w"][0, 0] - right, left + right


def total(parameters: Any, x: Any) -> Any:
    """One number whatever the rows are."""
    return x.sum()


def all_pairs(parameters: Any, x: Any) -> Any:
    """The rows are on both axes."""
    return x @ x.T


def centred(parameters: Any, x: Any) -> Any:
    """Rows meet."""
    return x - x.mean(axis=0)


def gap(parameters: Any, left: Any, scale: Any = 10.0, *, right: Any) -> Any:
    """Columns on both sides of what has a default."""
    return left * scale - right + 0 * parameters["b"][0]


number = 3
