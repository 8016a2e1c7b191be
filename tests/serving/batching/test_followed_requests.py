"""What hooks know of requests between their batch and their answer."""

from __future__ import annotations

from motet.serving.batching.hooks import FollowedRequests
from serving.batching.batcher_live import Asked


def test_nothing_is_known_of_a_request_that_stands_where_a_lost_one_stood():
    followed = FollowedRequests[str]()
    for number in range(100):
        assert followed.take(Asked({}, 1)) == (None, 0)
        followed.follow([Asked({}, 2), Asked({}, 3)], [f"{number}", f"{number}, second"])  # and nobody answers them


def test_what_is_known_is_taken_once_with_its_first_row():
    followed, first, second = FollowedRequests[str](), Asked({}, 2), Asked({}, 3)
    followed.follow([first, second], ["one", "two"])
    assert [followed.known(second), *followed.take(second), *followed.take(second)] == ["two", "two", 2, None, 0]
    followed.follow([first], ["again"])
    assert followed.take(first) == ("again", 0)
