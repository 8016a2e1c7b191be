"""The precision of ONNX models: what is said, what is chosen, what is kept, and that nothing is chosen that answers otherwise."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from helpers import onnxes
from motet.cli import cli
from motet.engines.batch_worker import BatchWorker
from motet.engines.job import Job
from motet.errors import MissingExtraError, ModelLoadError, ResumeError, RowErrors, UnknownNameError
from motet.models.handler import ModelSource
from motet.models.onnx_precision import Precision, quantized_path
from motet.models.openvino import openvino_core
from motet.runtime.precision import kept, settle
from motet.runtime.precision.trials import Baseline
from motet.runtime.resolve import ModelResolver

ROWS = 400


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def able() -> Any:
    """What this processor can compute in, as OpenVINO calls it."""
    return openvino_core(ModelSource("m", "m")).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def x() -> Any:
    return np.random.default_rng(0).uniform(-1, 1, size=(ROWS, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, x: Any) -> Path:
    """A model, and rows for it in two formats."""
    folder = tmp_path_factory.mktemp("precision")
    onnxes.classifier(folder / "m.onnx", features=8, classes=4, hidden=64, sharpness=0.03)
    np.savez(folder / "rows.npz", x=x, another=x)
    pq.write_table(pa.table({"x": x.tolist()}, pa.schema([("x", pa.list_(pa.float32()))])), folder / "rows.parquet")
    return folder


def graph(folder: Path, **options: Any) -> mt.Graph:
    seen = mt.model(mt.Model(str(folder / "m.onnx"), "m", options=options), mt.input("x", "float32[8]"))
    return mt.Graph("g", {"p": seen.probabilities})


def options_of(what: mt.Graph) -> dict[str, Any]:
    return dict(what.checked.graph.models["m"].options)


def right(folder: Path, x: Any, name: str = "m.onnx") -> Any:
    return onnxruntime.InferenceSession(str(folder / name)).run(None, {"x": x})[0]


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How fast each precision is found to be; nothing is timed."""
    found: dict[str, float] = {}
    compared = Baseline.compared

    def told(self: Baseline, precision: Precision, tolerance: float | None) -> Any:
        trial = compared(self, precision, tolerance)
        return trial if trial.why else replace(trial, speed=found.get(str(precision), 1.0))

    monkeypatch.setattr(Baseline, "compared", told)
    monkeypatch.setattr(Baseline, "speed", lambda self, model, size: 1.0)
    monkeypatch.setattr(Baseline, "_best_size", lambda self, model: 32)
    return found


@pytest.fixture
def settled_times(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    times: list[str] = []
    settle_anew = settle._settle

    def counted(handler: Any, source: Any, *rest: Any) -> Any:
        times.append(str(source.options["precision"]))
        return settle_anew(handler, source, *rest)

    monkeypatch.setattr(settle, "_settle", counted)
    return times


# what is said is what is computed


def test_bf16_is_what_openvino_computes_in_bf16(folder: Path, x: Any, able: Any) -> None:
    if "BF16" not in able:
        pytest.skip("this processor does not compute in bf16")
    compiled = openvino_core(ModelSource("m", "m")).compile_model(
        str(folder / "m.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"}
    )
    what = graph(folder, precision="bf16")
    np.testing.assert_allclose(what({"x": x})["p"], compiled([x])[0], atol=1e-6)
    assert 1e-5 < np.abs(what({"x": x})["p"] - right(folder, x)).max() < 0.01
    located = ModelResolver().locate(what.models["m"], "")
    assert located.version.endswith("+bf16")
    assert located.handler.load(located.source).batch_invariant is False  # type: ignore[attr-defined]


def test_a_precision_that_the_processor_has_not_is_refused(folder: Path, x: Any, able: Any) -> None:
    missing = [name for name, said in (("bf16", "BF16"), ("f16", "FP16")) if said not in able]
    for name in missing:
        with pytest.raises(ModelLoadError, match=f"this processor does not compute in {name}"):
            graph(folder, precision=name)({"x": x})


def test_openvino_in_f32_answers_as_onnx_runtime(folder: Path, x: Any) -> None:
    np.testing.assert_allclose(graph(folder, backend="openvino")({"x": x})["p"], right(folder, x), atol=1e-6)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_int8_is_a_file_that_computes_in_int8(folder: Path, x: Any, backend: str) -> None:
    what = graph(folder, precision="int8", backend=backend, sample=str(folder / "rows.npz"))
    options = options_of(what)
    assert {*options} == {"precision", "backend", "quantized"}
    path = quantized_path(options["quantized"])
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(path).graph.node}
    answers = what({"x": x})["p"]
    np.testing.assert_allclose(answers, right(Path(path).parent, x, options["quantized"]), atol=0.01)
    assert 1e-5 < np.abs(answers - right(folder, x)).max() < 0.02


