"""Graphs inside data sets of Ray: `Graph.on_ray(rows)`, and actors for `rows.map_batches`."""

from motet.engines.ray.play import Play, PlayedDataset, actor_pool

__all__ = ["Play", "PlayedDataset", "actor_pool"]
