"""Which models stay loaded where not all of them fit.

policy.py       which are loaded, who waits for which, and what to load and to let go next; no threads, no clock
cache.py        does it: loads and drops models in threads of its own, hands loaded ones to those who wait
lazy_models.py  the models of one graph that are loaded when rows come for them
"""
