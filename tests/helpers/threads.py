"""Threads that must end."""

import threading
from typing import Any


def all_end(before: Any) -> None:
    """Wait until every thread has ended that is not among these."""
    for thread in set(threading.enumerate()) - set(before):
        thread.join(20)
        assert not thread.is_alive(), thread.name
