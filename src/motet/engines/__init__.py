"""What runs a graph from a source to a sink: one folder an engine behind one small protocol (engine.py)."""
