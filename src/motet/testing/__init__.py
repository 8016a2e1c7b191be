"""For tests of graphs, models and engines.

`check_golden` compares a graph's answers with a file (golden.py); `constant`, `fake` and the classes of fakes.py are models
that are small, or fail on purpose, for `Graph.with_models`; conformance.py is what engines must do, engines.py
what those must whose workers die.
"""

from motet.testing.fakes import Affine, Counting, Failing, Hungry, Scores, calls, constant, fake
from motet.testing.golden import check_golden

__all__ = [
    "Affine",
    "Counting",
    "Failing",
    "Hungry",
    "Scores",
    "calls",
    "check_golden",
    "constant",
    "fake",
]
