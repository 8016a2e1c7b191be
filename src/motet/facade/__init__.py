"""What users hold: graphs, and how they come about.

graph.py     Graph: run, serve, save, draw, and what its parts below add; load and member
opened.py    what a graph holds of models, and gives back
calls.py     called: columns, rows, streams, explanations
planning.py  evaluated, tuned, compared, planned
clusters.py  played inside pipelines of Beam, Ray and Spark
"""

from motet.facade.graph import Graph, load, member

__all__ = ["Graph", "load", "member"]
