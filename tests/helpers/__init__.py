"""Importable models, functions and files that tests' graphs name."""
