"""A short time of chaos, the same for a seed; `python -m tests.helpers.chaos --minutes 10` is a long one."""

import pytest

pytest.importorskip("tritonclient.grpc")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_answer_is_wrong_or_lost_and_every_incident_is_in_log_and_metrics(tmp_path):
    from helpers.chaos.__main__ import play

    found = play(tmp_path, seed=7, minutes=0, clients=3, small=True)
    assert not found.mistakes, found.text
