"""Ray: whole jobs, and graphs inside other people's data sets.

engine.py   whole jobs, over splits
play.py     data sets: `motet.ray.Play`, `Graph.on_ray()`
steps.py    steps of workflows: `motet.ray.Steps`
room.py     what a task or an actor asks for, and whether the cluster has it
"""
