"""The key `cache` of serve.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from motet.graph.section import Bytes, Section, between

__all__ = ["ResponseCacheConfig"]


@dataclass(frozen=True)
class ResponseCacheConfig(Section):
    """How answers are kept to be given again.

    Attributes:
        max_bytes: what the cache of one process may hold; 0 is no cache.
        ttl_s: how long an answer is given again; 0 is for ever.
        graphs: which graphs; empty is all.
    """

    ALONE: ClassVar[str] = "max_bytes"

    max_bytes: Bytes = 64 << 20
    ttl_s: Annotated[float, between(0)] = 0.0
    graphs: tuple[str, ...] = ()
