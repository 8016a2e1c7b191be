"""Threads that must end."""

import threading


def all_end(before):
    """Wait until every thread has ended that is not among these."""
    for thread in set(threading.enumerate()) - set(before):
        thread.join(20)
        assert not thread.is_alive(), thread.name
