"""Training on one worker and on several: the same result, through deaths and restarts, or an error that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import training_jobs
from motet.errors import InputError, TrainingError

pytest.importorskip("torch")

NUM_STEPS = 3 * 512 // 32


@pytest.fixture(scope="module")
def rows() -> Any:
    return mt.data.made(training_jobs.rows, 512).shuffle(4)


@pytest.fixture(scope="module")
def alone(rows: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What one worker learns, undisturbed."""
    return mt.train.distributed(training_jobs.train, rows, str(tmp_path_factory.mktemp("alone")), workers=1)


def steps(folder: Path, rank: int = 0) -> list[tuple[int, int]]:
    lines = (folder / f"steps-{rank}.txt").read_text().splitlines()
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def test_one_worker_learns_in_this_process(alone: Any) -> None:
    np.testing.assert_allclose(alone["weight"][0], np.arange(6), atol=0.1)
    assert (alone["mean_rank"], alone["sum_ones"], alone["attempt"]) == (0, 1, 0)


def test_two_workers_learn_what_one_does_though_one_is_killed(rows: Any, alone: Any, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoints"
    both = mt.train.distributed(
        training_jobs.train, rows, str(tmp_path), "kill", workers=2, threads=1, checkpoints=kept
    )
    np.testing.assert_allclose(both["weight"], alone["weight"], rtol=1e-3, atol=1e-4)
    assert (both["mean_rank"], both["sum_ones"], both["attempt"], both["threads"]) == (0.5, 2, 1, 1)
    taken = steps(tmp_path)
    again = [step for attempt, step in taken if attempt == 1]
    # Worker 0 may have begun step 20 before it heard of the other's death; no step before it is taken twice.
    assert again == list(range(again[0], NUM_STEPS))
    assert again[0] in (19, 20)
    assert [step for attempt, step in taken if attempt == 0][: again[0]] == list(range(again[0]))
    assert not list(kept.rglob("*.pt")), "a training that ended removes its checkpoints"


def test_workers_that_drift_apart_are_told(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"the 2 workers end with different parameters\n  hint: change parameters by"
    ):
        mt.train.distributed(training_jobs.train, rows, str(tmp_path), "drift", 2, workers=2, threads=1, max_restarts=0)


def test_a_bug_in_a_worker_is_told_and_not_tried_again(rows: Any, tmp_path: Path) -> None:
    message = r"training_jobs\.py:\d+: worker 1 of 2 failed: ValueError: the labels are wrong"
    with pytest.raises(TrainingError, match=message) as raised:
        mt.train.distributed(training_jobs.train, rows, str(tmp_path), "bug", workers=2, threads=1)
    assert "raise ValueError" in raised.value.__notes__[0]
    assert {attempt for attempt, _ in steps(tmp_path)} == {0}


def test_a_worker_that_dies_each_time_ends_the_training() -> None:
    with pytest.raises(TrainingError, match=r"a worker died: Signal 9 \(SIGKILL\)"):
        mt.train.distributed(training_jobs.die_always, workers=2, threads=1, max_restarts=0)


def test_an_interrupted_training_goes_on_to_the_same_bits(rows: Any, alone: Any, tmp_path: Path) -> None:
    arguments = (training_jobs.train, rows, str(tmp_path), "interrupt")
    with pytest.raises(InterruptedError):
        mt.train.distributed(*arguments, workers=1, checkpoints=tmp_path / "checkpoints")
    monkey = pytest.MonkeyPatch()
    monkey.setattr(training_jobs, "meet", lambda trouble: None)
    again = mt.train.distributed(*arguments, workers=1, checkpoints=tmp_path / "checkpoints")
    monkey.undo()
    assert [step for _, step in steps(tmp_path)] == list(range(NUM_STEPS))
    np.testing.assert_array_equal(again["weight"], alone["weight"])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    kept = mt.train.Checkpoints(tmp_path, "one")
    for step in (1, 2, 3):
        kept.save(step, {"step": step})
    assert sorted(path.name for path in kept.folder.iterdir()) == ["000000000002.pt", "000000000003.pt"]
    assert kept.load() == {"step": 3}
    (kept.folder / "000000000003.pt").write_bytes(b"PK\3\4 torn")
    assert kept.load() == {"step": 2}
    assert mt.train.Checkpoints(tmp_path, "another").load() is None
    for name in "abcdef":
        mt.train.Checkpoints(tmp_path, name).begin()
    assert len(list(tmp_path.iterdir())) == 4


def test_checkpoints_come_by_the_clock(rows: Any, tmp_path: Path) -> None:
    now = iter(range(1000))
    kept = mt.train.Checkpoints(tmp_path, "clocked")
    saved: list[int] = []
    kept.save = lambda step, state: saved.append(step)  # type: ignore[method-assign]
    worker = mt.train.Worker(checkpoints=kept, clock=lambda: float(next(now)))
    for _ in worker.steps(rows, batch_rows=64, num_epochs=1, state={}, checkpoint_every_s=3):
        pass
    assert saved[-1] == 8
    assert len(saved) < 5


def test_what_cannot_be_trained_is_refused(rows: Any, tmp_path: Path) -> None:
    two = mt.train.Worker(0, 2)
    with pytest.raises(InputError, match="batch_rows: 33 rows cannot be shared out among 2 workers"):
        next(two.steps(rows, batch_rows=33, num_epochs=1, state={}))
    with pytest.raises(InputError, match="has 512 rows, fewer than one batch of 1024"):
        next(two.steps(rows, batch_rows=1024, num_epochs=1, state={}))
    with pytest.raises(InputError, match="does not say how many rows it has"):
        next(two.steps(mt.data.blocks(lambda: []), batch_rows=2, num_epochs=1, state={}))
    with pytest.raises(InputError, match="cannot train with 0 workers"):
        mt.train.distributed(training_jobs.train, workers=0)
    with pytest.raises(InputError, match="what the function is called with cannot be pickled"):
        mt.train.distributed(training_jobs.train, lambda: None, workers=2)
    with pytest.raises(InputError, match="the function must be found by name") as refused:
        mt.train.distributed(lambda worker: 1, workers=2)
    assert "or say workers=1" in str(refused.value)
    assert mt.train.default_workers() >= 1