def test_int8_without_a_sample_takes_the_scale_of_each_row(folder: Path, x: Any) -> None:
    what = graph(folder, precision="int8-dynamic")
    answers = what({"x": x})["p"]
    assert np.abs(answers - right(folder, x)).max() < 0.02
    large = np.concatenate([x[:5], 1000 * x[5:6]])
    np.testing.assert_array_equal(what({"x": large})["p"][:5], answers[:5])  # whatever shares the call


def test_the_same_rows_make_the_same_file_in_every_process(folder: Path) -> None:
    what = graph(folder, precision="int8", sample=str(folder / "rows.parquet"))
    code = (
        "import sys, motet as mt\n"
        "model = mt.Model(sys.argv[1], 'm', options={'precision': 'int8', 'sample': sys.argv[2]})\n"
        "seen = mt.model(model, mt.input('x', 'float32[8]'))\n"
        "print(mt.Graph('g', {'p': seen.probabilities}).checked.graph.models['m'].options['quantized'])"
    )
    env = os.environ | {"MOTET_CACHE_DIR": str(folder / "other"), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, str(folder / "m.onnx"), str(folder / "rows.npz")]
    other = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()
    assert other == options_of(what)["quantized"]


def test_a_row_has_one_answer_called_and_in_bulk(folder: Path, x: Any, tmp_path: Path) -> None:
    what = graph(folder, precision="int8", sample=str(folder / "rows.npz"))
    called = what({"x": x})["p"]
    what.run(str(folder / "rows.parquet"), tmp_path / "out.parquet", batch_rows=37, workers=2)
    bulk = np.array(pq.read_table(tmp_path / "out.parquet")["p"].to_pylist(), np.float32)
    np.testing.assert_allclose(bulk, called, atol=1e-6)
    alone = np.concatenate([what({"x": x[row : row + 1]})["p"] for row in range(5)])
    np.testing.assert_allclose(alone, called[:5], atol=1e-6)


# what is chosen


