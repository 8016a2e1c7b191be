"""Replicas: loaded copies of a model, and what keeps, replaces and chooses among them."""
