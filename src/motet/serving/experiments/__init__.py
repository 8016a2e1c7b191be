"""Experiments of a running server: which arm each row met, what became of it, and what follows.

answer_ids.py   signed ids of answers, which feedback names         arms.py        what a graph plays of its experiments
hook.py         notes exposures, between a batcher and the sinks     feedback.py    takes outcomes, each row by itself
tables.py       what is written of both                              database.py    reads it, and the decisions
decisions.py    what was decided: promote, stop, ramp                experiments.py all of it, for one process
guardian.py     ramps go on, guardrails hold

An id carries all that is known of an exposure, signed. So forged ids are told without asking a database, and feedback that
comes before its exposure was written needs not wait for it. An outcome stands once for each answer and metric; the last one
counts.
"""
