"""The jobs of the live benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["COLD_START", "COLD_START_GOAL", "WORKS", "Encoding", "Work"]

Encoding = Literal["binary", "json"]


@dataclass(frozen=True)
class Work:
    """What is asked, again and again.

    Attributes:
        name: its name.
        job: `mlp`, or `ensemble` of three.
        encoding: of requests and answers.
        rows: images of a request.
        connections: how many there are; empty for what the command line says.
        goals: what is aimed at, in words, each with its number.
    """

    name: str
    job: str
    encoding: Encoding
    rows: int = 1
    connections: tuple[int, ...] = ()
    goals: Mapping[str, float] = field(default_factory=dict)


WORKS: Final = {
    work.name: work
    for work in (
        Work("mlp-binary", "mlp", "binary", goals={"times mosec, 64 connections": 2.0, "p99 ms, 64 connections": 3.0}),
        Work("mlp-json", "mlp", "json", goals={"times mosec, 64 connections": 1.3, "p99 ms, 64 connections": 3.0}),
        Work(
            "ensemble-binary",
            "ensemble",
            "binary",
            goals={"times mosec, 64 connections": 1.5, "p99 ms, 64 connections": 6.0},
        ),
        Work("ensemble-json", "ensemble", "json", goals={"p99 ms, 64 connections": 6.0}),
        Work("images32", "mlp", "binary", rows=32),
        Work("images32-json", "mlp", "json", rows=32),
        Work("oneconn", "mlp", "binary", connections=(1,), goals={"requests/s": 9000.0}),
    )
}
COLD_START: Final = Work("coldstart", "mlp", "binary")
COLD_START_GOAL: Final = 0.4
"""Seconds."""
