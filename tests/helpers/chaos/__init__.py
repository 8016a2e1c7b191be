"""Chaos: a server whose parts are killed, stopped, filled and lost at random, while every answer is checked.

    python -m tests.helpers.chaos --minutes 10 --seed 3

world.py    the server and what it needs: models, a Redis, a Postgres, a small disk, a clock that can be moved
clients.py  who asks, checks each answer against numpy, and knows which process it was connected to
faults.py   what happens to the server, and what its log must say of it
verdict.py  what came of it: answers, log, metrics, records

What the machine does not have (Redis, Postgres, a compiler for the clock, the right to mount) is left out, and said.
"""
