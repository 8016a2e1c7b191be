"""The kinds of nodes, one a file: what each takes, what it gives, how it plays a batch.

    map       through a Python function
    model     through one model
    ensemble  through all members, results combined (combine.py)
    route     through one member, by key, by condition or by weighted split (split.py)
    cascade   through one member after another until one is confident
    shard     apart into pieces, each through a model, and together again

members.py and merge.py hold what nodes of several members share. What users' code gives is called through gate.py, made ours
by owned.py, and held to its type by contract.py and hold.py.
"""

from motet.nodes.cascade import Cascade, cascade
from motet.nodes.combine import COMBINERS
from motet.nodes.ensemble import Ensemble, ensemble
from motet.nodes.map import Map, map_
from motet.nodes.model import ModelNode, model
from motet.nodes.route import Route, route
from motet.nodes.shard import Shard, shard

__all__ = [
    "COMBINERS",
    "Cascade",
    "Ensemble",
    "Map",
    "ModelNode",
    "Route",
    "Shard",
    "cascade",
    "ensemble",
    "map_",
    "model",
    "route",
    "shard",
]
