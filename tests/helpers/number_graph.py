"""The smallest graph of a file: whole numbers as floats."""

from __future__ import annotations

GRAPH = """
motet: 1
name: numbers
inputs: {x: int64}
nodes: {a: {map: motet.ops.columns.cast, inputs: [x], with: {dtype: float64}}}
outputs: {y: a}
"""
