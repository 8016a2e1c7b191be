"""`mt.log`: what is logged is with the run, whatever becomes of the process; two runs side by side."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import motet as mt
from motet import metrics_log
from motet.cli import cli
from motet.errors import InputError, UnknownNameError
from motet.metrics_log import MetricsDestination, logging_to, metrics_file, read_series
from workflow import metric_steps


@mt.step(cache=True)
def descend(rate: Any) -> Any:
    for epoch in range(4):
        mt.log(epoch, loss=rate ** (epoch + 1), **{"val/loss": epoch})  # type: ignore[arg-type]
    return rate


@mt.step(cache=True)
def same(text: Any) -> Any:
    return text


@mt.step
def plain(rate: Any) -> Any:
    return rate


@mt.workflow
def descent(rate: float = 0.5, text: str = "a") -> Any:
    return descend(rate), same("x"), plain(rate)


def values(run: Any, step: str = "descend", name: str = "loss") -> Any:
    return run.metrics[step][name].values


def test_what_a_step_logs_is_with_its_run() -> None:
    run = descent().run()
    assert list(run.metrics) == ["descend"]
    loss, other = run.metrics["descend"]["loss"], run.metrics["descend"]["val/loss"]
    assert (loss.numbers, loss.values, loss.last) == ((0, 1, 2, 3), (0.5, 0.25, 0.125, 0.0625), 0.0625)
    assert other.values == (0, 1, 2, 3)
    assert sorted(loss.times) == list(loss.times)
    assert mt.workflow.metrics(run.id) == mt.workflow.metrics("last") == run.metrics


def test_a_result_that_was_kept_has_the_metrics_of_the_run_that_made_it() -> None:
    descent().run()
    again = descent().run()
    assert [each.state for each in again.steps] == ["hit", "hit", "done"]
    assert values(again) == (0.5, 0.25, 0.125, 0.0625)
    assert values(descent(rate=0.1).run()) == pytest.approx((0.1, 0.01, 0.001, 0.0001))


def test_what_a_try_that_was_killed_has_logged_is_not_of_a_result_that_was_kept() -> None:
    descent().run()
    again = descent().run()
    folder = again._session.record.folder(again.id)
    MetricsDestination(metrics_file(folder), "descend").add(0, {"loss": 9.0})
    assert values(again) == (0.5, 0.25, 0.125, 0.0625)


def test_steps_side_by_side_log_to_themselves() -> None:
    @mt.step
    def log_many(number: Any) -> Any:
        for epoch in range(50):
            mt.log(epoch, value=number)
        return number

    @mt.workflow
    def many() -> Any:
        return [log_many(number) for number in range(8)]

    run = many().run(threads=4)
    assert len(run.metrics) == 8
    assert {(len(each["value"].values), *set(each["value"].values)) for each in run.metrics.values()} == {
        (50, number) for number in range(8)
    }


def test_a_process_of_a_step_logs_from_all_its_threads() -> None:
    run = metric_steps.one_step(metric_steps.in_a_process, (7,)).run()
    assert values(run, "in_a_process") == (7, 8)


def test_metrics_survive_a_kill_and_what_goes_on_replaces_what_came_after(tmp_path: Path) -> None:
    plan = metric_steps.one_step(metric_steps.killed_after, (str(tmp_path),))
    run = plan.run(check=False)
    if run.state == "failed":  # no retries were asked for: all that was logged is there
        assert values(run, "killed_after") == (0, 1, 2, 3)
        run = plan.run(resume=run.id)
    loss = run.metrics["killed_after"]["loss"]
    assert (loss.numbers, loss.values) == ((0, 1, 2), (0, 11, 12))


def test_of_several_workers_worker_0_counts() -> None:
    pytest.importorskip("torch")
    run = metric_steps.one_step(metric_steps.trained, (0.5, 2)).run()
    assert run.output == 2
    assert {name: each.values for name, each in run.metrics["trained"].items()} == {
        "loss": (0, 0.5, 1.0),
        "share[0]": (0, 0, 0),
        "share[1]": (1, 1, 1),
    }


def test_one_worker_logs_as_its_step() -> None:
    pytest.importorskip("torch")
    run = metric_steps.one_step(metric_steps.trained, (0.5, 1)).run()
    assert values(run, "trained") == (0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3.0),
        (np.array([2.5]), 2.5),
        (Fraction(1, 4), 0.25),
        (2**60, float(2**60)),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (math.nan, math.nan),
        (1e-300, 1e-300),
    ],
)
def test_numbers_of_all_kinds_are_kept_exactly(tmp_path: Path, given: Any, expected: Any) -> None:
    with logging_to(MetricsDestination(tmp_path / "m", "s")):
        mt.log(np.int64(3), value=given)  # type: ignore[arg-type]
    (found,) = read_series(tmp_path / "m")
    np.testing.assert_equal((found.numbers, found.values), ((3.0,), (expected,)))


def test_tensors_are_numbers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with logging_to(MetricsDestination(tmp_path / "m", "s")):
        mt.log(0, value=torch.tensor(0.5, requires_grad=True))
        with pytest.raises(InputError, match="value is tensor"):
            mt.log(0, value=torch.zeros(2))
    assert read_series(tmp_path / "m")[0].values == (0.5,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mt.log(1, loss="0.5"), "loss is '0.5', a str"),
        (lambda: mt.log(1, loss=None), "loss is None, a NoneType"),
        (lambda: mt.log(1, loss=[1]), r"loss is \[1\], a list"),
        (lambda: mt.log(1, loss=np.zeros(2)), r"loss is array\(\[0., 0.\]\), a ndarray"),
        (lambda: mt.log(1, loss=1j), "loss is 1j, a complex"),
        (lambda: mt.log(1, loss=10**400), "loss is 1000"),
        (lambda: mt.log("a", loss=1), "step is 'a', a str"),  # type: ignore[arg-type]
        (lambda: mt.log(math.nan, loss=1), "step is nan"),
        (lambda: mt.log(1), "no metric is given"),
        (lambda: mt.log(1, **{"a\nb": 1}), "is no name of a metric"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_number_is_refused_and_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_outside_of_a_run_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "motet.metrics"):
        mt.log(3, loss=0.25, accuracy=1)
    assert caplog.messages == ["3: loss=0.25, accuracy=1"]


def test_a_torn_line_and_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m"
    MetricsDestination(path, "s").add(0, {"loss": 1.0})
    with path.open("ab") as file:
        file.write(b'["s","x",0,1,')
    MetricsDestination(path, "s").add(1, {"loss": 2.0})
    with path.open("ab") as file:
        file.write(b'null\n{"a":1}\n[1,2,3]\n\xff\xfe\n["s","x",0,"NaN?",1,{"loss":1}]\n')
    assert read_series(path)[0].values == (1.0, 2.0)
    assert read_series(tmp_path / "none") == []


def test_only_what_was_added_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "m", []
    monkeypatch.setattr(metrics_log.json, "loads", lambda line, loads=json.loads: read.append(line) or loads(line))  # type: ignore[attr-defined]
    first = MetricsDestination(path, "s")
    for number in range(3):
        first.add(number, {"loss": float(number)})
    assert read_series(path)[0].values == (0.0, 1.0, 2.0)
    assert read_series(path)[0].values == (0.0, 1.0, 2.0)
    assert len(read) == 3
    with path.open("ab") as file:
        file.write(b'["s","x",0,1,5,{"lo')  # which another reader sees before it is whole
    assert read_series(path)[0].values == (0.0, 1.0, 2.0)
    with path.open("ab") as file:
        file.write(b'ss":7}]\n')
    assert read_series(path)[0].numbers == (0.0, 1.0)
    MetricsDestination(path, "s").add(4, {"loss": 8.0})
    assert (read_series(path)[0].values, len(read)) == ((0.0, 7.0, 8.0), 5)
    path.write_bytes(b"")
    assert read_series(path) == []
    others = [tmp_path / str(other) for other in range(4)]
    for other in others:
        other.touch()
        read_series(other)

    def is_known(each: Any) -> bool:
        return metrics_log._read.get((str(each), each.stat().st_dev, each.stat().st_ino)) is not None

    assert [each for each in (path, *others) if is_known(each)] == others


def test_many_points_are_thinned_and_rare_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_log, "_THINNED", 100)
    destination = MetricsDestination(tmp_path / "m", "s")
    for number in range(10_000):
        destination.add(number, {"loss": number})
    destination.add(5, {"final": 1.0})
    found = {each.name: each.numbers for each in read_series(tmp_path / "m")}
    assert found["loss"][:100] == tuple(range(100))
    assert 400 < len(found["loss"]) < 800
    assert found["loss"][-1] > 9_800
    assert found["final"] == (5,)


def test_numbers_for_which_there_is_no_room_are_told_and_spoil_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    destination, write = MetricsDestination(tmp_path / "m", "s"), os.write
    destination.add(0, {"loss": 1.0})
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        destination.add(1, {"loss": 2.0})
    destination.add(2, {"loss": 3.0})
    assert "there is no room for all of them" in caplog.text
    assert [each.values for each in read_series(tmp_path / "m")] == [(1.0, 3.0)]


def test_a_file_is_bounded_and_full_disks_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics_log, "_MOST_BYTES", 2_000)
    destination = MetricsDestination(tmp_path / "m", "s")
    for number in range(500):
        destination.add(number, {"loss": number})
    assert (tmp_path / "m").stat().st_size < 2_200
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    (tmp_path / "file").write_text("")
    MetricsDestination(tmp_path / "file" / "m", "s").add(1, {"loss": 1.0})
    assert "cannot be written" in caplog.text


def test_threads_lose_no_line(tmp_path: Path) -> None:
    destination = MetricsDestination(tmp_path / "m", "s")

    def add(start: Any) -> None:
        for number in range(start, start + 200):
            destination.add(number, {"loss": float(number)})

    threads = [threading.Thread(target=add, args=(200 * place,)) for place in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    (found,) = read_series(tmp_path / "m")
    assert sorted(found.numbers) == list(range(1200))
    assert found.numbers == found.values


def test_two_runs_are_compared() -> None:
    one, two = descent().run(), descent(rate=0.25).run()
    found = mt.workflow.compare(one.id, two.id)
    assert found.parameters == {"rate": ("0.5", "0.25"), "text": ("'a'", "'a'")}
    steps = {each.id: each for each in found.steps}
    assert steps["descend"].changes == ("rate: 0.5 -> 0.25",)
    assert steps["same"].changes == ()
    assert steps["same"].digests[0] == steps["same"].digests[1] != ""
    assert steps["plain"].changes == ("rate: 0.5 -> 0.25",)
    loss = next(each for each in found.metrics if each.name == "loss")
    assert (loss.series[0].last, loss.series[1].last) == (0.0625, 0.25**4)
    lines = [line.split() for line in str(found).splitlines()]
    assert ["*", "rate", "0.5", "0.25"] in lines
    assert ["text", "'a'", "'a'"] in lines
    assert ["descend", "rate:", "0.5", "->", "0.25"] in lines
    starred = [line[1:3] for line in lines if line[:1] == ["*"]]
    assert ["descend", "loss"] in starred
    assert ["descend", "val/loss"] not in starred
    assert not any(line[1] == "same" for line in lines if line[:1] == ["*"])


@pytest.mark.parametrize("cache", ["(cache=True)", ""])
def test_a_change_of_code_is_told(project: Any, cache: str) -> None:
    text = (
        f"import motet as mt\n@mt.step{cache}\n"
        + "def f(x):\n    return x + {}\n@mt.workflow\ndef w():\n    return f(1)\n"
    )
    project.write(compared=text.format(1))
    one = project.load("compared").w().run()
    project.write(compared=text.format(2))
    two = project.load("compared").w().run()
    (step,) = mt.workflow.compare(one.id, two.id).steps
    assert step.changes == ("code of compared.f changed",)
    assert (step.digests[0] != step.digests[1]) is bool(cache)


def test_the_commands_show_metrics_and_compare() -> None:
    one, two = descent().run(), descent(rate=0.25).run()
    shown = CliRunner().invoke(cli, ["workflow", "show", one.id])
    assert "loss: 0.0625 (0.0625 to 0.5, 4 points)" in shown.output
    as_json = json.loads(CliRunner().invoke(cli, ["workflow", "show", one.id, "--json"]).output)
    assert as_json["metrics"]["descend"]["loss"]["values"] == [0.5, 0.25, 0.125, 0.0625]
    told = CliRunner().invoke(cli, ["workflow", "compare", one.id, two.id])
    assert (told.exit_code, told.output) == (0, f"{mt.workflow.compare(one.id, two.id)}\n")
    found = json.loads(CliRunner().invoke(cli, ["workflow", "compare", one.id, two.id, "--json"]).output)
    assert found["parameters"]["rate"] == ["0.5", "0.25"]
    assert found == mt.workflow.compare(one.id, two.id).to_json()
    missing = CliRunner().invoke(cli, ["workflow", "compare", one.id, "nobody"])
    assert missing.exit_code == 2
    with pytest.raises(UnknownNameError, match="nobody"):
        mt.workflow.compare(one.id, "nobody")


def test_json_has_what_is_no_number_as_text() -> None:
    @mt.step
    def diverge() -> None:
        mt.log(0, loss=math.nan)
        mt.log(1, loss=math.inf)
        mt.log(2, loss=-math.inf)

    @mt.workflow
    def diverged() -> Any:
        return diverge()

    run = diverged().run()
    found = mt.workflow.compare(run.id, run.id).to_json()
    assert json.loads(json.dumps(found, allow_nan=False))["metrics"][0]["series"][0]["values"] == [
        "NaN",
        "Infinity",
        "-Infinity",
    ]
    assert not [line for line in str(mt.workflow.compare(run.id, run.id)).splitlines() if line.startswith("*")]


def test_a_run_that_others_have_forgotten_leaves_its_results(home: Any) -> None:
    descent().run()
    shutil.rmtree(home / "runs")
    assert descent().run().metrics == {}


def test_workers_of_a_program_of_ones_own_go_by_their_number(tmp_path: Path) -> None:
    for rank in (1, 0):
        with logging_to(MetricsDestination(tmp_path / "m", "s", worker=rank), whole_process=True):
            mt.log(0, loss=rank + 5)
    assert [each.values for each in read_series(tmp_path / "m")] == [(5.0,)]
    assert metrics_log.current_destination() is None
