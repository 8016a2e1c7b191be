"""The precision that models of ONNX are computed in, settled when a graph is loaded.

settle.py    what a model's options leave open, settled: as it was before, or now; and what was found, for people
trials.py    each precision and backend beside f32: how fast, and whether it answers alike
judge.py     whether answers are those of f32
sample.py    the rows that all of this is tried on
kept.py      what was settled, kept by model, sample, machine and versions
"""

__all__ = ["OPEN"]

OPEN = ("auto", "int8", "int8-dynamic")
"""Precisions that leave something open."""
