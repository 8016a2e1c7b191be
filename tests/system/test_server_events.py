"""Server-sent events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import RequestError
from motet.system import server_events
from motet.system.server_events import EventReader

STREAM = (
    b": hello\r\n\r\nevent: piece\r\ndata: one\r\ndata:two\r\n\r\nid: 7\nretry: 5\ndata:  three \n\nevent: lost\n\n"
    b"data\n\ndata: four\n\ndata: fi"
)
EVENTS = [("piece", b"one\ntwo"), ("", b" three "), ("", b"four")]


@given(st.integers(1, len(STREAM)))
def test_events_are_the_same_wherever_they_are_cut(size: int) -> None:
    reader = EventReader("m")
    found = [each for at in range(0, len(STREAM), size) for each in reader.take(STREAM[at : at + size])]
    assert found == EVENTS
    assert list(reader.take(b"ve\n\n")) == [("", b"five")]


def test_an_event_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_events, "MAX_EVENT_BYTES", 20)
    reader = EventReader("model 'm'")
    for _ in range(5):  # of many together that are short enough, none is
        assert list(reader.take(b"data: abc\n\n")) == [("", b"abc")]
    assert list(reader.take(b"data: ")) == []
    with pytest.raises(RequestError, match=r"model 'm': an event has more than 20 bytes"):
        list(reader.take(b"a" * 20))
