"""Training on one worker and on several: the same result, through deaths and restarts, or an error that says why."""

from __future__ import annotations

import copy
import datetime
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import training_jobs
from motet.errors import InputError, TrainingError
from motet.training.launch import may_pass

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


def test_a_module_is_itself_with_any_number_of_workers(rows: Any) -> None:
    one = mt.train.distributed(training_jobs.train_parts, rows, workers=1)
    two = mt.train.distributed(training_jobs.train_parts, rows, workers=2, threads=1, max_restarts=0)
    for name, weight in one["weights"].items():
        if not name.startswith("by_worker"):
            np.testing.assert_allclose(two["weights"][name], weight, rtol=1e-3, atol=1e-4)
    # The gradient of mean(w x) is mean(x): half of worker 1's, since worker 0 counts as zero.
    assert not np.array_equal(two["weights"]["by_worker.weight"], one["weights"]["by_worker.weight"])
    assert list(two["weights"]) == list(one["weights"])
    assert (one["unused"], two["unused"]) == (None, None)
    assert (two["seen"], two["scale"]) == (one["seen"], 0.5) == (list(range(16)), 0.5)
    assert two["best"] == pytest.approx(one["best"], abs=0.5)


def test_a_wrong_shape_is_an_error_of_the_code_and_not_tried_again(rows: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        TrainingError, match=r"training_jobs\.py:\d+: worker 1 of 2 failed: RuntimeError: mat1 and mat2"
    ) as told:
        mt.train.distributed(training_jobs.train_parts, rows, "wrong shape", workers=2, threads=1)
    assert told.value.hint == "mend the cause and train again; no checkpoint is left, checkpoints=FOLDER keeps them"
    assert "started again" not in caplog.text


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (RuntimeError("mine"), False),
        (ValueError("mine"), False),
        (KeyError("mine"), False),
        (SystemExit(3), False),
        (FileNotFoundError("rows.csv"), False),
        (PermissionError("rows.csv"), False),
        (ConnectionResetError("gone"), True),
        (OSError(5, "Input/output error"), True),
        (MemoryError(), True),
    ],
)
def test_only_what_may_pass_is_tried_again(error: BaseException, passes: bool) -> None:
    with pytest.raises(type(error)) as raised:
        raise error
    assert may_pass(raised.value) is passes


def test_the_death_of_another_worker_may_pass() -> None:
    import torch
    import torch.distributed as dist

    for error in (dist.DistBackendError("peer"), dist.DistNetworkError("reset"), torch.OutOfMemoryError("full")):
        with pytest.raises(RuntimeError) as raised:
            raise error
        assert may_pass(raised.value)
    aborted = type("UnavailableError", (Exception,), {"__module__": "tensorflow.python.framework.errors_impl"})
    wrong = type("InvalidArgumentError", (Exception,), {"__module__": "tensorflow.python.framework.errors_impl"})
    assert (may_pass(aborted("peer")), may_pass(wrong("shape"))) == (True, False)
    with pytest.raises(ValueError, match="process group") as missing:
        dist.all_reduce(torch.zeros(1))
    assert not may_pass(missing.value)


def test_a_bug_in_a_worker_is_told_and_not_tried_again(rows: Any, tmp_path: Path) -> None:
    message = r"training_jobs\.py:\d+: worker 1 of 2 failed: ValueError: the labels are wrong"
    with pytest.raises(TrainingError, match=message) as raised:
        mt.train.distributed(training_jobs.train, rows, str(tmp_path), "bug", workers=2, threads=1)
    assert "raise ValueError" in raised.value.__notes__[0]
    assert {attempt for attempt, _ in steps(tmp_path)} == {0}


def test_a_program_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    program = tmp_path / "unguarded.py"
    program.write_text(
        "import motet as mt\ndef train(worker):\n    return 1\n"
        "mt.train.distributed(train, workers=2, threads=1, max_restarts=0)\n"
    )
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 1
    assert (
        "unguarded.py:4: worker 0 of 2 failed: the training begins anew while a worker loads the program" in ran.stderr
    )
    assert "hint: begin it under if __name__ == '__main__':" in ran.stderr


def test_trainings_at_the_same_time_give_each_its_result(rows: Any, tmp_path: Path) -> None:
    def train(name: str) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        return mt.train.distributed(training_jobs.train, rows, str(folder), "", 1, workers=2, threads=1)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(train, ("one", "other")))
    assert [each["sum_ones"] for each in found] == [2, 2]


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


