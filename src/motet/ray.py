"""Graphs inside data sets of Ray: `Graph.on_ray(rows)`, and actors for `rows.map_batches`; and a place for steps of workflows."""

from motet.engines.ray.play import Play, PlayedDataset, actor_pool
from motet.engines.ray.steps import Steps

__all__ = ["Play", "PlayedDataset", "Steps", "actor_pool"]
