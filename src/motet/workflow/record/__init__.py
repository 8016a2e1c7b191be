"""What runs leave behind, for who looks at them while they go and later.

runs.py     runs and their steps, in SQLite     metrics.py  what steps have logged     logs.py  what steps print
"""