class Said:
    """A part of a training that says what it has."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["best"]


def run(rows: Any, state: Any, folder: Path, stop: int = 99, change: Any = lambda state, number: None) -> list[int]:
    """Go through 16 steps, or up to one; gives the steps."""
    worker = mt.train.Worker(checkpoints=mt.train.Checkpoints(folder, "one"))
    taken = []
    for step in worker.steps(rows, batch_rows=32, num_epochs=1, state=state, checkpoint_every_s=0):
        if step.number == stop:
            break
        change(state, step.number)
        taken.append(step.number)
    return taken


@pytest.mark.parametrize(
    "value",
    [
        0.5, 3, True, "text", None, b"bytes", (1, 2), {1, 2}, OrderedDict(a=1), [1, {"a": 2.5}],
        np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), np.arange(3.0), np.array(["a", "bc"]),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:8]}",
)  # fmt: skip
@pytest.mark.parametrize("said", [True, False], ids=["said", "plain"])
def test_a_value_of_the_state_comes_back(rows: Any, tmp_path: Path, value: Any, said: bool) -> None:
    assert run(rows, {"mine": Said(value) if said else value}, tmp_path, stop=10) == list(range(10))
    state = {"mine": Said(None) if said else copy.copy(value)}
    assert run(rows, state, tmp_path) == list(range(10, 16))
    found = state["mine"].value if said else state["mine"]
    assert type(found) is type(value)
    np.testing.assert_array_equal(found, value)


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [Path("x"), Colour.RED, datetime.date(2026, 1, 1), SimpleNamespace(a=1), Decimal(1), lambda: 1, threading.Lock()],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("said", [True, False], ids=["said", "plain"])
def test_what_a_checkpoint_would_not_give_back_is_refused_before_the_work(
    rows: Any, tmp_path: Path, value: Any, said: bool
) -> None:
    began: list[int] = []
    with pytest.raises(InputError, match="state entry 'mine': a checkpoint would not give it back") as refused:
        run(rows, {"good": 1, "mine": Said(value) if said else value}, tmp_path, change=lambda _, at: began.append(at))
    assert "numbers, texts, tensors" in str(refused.value)
    assert "GLOBAL" not in str(refused.value)
    assert began == []


def test_a_value_that_becomes_one_which_cannot_be_read_ends_the_training_and_spares_the_checkpoint(
    rows: Any, tmp_path: Path
) -> None:
    def change(state: Any, number: int) -> None:
        state["best"] = Path("x") if number == 5 else number

    with pytest.raises(InputError, match="state entry 'best': a checkpoint would not give it back"):
        run(rows, {"best": 0}, tmp_path, change=change)
    state = {"best": -1}
    assert run(rows, state, tmp_path) == list(range(5, 16))


def test_values_that_a_training_holds_are_filled_again(rows: Any, tmp_path: Path) -> None:
    def change(state: Any, number: int) -> None:
        state["best"] = number
        state["losses"].append(number)
        state["deep"]["a"].append(number)
        state["sums"][0] += number

    def begin() -> dict[str, Any]:
        return {"best": -1, "losses": [], "deep": {"a": []}, "sums": np.zeros(2)}

    run(rows, begin(), tmp_path, stop=10, change=change)
    state = begin()
    losses, deep, sums = state["losses"], state["deep"]["a"], state["sums"]
    assert run(rows, state, tmp_path, change=change) == list(range(10, 16))
    assert losses == deep == list(range(16))
    assert (state["best"], sums[0]) == (15, sum(range(16)))


def test_a_state_that_cannot_be_set_again_is_refused(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="state entry 'best': cannot be set again in a mappingproxy"):
        run(rows, MappingProxyType({"best": 1}), tmp_path)
    run(rows, {"best": 1}, tmp_path / "other", stop=3)
    with pytest.raises(TrainingError, match="the checkpoint has best, and the state is worst"):
        run(rows, {"worst": 1}, tmp_path / "other")


def test_checkpoints_that_cannot_be_read_are_told(rows: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(rows, {"best": 1}, tmp_path, stop=5)
    older, newer = sorted(tmp_path.rglob("*.pt"))
    whole = newer.read_bytes()
    newer.write_bytes(whole[: len(whole) // 2])
    assert run(rows, {"best": 1}, tmp_path, stop=5) == [4]
    assert f"checkpoint {newer.name}: " in caplog.text
    assert f"going on from {older.name}" in caplog.text
    for path in tmp_path.rglob("*.pt"):
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="none of the 2 checkpoints can be read") as lost:
        run(rows, {"best": 1}, tmp_path)
    assert "remove the folder to begin anew" in str(lost.value)
    for path in tmp_path.rglob("*.pt"):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match="none of the 2 checkpoints can be read"):
        run(rows, {"best": 1}, tmp_path)


def test_a_full_disk_ends_no_training_that_is_under_way(
    rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def change(_: Any, number: int) -> None:
        if number == 4:
            monkeypatch.setattr(os, "fsync", full)
        if number == 9:
            monkeypatch.undo()

    assert run(rows, {"model": torch.nn.Linear(2, 1)}, tmp_path, change=change) == list(range(16))
    assert caplog.text.count("cannot be written, and the training goes on: [Errno 28]") == 5
    assert [path.name for path in sorted(tmp_path.rglob("*.*"))] == ["000000000015.pt", "000000000016.pt"]
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match="no checkpoint can be written: .*No space left"):
        run(rows, {"best": 1}, tmp_path / "other")


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
    with pytest.raises(InputError, match=r"dataset: a dict is no dataset\n  hint: make one: mt.data.arrays"):
        next(two.steps({"x": np.zeros(8)}, batch_rows=2, num_epochs=1, state={}))  # type: ignore[arg-type]
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
