"""Engines over splits: a cluster calls one function for every part of a source, and rows never travel through it.

engine.py     `SplitEngine`, which an engine for a cluster is a subclass of: it maps a function over tasks, at least once
run.py        a run: cut into tasks, mapped, reconciled, and put where its output belongs
play.py       what a worker does with one task: reads its split, plays it, and commits what came out
folder.py     the folder that workers write to and the driver reads, beside the output
"""