def test_the_fastest_that_answers_alike_is_chosen(folder: Path, x: Any, speeds: dict[str, float]) -> None:
    speeds |= {"int8 by ONNX Runtime": 2.0, "f32 by OpenVINO": 1.5}
    what = graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    assert options_of(what)["precision"] == "int8"
    assert options_of(what)["backend"] == "onnxruntime"
    fresh = np.random.default_rng(1).uniform(-1, 1, size=(ROWS, 8)).astype(np.float32)
    answers, exact = what({"x": fresh})["p"], right(folder, fresh)
    assert np.abs(answers - exact).max() < 0.03
    ordered = np.sort(exact, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > 0.06
    assert sure.sum() > 20
    assert (answers.argmax(axis=1) == exact.argmax(axis=1))[sure].all()


def test_what_answers_otherwise_is_not_chosen_however_fast(folder: Path, speeds: dict[str, float]) -> None:
    speeds |= {"int8 by ONNX Runtime": 100.0, "int8 by OpenVINO": 99.0, "int8-dynamic by ONNX Runtime": 98.0}
    speeds |= {"bf16 by OpenVINO": 97.0, "f32 by OpenVINO": 1.2}
    what = graph(folder, precision="auto", sample=str(folder / "rows.npz"), tolerance=1e-5)
    assert options_of(what) == {"precision": "f32", "backend": "openvino"}


def test_f32_stays_where_nothing_is_much_faster(folder: Path, speeds: dict[str, float]) -> None:
    speeds |= {"int8 by ONNX Runtime": 1.09}
    what = graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    assert options_of(what) == {}
    located = ModelResolver().locate(what.checked.graph.models["m"], "")
    assert "+" not in located.version


def test_a_backend_that_is_said_is_the_one(folder: Path, speeds: dict[str, float]) -> None:
    speeds |= {"int8 by ONNX Runtime": 9.0, "f32 by OpenVINO": 0.5, "int8 by OpenVINO": 0.4, "bf16 by OpenVINO": 0.3}
    sample = str(folder / "rows.npz")
    assert options_of(graph(folder, precision="auto", backend="openvino", sample=sample))["backend"] == "openvino"
    options = options_of(graph(folder, precision="auto", backend="onnxruntime", sample=sample))
    assert options["backend"] == "onnxruntime"


def test_what_cannot_be_tried_is_told_and_left(folder: Path, speeds: dict[str, float], monkeypatch: Any) -> None:
    def missing(*_: Any) -> Any:
        raise MissingExtraError("onnx", "precision", "m")

    monkeypatch.setattr(settle, "quantized", missing)
    speeds["f32 by OpenVINO"] = 1.3
    what = graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    assert options_of(what) == {"precision": "f32", "backend": "openvino"}
    said = "\n".join(settle.told(options_of(what), ModelResolver().locate(what.models["m"], "").digest))
    assert "precision auto is f32 by OpenVINO: 1.30 times as fast as f32 by ONNX Runtime" in said
    assert "precision auto tried int8 by ONNX Runtime: m needs onnx, which is not installed" in said


def test_it_is_timed_where_nothing_is_faked(folder: Path) -> None:
    what = graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    (file,) = Path(quantized_path("")).glob("*.json")
    found = json.loads(file.read_text())
    assert found["options"] == options_of(what)
    assert found["told"][0].startswith("precision auto is ")
    assert len(found["told"]) >= 4


# what is kept


def test_it_is_chosen_once_for_all_processes(folder: Path, speeds: dict[str, float], settled_times: list[str]) -> None:
    speeds["int8 by ONNX Runtime"] = 2.0
    sample = {"sample": str(folder / "rows.npz")}
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: options_of(graph(folder, precision="auto", **sample)), range(4)))
    assert settled_times == ["auto"]
    assert all(each == found[0] for each in found)
    for other in ({"precision": "auto", "tolerance": 0.1}, {"precision": "int8"}):
        graph(folder, **sample, **other)
    assert settled_times == ["auto", "auto", "int8"]
    assert not list(Path(quantized_path("")).glob("*.lock"))


@pytest.mark.parametrize("what", ["machine", "_versions"])
def test_on_another_machine_it_is_chosen_anew(
    folder: Path, speeds: dict[str, float], settled_times: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    monkeypatch.setattr(settle, what, lambda: "another")
    graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    assert settled_times == ["auto", "auto"]


def test_what_is_gone_or_damaged_is_made_again(folder: Path, cache: Path, settled_times: list[str]) -> None:
    said: Mapping[str, Any] = {"precision": "int8", "sample": str(folder / "rows.npz")}
    (cache / "precisions" / options_of(graph(folder, **said))["quantized"]).unlink()
    graph(folder, **said)
    for file in (cache / "precisions").glob("*.json"):
        file.write_text("{")
    graph(folder, **said)
    assert len(settled_times) == 3


def test_only_so_many_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 2)
    monkeypatch.setattr(kept, "MOST_MODELS", 1)
    monkeypatch.setattr(kept, "DAY_S", -1.0)
    keeps = kept.KeptPrecisions()
    names = [keeps.put_model(bytes([number])) for number in range(3)]
    for place, name in enumerate(names):
        os.utime(cache / "precisions" / name, (place, place))
    for number in range(4):
        keeps.put(f"key{number}", {"options": {}})
        os.utime(cache / "precisions" / f"key{number}.json", (number, number))
    keeps.put("last", {"options": {}})
    left = sorted(path.name for path in (cache / "precisions").iterdir())
    assert left == sorted([names[-1], "key3.json", "last.json"])


