"""What a program does on signals is kept."""

from __future__ import annotations

import signal
import threading

import pytest

from motet.system.signals import kept_signals


@pytest.mark.parametrize("numbers", [(), (signal.SIGTERM,), (signal.SIGTERM, signal.SIGHUP)])
def test_what_replaces_handlers_is_put_back_also_when_it_fails(numbers: tuple[signal.Signals, ...]) -> None:
    watched = numbers or (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(each) for each in watched]

    def fail() -> None:
        with kept_signals(*numbers):
            for each in watched:
                signal.signal(each, lambda number, frame: None)
            assert [signal.getsignal(each) for each in watched] != before
            raise ValueError("fails")

    with pytest.raises(ValueError, match="fails"):
        fail()
    assert [signal.getsignal(each) for each in watched] == before


def test_another_thread_sets_none() -> None:
    left: list[bool] = []

    def enter() -> None:
        with kept_signals():
            pass
        left.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert left, "no handler can be set there, and it is not tried"
