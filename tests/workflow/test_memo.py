"""What is kept, and when it is taken again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.workflow.memo import locks
from motet.workflow.memo.cache import Cache, cache_folder
from workflow.flow_steps import Calls

calls = Calls()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@mt.step(cache=True)
def square(x: Any) -> Any:
    calls.append(x)
    return x * x


@mt.workflow
def squares(values: Any) -> Any:
    return [square(x) for x in values]


def test_what_is_kept_is_not_computed_again() -> None:
    assert squares([1, 2]).run().output == [1, 4]
    run = squares([1, 2, 3]).run()
    assert run.output == [1, 4, 9]
    assert sorted(calls) == [1, 2, 3]
    assert [step.state for step in run.steps] == ["hit", "hit", "done"]
    assert run.steps[0].why.startswith("kept ")
    assert run.steps[2].why in ("x: 1 -> 3", "x: 2 -> 3")


def test_a_bare_step_is_run_in_each_run() -> None:
    @mt.step
    def bare() -> None:
        calls.append("bare")

    @mt.workflow
    def flow() -> None:
        bare()

    flow().run()
    flow().run()
    assert calls == ["bare", "bare"]


def test_parts_of_results_count_by_their_own_content() -> None:
    @mt.step
    def split(spare: Any) -> Any:
        return {"train": np.arange(3), "test": np.arange(spare)}

    @mt.step(cache=True)
    def fit(rows: Any) -> Any:
        calls.append("fit")
        return float(rows.sum())

    @mt.workflow
    def flow(spare: Any) -> Any:
        return fit(split(spare)["train"])

    flow(5).run()
    flow(6).run()
    assert calls == ["fit"]


def test_a_damaged_or_missing_artifact_is_made_anew() -> None:
    @mt.step(cache=True)
    def array() -> Any:
        calls.append("array")
        return np.arange(10)

    @mt.workflow
    def flow() -> Any:
        return array()

    kept = flow().run().steps[0].value.kept
    path = Cache(cache_folder()).artifacts.path(kept.leaves[0].digest)
    path.write_bytes(b"damaged")
    run = flow().run()
    assert run.steps[0].why.endswith("is damaged")
    path.unlink()
    run = flow().run()
    assert run.steps[0].why.endswith("is not there any more")
    assert calls == ["array"] * 3
    entry = Cache(cache_folder()).path(run.steps[0].key)
    Path(entry).write_bytes(b"{")
    assert flow().run().output.sum() == 45
    assert calls == ["array"] * 4


def test_named_files_count_by_content_and_paths_by_name(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("1")

    @mt.step(cache=True)
    def read(file: mt.File) -> str:
        calls.append("file")
        return Path(file).read_text()

    @mt.step(cache=True)
    def name(path: Any) -> Any:
        calls.append("path")
        return str(path)

    @mt.workflow
    def flow() -> Any:
        return read(mt.File(data)), name(data)

    flow().run()
    os.utime(data, (1, 1))
    flow().run()
    assert sorted(calls) == ["file", "path"]
    data.write_text("2")
    run = flow().run()
    assert run.output[0] == "2"
    assert calls.count("file") == 2
    assert run.steps[0].why.startswith(f"file: file {data} changed, ")


def test_a_file_that_a_step_wrote_is_there_again_after_a_hit(tmp_path: Path) -> None:
    target = tmp_path / "out" / "model.bin"

    @mt.step(cache=True)
    def export() -> Any:
        calls.append("export")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"weights")
        return target

    @mt.workflow
    def flow() -> Any:
        return export()

    flow().run()
    target.unlink()
    assert flow().run().output == target
    assert target.read_bytes() == b"weights"
    assert calls == ["export"]


@mt.step(cache=True, max_age="14d")
def fetch() -> Any:
    calls.append(1)
    return len(calls)


@mt.workflow
def fetched() -> Any:
    return fetch()


def test_a_result_is_too_old_after_its_age(clock: Any) -> None:
    assert fetched().run().output == 1
    clock[0] += 13 * 86400
    assert fetched().run().output == 1
    clock[0] += 2 * 86400
    run = fetched().run()
    assert run.output == 2
    assert run.steps[0].why == "kept 15 d ago, and may be 14 d old at most"
    clock[0] += 13 * 86400
    assert fetched().run().output == 2


def test_a_result_of_the_future_has_no_age(clock: Any) -> None:
    fetched().run()
    clock[0] -= 7200
    run = fetched().run()
    assert (run.output, run.steps[0].state) == (2, "done")
    assert run.steps[0].why == "kept 2 h after now, by the clock of this machine, so that its age is not known"
    assert fetched().run().steps[0].state == "hit"


def count_rows(rows: Any) -> Any:
    calls.append("count")
    return len(rows)


def accuracy(model: Any, rows: Any) -> Any:
    calls.append("accuracy")
    return 1 - abs(model["mean"] - float(np.mean(rows)))


def own_accuracy(model: Any) -> Any:
    return model["accuracy"]


@mt.step
def load(n: Any, offset: float = 0.0) -> Any:
    return np.full(n, offset)


def test_a_statistic_with_a_tolerance_decides() -> None:
    @mt.step(cache=mt.when_changed(count_rows, by=0.10))
    def train(rows: Any, epochs: Any) -> Any:
        calls.append("train")
        return {"rows": len(rows)}

    @mt.workflow
    def flow(n: Any, epochs: Any = 1) -> Any:
        return train(load(n), epochs)

    assert flow(100).run().output == {"rows": 100}
    run = flow(110).run()
    assert run.output == {"rows": 100}
    assert "count_rows: 100 -> 110, a change of 10%, at most 10%" in run.steps[1].why
    run = flow(111).run()
    assert run.output == {"rows": 111}
    assert run.steps[1].why == "count_rows: 100 -> 111, a change of 11%, more than 10%"
    assert flow(111, epochs=2).run().steps[1].state == "done"
    assert flow(120).run().output == {"rows": 111}
    assert calls.count("train") == 3
    counted = calls.count("count")
    flow(120).run()
    assert calls.count("count") == counted, "a statistic is kept by content"


def test_the_metric_of_the_result_decides() -> None:
    @mt.step(cache=mt.while_at_least(accuracy, 0.92))
    def train(rows: Any, seed: Any = 0) -> Any:
        calls.append("train")
        return {"mean": float(np.mean(rows))}

    @mt.workflow
    def flow(offset: Any) -> Any:
        return train(load(10, offset))

    flow(0.0).run()
    run = flow(0.05).run()
    assert run.output == {"mean": 0.0}
    assert run.steps[1].why.endswith("accuracy is 0.95, at least 0.92")
    run = flow(0.2).run()
    assert run.output == {"mean": 0.2}
    assert run.steps[1].why == "accuracy is 0.8, less than 0.92"
    assert calls.count("train") == 2


def test_a_metric_of_the_result_alone_lets_all_data_change() -> None:
    @mt.step(cache=mt.while_at_least(own_accuracy, 0.92))
    def train(rows: Any, good: Any) -> Any:
        calls.append("train")
        return {"accuracy": 0.95 if good else 0.5}

    @mt.workflow
    def flow(n: Any, good: Any) -> Any:
        return train(load(n), good)

    flow(3, True).run()
    assert flow(4, True).run().steps[1].state == "hit"
    flow(3, False).run()
    assert flow(3, False).run().steps[1].why == "own_accuracy is 0.5, less than 0.92"


def test_all_rules_of_a_mix_must_hold() -> None:
    @mt.step(cache=[mt.when_changed(count_rows, by=0.5), mt.while_at_least(accuracy, 0.9)])
    def train(rows: Any) -> Any:
        calls.append("train")
        return {"mean": float(np.mean(rows))}

    @mt.workflow
    def flow(n: Any, offset: Any) -> Any:
        return train(load(n, offset))

    flow(10, 0.0).run()
    assert flow(12, 0.05).run().steps[1].state == "hit"
    assert flow(20, 0.0).run().steps[1].why.startswith("count_rows: 10 -> 20, a change of 100%, more than 50%")
    assert flow(20, 0.3).run().steps[1].why.startswith("accuracy is 0.7")


def test_it_is_said_what_has_changed(project: Any) -> None:
    text = (
        "import motet as mt\nfrom parts import clean\n\n@mt.step(cache=True)\ndef train(kind, epochs=3):\n"
        "    return clean(kind), epochs\n\n@mt.workflow\ndef flow(kind='cnn', epochs=3):\n    return train(kind, epochs)\n"
    )
    project.write(user=text, parts="def clean(x): return x\n")

    def why(**parameters: Any) -> Any:
        return project.load("user").flow(**parameters).run().steps[0].why

    assert why() == "nothing is kept of this step yet"
    assert why(epochs=4) == "epochs: 3 -> 4"
    project.write(parts="def clean(x): return x.upper()\n")
    assert why() == "code of parts.clean changed"
    project.write(parts="from more import clean\n", more="def clean(x): return x\n")
    assert why().endswith("does not use parts.clean any more; now uses more.clean")
    project.write(user=text + "\n# a remark\ndef unrelated(): pass\n")
    assert why().startswith("kept ")


def test_classes_of_inputs_count_with_their_code(project: Any) -> None:
    text = (
        "import motet as mt\nfrom dataclasses import dataclass\n\n@dataclass\nclass Box:\n    x: int\n"
        "    def told(self): return self.x\n\n@mt.step\ndef make(): return Box(3)\n\n"
        "@mt.step(cache=True)\ndef use(box): return box.told()\n\n@mt.workflow\ndef flow(): return use(make())\n"
    )
    project.write(user=text)
    assert project.load("user").flow().run().output == 3
    project.write(user=text.replace("return self.x", "return -self.x"))
    assert project.load("user").flow().run().output == -3


@settings(max_examples=15)
@given(values=st.lists(st.integers(0, 4), min_size=1, max_size=8), num_runs=st.integers(2, 4))
def test_concurrent_runs_compute_a_key_once(
    tmp_path_factory: pytest.TempPathFactory, values: Any, num_runs: Any
) -> None:
    calls.clear()
    folder = tmp_path_factory.mktemp("cache")
    begin = threading.Barrier(num_runs)
    outputs = []

    def one() -> None:
        begin.wait(20)
        outputs.append(squares(values).run(cache=folder, resume=False).output)

    threads = [threading.Thread(target=one) for _ in range(num_runs)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert outputs == [[x * x for x in values]] * num_runs
    assert sorted(calls) == sorted(set(values))


def test_locks_of_many_folders_are_few_open_files(tmp_path: Path) -> None:
    held = tmp_path / "held" / "locks"
    assert locks.try_lock(held, "f" * 16)
    before = len(os.listdir("/proc/self/fd"))
    for place in range(100):
        with locks.key_lock(tmp_path / str(place) / "locks", "0" * 16, lambda: False) as lent:
            assert lent
    assert len(os.listdir("/proc/self/fd")) - before <= 32
    program = "import sys; from pathlib import Path; from motet.workflow.memo.locks import try_lock; print(try_lock(Path(sys.argv[1]), 'f' * 16))"
    told = subprocess.run([sys.executable, "-c", program, str(held)], capture_output=True, text=True, check=True).stdout
    assert told == "False\n", "one that is taken stays so"
    locks.unlock(held, "f" * 16)
