"""Replicas in processes of their own, and what parent and child say to each other."""