def test_it_is_refused_where_it_cannot_be_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ModelLoadError, match="what is settled cannot be kept: Not a directory") as told:
        graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    assert "set MOTET_CACHE_DIR to a folder that can be written to" in told.value.hint


def test_what_is_settled_counts_where_the_folder_is_only_read(
    folder: Path, cache: Path, settled_times: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    said: Mapping[str, Any] = {"precision": "int8", "sample": str(folder / "rows.npz")}
    before = options_of(graph(folder, **said))
    monkeypatch.setattr(kept.os, "utime", refused)  # type: ignore[attr-defined]
    monkeypatch.setattr(kept, "write_whole", refused)
    monkeypatch.setattr(kept, "wait_for_lock", refused)
    assert options_of(graph(folder, **said)) == before
    assert settled_times == ["int8"]


# what others have of it


def test_workers_have_what_the_job_has(folder: Path, x: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = graph(folder, precision="int8", sample=str(folder / "rows.npz"))
    table = pq.read_table(folder / "rows.parquet")
    job, whole = (pickle.dumps(Job.of(what.checked, table.schema, ship=ship)) for ship in (False, True))
    given = table.to_batches()[0], np.arange(ROWS)
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(ModelLoadError, match="the int8 file that was made of it .* is not here"):
        BatchWorker(pickle.loads(job)).play(*given)
    found = BatchWorker(pickle.loads(whole)).play(*given)[0]
    np.testing.assert_allclose(np.array(found["p"].to_pylist(), np.float32), what({"x": x})["p"], atol=1e-6)


def test_a_run_does_not_go_on_with_another_choice(folder: Path, tmp_path: Path, speeds: dict[str, float]) -> None:
    class StoppedError(Exception):
        pass

    def stop(rows: int, *_: Any) -> None:
        if rows >= 100:
            raise StoppedError

    speeds["int8 by ONNX Runtime"] = 2.0
    said: Mapping[str, Any] = {"precision": "auto", "sample": str(folder / "rows.npz")}
    rows, output = str(folder / "rows.parquet"), tmp_path / "out.parquet"
    with pytest.raises(StoppedError):
        graph(folder, **said).run(rows, output, progress=stop, batch_rows=20, workers=1)
    for file in Path(quantized_path("")).glob("*.json"):
        file.unlink()
    speeds["int8 by ONNX Runtime"] = 1.0
    with pytest.raises(ResumeError, match="the graph, or a function it names, changed"):
        graph(folder, **said).run(rows, output, resume=True)


def test_check_says_what_was_chosen(folder: Path, cache: Path, tmp_path: Path, speeds: dict[str, float]) -> None:
    speeds["int8 by ONNX Runtime"] = 2.0
    what = graph(folder, precision="auto", sample=str(folder / "rows.npz"))
    what.save(tmp_path / "g.yaml")
    assert "precision: auto" in (tmp_path / "g.yaml").read_text()
    for place, text in enumerate(("{", "[]", '{"options": {}}')):
        (cache / "precisions" / f"damaged-{place}.json").write_text(text)
    told = CliRunner().invoke(cli, ["check", str(tmp_path / "g.yaml")])
    assert told.exit_code == 0, told.output
    assert "note: model 'm': computed in int8 by ONNX Runtime" in told.output
    assert "note: model 'm': precision auto is int8 by ONNX Runtime: 2.00 times as fast as f32" in told.output
    assert "note: model 'm': precision auto tried f32 by OpenVINO: 1.00 times as fast, off by up to" in told.output


# what is refused


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"precision": "int4"}, UnknownNameError, "unknown precision 'int4'; did you mean 'int8'. known: f32, bf16, f16, int8"),
        ({"backend": "tvm"}, UnknownNameError, "unknown backend 'tvm'; known: onnxruntime, openvino"),
        ({"precision": "bf16", "backend": "onnxruntime"}, ModelLoadError, "onnxruntime has no bf16 for ONNX models; it has"),
        ({"precision": "auto"}, ModelLoadError, "precision auto needs 100 rows that the model may meet"),
        ({"precision": "int8"}, ModelLoadError, "precision int8 needs 100 rows that the model may meet"),
        ({"precision": "bf16", "sample": "x.npz"}, ModelLoadError, "sample is for precision int8 and auto; it is bf16"),
        ({"precision": "int8", "tolerance": 0.1}, ModelLoadError, "tolerance is for precision auto; it is int8"),
        ({"precision": "auto", "tolerance": 7}, ModelLoadError, "tolerance must be a number from 0 to below 1; got 7"),
        ({"precision": "auto", "sample": 3}, ModelLoadError, "sample is the name of a file; got 3"),
        ({"precision": "bf16", "providers": ["CPUExecutionProvider"]}, ModelLoadError, "and providers is said, too"),
        ({"precision": "auto", "sample": "no.npz"}, ModelLoadError, "no.npz"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(folder: Path, options: Mapping[str, Any], kind: type[Exception], why: str) -> None:
    with pytest.raises((kind, FileNotFoundError, ValueError), match=why):
        graph(folder, **options)


def _savez(rows: Mapping[str, Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "rows.npz", **rows)
        return folder / "rows.npz"

    return write


def _parquet(rows: list[Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pq.write_table(pa.table({"x": pa.array(rows, pa.list_(pa.float32()))}), folder / "rows.parquet")
        return folder / "rows.parquet"

    return write


MANY = np.random.default_rng(2).normal(size=(150, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (_savez({"x": MANY[:90]}), "90 different rows; a precision is tried on 100 at least"),
        (_savez({"x": np.repeat(MANY[:10], 20, axis=0)}), "10 different rows"),
        (_savez({"y": MANY}), "no array 'x', an input of the model; it has y"),
        (_savez({"x": MANY[:, :5]}), r"column 'x'.*5.*float32\[8\]"),
        (_savez({"x": np.float32(3)}), "its array 'x' is one value, and has no rows"),
        (_savez({"x": MANY[:0]}), "it has no rows|0 different rows"),
        (_parquet([]), "it has no rows"),
        (_savez({"x": np.array([None] * 150)}), "cannot be read: Object arrays cannot be loaded"),
        (_parquet([None, *MANY.tolist()]), "row 0 of column 'x' is null"),
        (_parquet([[1.0, 2.0], *MANY.tolist()]), r"row 0 of column .x. is float32\[8\]; got shape \[2\]"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, write: Callable[[Path], Path], why: str
) -> None:
    path = write(tmp_path)
    with pytest.raises(mt.errors.MotetError, match=why) as told:
        graph(folder, precision="auto", sample=str(path))
    assert path.name in str(told.value)


def test_rows_that_are_not_finite_teach_no_scales(folder: Path, x: Any, tmp_path: Path) -> None:
    bad = x.copy()
    bad[10, 2], bad[20], bad[30] = np.nan, np.inf, -np.inf
    np.savez(tmp_path / "rows.npz", x=bad)
    answers = graph(folder, precision="int8", sample=str(tmp_path / "rows.npz"))({"x": x})["p"]
    assert np.abs(answers - right(folder, x)).max() < 0.02
    bad[::2] = np.inf
    bad[::2, 0] = np.arange(len(bad) // 2)  # rows that differ
    np.savez(tmp_path / "none.npz", x=bad)
    with pytest.raises(ModelLoadError, match=r"sample .*none.npz: no scales can be learned of it: each second row"):
        graph(folder, precision="int8", sample=str(tmp_path / "none.npz"))


def test_scales_that_leave_no_answers_are_refused(folder: Path, x: Any, tmp_path: Path) -> None:
    large = x.copy()
    large[10] = 3e38
    np.savez(tmp_path / "rows.npz", x=large)
    with pytest.raises(ModelLoadError, match="in int8 its probabilities is infinite or NaN, by scales learned from"):
        graph(folder, precision="int8", sample=str(tmp_path / "rows.npz"))


def test_a_model_may_have_more_rows_a_call_than_scales_are_learned_from(folder: Path, x: Any, tmp_path: Path) -> None:
    model = onnx.load(folder / "m.onnx")
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 300
    onnx.save(model, tmp_path / "m.onnx")
    answers = graph(tmp_path, precision="int8", sample=str(folder / "rows.npz"))({"x": x})["p"]
    assert 0 < np.abs(answers - right(folder, x)).max() < 0.02


def test_a_model_in_which_nothing_is_quantized_is_refused(tmp_path: Path) -> None:
    weights = onnx.numpy_helper.from_array(np.eye(8), "w")
    rows = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, ["n", 8]) for name in ("x", "probabilities")
    ]
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["probabilities"])], "g", rows[:1], rows[1:], [weights]
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(made, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    np.savez(tmp_path / "rows.npz", x=MANY.astype(np.float64))
    sample = str(tmp_path / "rows.npz")
    seen = {"precision": "auto", "backend": "openvino", "sample": sample}, {"precision": "int8-dynamic"}
    whys = "answers as f32: it has values of 64 bits, or texts", "nothing in it can be computed in int8"
    for options, why in zip(seen, whys, strict=True):
        model = mt.Model(str(tmp_path / "m.onnx"), "m", options=options)
        with pytest.raises(ModelLoadError, match=why):
            mt.Graph("g", {"p": mt.model(model, mt.input("x", "float64[8]")).probabilities})


def test_a_quantized_file_is_int8_as_it_is_and_has_no_auto(folder: Path, x: Any) -> None:
    what = graph(folder, precision="int8", sample=str(folder / "rows.npz"))
    model = mt.Model(quantized_path(options_of(what)["quantized"]), "m", options={"precision": "int8"})
    again = mt.Graph("g", {"p": mt.model(model, mt.input("x", "float32[8]")).probabilities})
    np.testing.assert_array_equal(again({"x": x})["p"], what({"x": x})["p"])
    sampled = replace(model, options={"precision": "auto", "sample": str(folder / "rows.npz")})
    with pytest.raises(ModelLoadError, match="the model is quantized already"):
        mt.Graph("g", {"p": mt.model(sampled, mt.input("x", "float32[8]")).probabilities})


def test_samples_of_text_are_read_as_runs_read_them(folder: Path, tmp_path: Path, x: Any) -> None:
    lines = [json.dumps({"x": row}) for row in x.tolist()]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    found = options_of(graph(folder, precision="int8", sample=str(tmp_path / "rows.jsonl")))
    assert found == options_of(graph(folder, precision="int8", sample=str(folder / "rows.npz")))
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(mt.errors.MotetError, match=r"none\.jsonl"):
        graph(folder, precision="int8", sample=str(tmp_path / "none.jsonl"))


def test_rows_of_other_types_are_taken_where_they_are_the_same_numbers(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(3).integers(-9, 9, size=(200, 8)).astype(np.int8))
    assert "quantized" in options_of(graph(folder, precision="int8", sample=str(tmp_path / "rows.npz")))


def test_rows_fail_alone_in_every_precision(folder: Path, x: Any) -> None:
    what = graph(folder, precision="int8", backend="openvino", sample=str(folder / "rows.npz"))
    with pytest.raises(RowErrors) as told:
        what({"x": [*x[:3].tolist(), [1.0, 2.0]]})
    np.testing.assert_allclose(told.value.columns["p"], what({"x": x[:3]})["p"], atol=1e-6)
