"""A program that trains is run by torchrun as it is: its processes are the workers."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.training_jobs import rows, train
from motet.errors import InputError, TrainingError
from motet.system.processes import torchrun_rank
from motet.training import data, distributed
from motet.training.joined import is_worker, meet

PROGRAM = """
import os, pickle, sys
from helpers.training_jobs import rows, train
from motet.training import data, distributed

folder, trouble = sys.argv[1:]
made = data.made(rows, 256)
first = distributed(train, made, folder, trouble, workers=2, checkpoints=folder + "/checkpoints", threads=1)
second = distributed(train, made, folder, threads=1)
with open(f"{folder}/result-{os.environ['RANK']}", "wb") as file:
    pickle.dump((first, second), file)
"""
TESTS = Path(__file__).parent.parent


def torchrun(folder: Any, trouble: Any) -> Any:
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", str(folder / "program.py"), str(folder), trouble]
    env = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert found.returncode == 0, found.stderr
    return [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in (0, 1)]


def test_torchruns_processes_are_the_workers(tmp_path: Path) -> None:
    """One is killed in mid-epoch; all go on after the last checkpoint, and end as if nothing had been."""
    alone = distributed(train, data.made(rows, 256), str(tmp_path))
    results = torchrun(tmp_path, "kill")
    for first, second in results:
        np.testing.assert_allclose(first["weight"], alone["weight"], atol=1e-5)
        np.testing.assert_array_equal(first["weight"], results[0][0]["weight"])
        assert (first["mean_rank"], first["sum_ones"], first["attempt"]) == (0.5, 2, 1)
        np.testing.assert_allclose(second["weight"], alone["weight"], atol=1e-5)
    assert not list((tmp_path / "checkpoints").rglob("*.pt"))


def test_workers_meet_though_the_dead_have_left_their_names() -> None:
    import torch.distributed as dist

    store = dist.HashStore()
    store.set("motet/hello/1", "of one that died")
    names = []
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            found = set(pool.map(lambda rank: meet(store, rank, 3, 20), range(3)))
        assert len(found) == 1
        names += found
    assert len(set(names)) == 3
    with pytest.raises(TrainingError, match="not all of 2 workers came"):
        meet(store, 0, 2, 0)  # worker 1 has said hello, and is not there to thank
    with pytest.raises(TrainingError, match="worker 2 was not answered by worker 0"):
        meet(store, 2, 3, 0)


def test_another_number_of_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (torchrun_rank(), is_worker()) == (0, False)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    assert (torchrun_rank(), is_worker()) == (1, True)
    with pytest.raises(InputError, match="train: asks for 2 workers, and torchrun has started 3"):
        distributed(train, workers=2)
