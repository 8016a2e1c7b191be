"""Servers inside other programs: in a thread (background.py), and as an ASGI application (application.py)."""
