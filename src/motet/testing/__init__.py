"""For tests of graphs, models and engines: fakes.py has models that fail on purpose, conformance.py what engines must do."""
