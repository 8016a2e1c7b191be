"""Model handlers of Beam answer the rows of a graph as Beam's `RunInference` answers the examples that they are."""

from __future__ import annotations

import logging
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import httpx
import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
import torch
import xgboost
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from onnx import TensorProto, helper
from scipy.sparse import csr_matrix

import motet as mt
from helpers import beam_handlers
from motet.errors import MissingExtraError, ModelFailedError, ModelLoadError, UnknownNameError
from motet.models import handler_by_name
from motet.models.beam import quiet

pytestmark = [  # Beam's handlers leave files open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
handler = handler_by_name("beam")
HERE = "helpers.beam_handlers"
A, B = np.arange(20, dtype=np.float32), np.arange(20, dtype=np.float32)[::-1] / 4
PAIRS = np.stack([A, B], axis=1)
FRAME = pd.DataFrame({"a": A, "b": B})
FOUND: list[Any] = []


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models as their frameworks save them."""
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("models")
    wanted = A > 7
    for name, rows in (("numbers", PAIRS), ("named", FRAME)):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(rows, wanted)))
    torch.save({"weight": torch.tensor([[2.0, -1.0]]), "bias": torch.tensor([0.5])}, folder / "linear.pt")
    torch.save({"weight": torch.tensor([3.0, 4.0])}, folder / "pair.pt")
    xgboost.XGBRegressor(n_estimators=3).fit(PAIRS, A * B).save_model(folder / "trees.json")
    given, got = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2]) for n in ("x", "y"))
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [given], [got])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "model.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam_handlers, "FOLDER", str(folder))
        yield


def put_by(result: Any) -> None:
    FOUND.append(result)


def by_beam(made: Any, examples: Sequence[Any]) -> list[Any]:
    """What `RunInference` answers, in the order of the examples."""
    FOUND.clear()
    with beam.Pipeline() as pipeline:
        created = pipeline | beam.Create(list(enumerate(examples)))
        _ = created | RunInference(KeyedModelHandler(made)) | beam.Map(put_by)
    return [getattr(each, "inference", each) for _, each in sorted(FOUND, key=lambda found: found[0])]


def graph(name: str, inputs: dict[str, str], outputs: Any = None, **options: Any) -> mt.Graph:
    """Of one model; its output is the only one, or those of a dict of types."""
    declared = outputs if isinstance(outputs, dict) else {} if outputs is None else {"output": outputs}
    made = mt.Model(f"beam:{HERE}:{name}", "m", inputs=inputs, outputs=declared, options=options)
    node = mt.model(made, *(mt.input(each, kind) for each, kind in inputs.items()), name="asked")
    return mt.Graph("g", {each: getattr(node, each) for each in declared or ["output"]})


def columns(inputs: dict[str, str]) -> dict[str, Any]:
    return {"x": PAIRS} if "x" in inputs else {"a": A, "b": B}


VECTOR, SCALARS = {"x": "float32[2]"}, {"a": "float32", "b": "float32"}
CASES: dict[str, tuple[str, dict[str, str], Any, dict[str, Any], Callable[[], list[Any]]]] = {
    "sklearn": ("sklearn_numpy", VECTOR, "bool", {}, lambda: list(PAIRS)),
    "sklearn of scalars": ("sklearn_numpy", SCALARS, "bool", {}, lambda: list(PAIRS)),
    "pandas": ("sklearn_pandas", SCALARS, "bool", {}, lambda: [FRAME.iloc[[row]] for row in range(20)]),
    "onnx": ("onnx_numpy", VECTOR, "float32[2]", {}, lambda: list(PAIRS)),
    "torch": ("torch_tensor", VECTOR, "float32[1]", {}, lambda: list(torch.tensor(PAIRS))),
    "torch of scalars": ("torch_tensor", SCALARS, "float32[1]", {}, lambda: list(torch.tensor(PAIRS))),
    "tensors": (
        "torch_tensors", SCALARS, {"sum": "float32", "pair": "float32[2]"}, {},
        lambda: [{"a": a, "b": b} for a, b in torch.tensor(PAIRS)],
    ),
    "arrays by name": (
        "Two", SCALARS, {"low": "float32", "all": "float32[2]"}, {},
        lambda: [{"a": np.asarray(a), "b": np.asarray(b)} for a, b in PAIRS],
    ),
    "xgboost": ("xgboost", VECTOR, "float32", {"kind": "Numpy"}, lambda: [row[None] for row in PAIRS]),
    "xgboost pandas": (
        "xgboost", SCALARS, "float32", {"kind": "Pandas"}, lambda: [FRAME.iloc[[row]] for row in range(20)],
    ),
    "xgboost scipy": ("xgboost", VECTOR, "float32", {"kind": "SciPy"}, lambda: [csr_matrix(row[None]) for row in PAIRS]),
    "value": ("Words", {"x": "float32"}, "string", {}, lambda: A.tolist()),
    "dict": ("Words", SCALARS, "string", {}, lambda: [{"a": a, "b": b} for a, b in PAIRS.tolist()]),
    "rows of beam": ("Rows", SCALARS, "string", {}, lambda: [beam.Row(a=a, b=b) for a, b in PAIRS.tolist()]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_are_answered_as_run_inference_answers_examples(case: str, tmp_path: Path) -> None:
    name, inputs, outputs, options, examples = CASES[case]
    made = graph(name, inputs, outputs, **options)
    wanted = by_beam(getattr(beam_handlers, name)(**options), examples())
    given = {"x": A} if case == "value" else columns(inputs)
    called = made(given)
    table = pa.table({each: list(column) for each, column in given.items()})
    run = made.run(table, batch_rows=3)
    for output in outputs if isinstance(outputs, dict) else ["output"]:
        beams = [each[output] if isinstance(outputs, dict) else each for each in wanted]
        beams = [np.asarray(each)[0] if "xgboost" in case else np.asarray(each) for each in beams]
        np.testing.assert_array_equal(np.asarray(called[output]), np.stack(beams))
        assert run[output].to_pylist() == [each.tolist() for each in beams]


def test_functions_around_a_handler_are_called_as_beam_calls_them() -> None:
    texts = ["1 2", "3", "4 5 6", "7", "8 9"]
    FOUND.clear()
    with beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create(texts) | RunInference(beam_handlers.prepared) | beam.Map(put_by)
    answers = graph("prepared", {"x": "string"}, "string")({"x": texts})["output"].tolist()
    assert answers == ["sum 1.5", "sum 1.5", "sum 7.5", "sum 3.5", "sum 8.5"]
    assert sorted(answers) == sorted(FOUND)
    assert graph("of_rows", SCALARS, "float32")({"a": A[:9], "b": B[:9]})["output"].tolist() == (A + B)[:9].tolist()


def test_boosters_are_given_rows_of_their_own_kind() -> None:  # which Beam cannot hand on in a pipeline
    booster = xgboost.Booster(model_file=f"{beam_handlers.FOLDER}/trees.json")
    answers = graph("xgboost", SCALARS, "float32", kind="Numpy", model="Booster")({"a": A, "b": B})
    np.testing.assert_array_equal(answers["output"], booster.predict(xgboost.DMatrix(PAIRS)))


def test_batches_are_as_large_as_the_handler_bounds_them() -> None:
    for name, most in (("few", 3), ("light", 2)):  # of two numbers each, at most five
        made = getattr(beam_handlers, name)
        made.calls.clear()
        assert graph(name, VECTOR, "float32")({"x": PAIRS[:12]})["output"].tolist() == PAIRS[:12].sum(axis=1).tolist()
        assert max(made.calls) == most
    assert graph("batched", VECTOR, "float32")({"x": PAIRS[:12]})["output"].tolist() == PAIRS[:12].sum(axis=1).tolist()
    doubled = graph("sums", VECTOR, "float32", inference_args={"times": 2})
    assert doubled({"x": PAIRS[:12]})["output"].tolist() == (2 * PAIRS[:12].sum(axis=1)).tolist()


@pytest.mark.parametrize("name", ["sums", "few"])
def test_a_row_that_fails_fails_alone(name: str) -> None:
    answers, failures = graph(name, VECTOR, "float32")({"x": PAIRS}, failures="return")
    good = ~(PAIRS == 13).any(axis=1)
    assert answers["output"].tolist() == PAIRS[good].sum(axis=1).tolist()
    (failure,) = failures
    assert (failure.row, failure.node, failure.model, failure.error) == (13, "asked", "m", "ValueError")
    assert failure.message.startswith("thirteen (")


def test_a_handler_says_which_rows_failed() -> None:
    beam_handlers.some.calls.clear()
    asked = graph("some", VECTOR, {"sum": "float32", "most": "float32"})
    answers, (failure,) = asked({"x": PAIRS}, failures="return")
    good = PAIRS[~(PAIRS == 13).any(axis=1)]
    assert answers["sum"].tolist() == good.sum(axis=1).tolist()
    assert answers["most"].tolist() == good.max(axis=1).tolist()
    assert (failure.row, failure.model, failure.error) == (13, "m", "ValueError")
    assert beam_handlers.some.calls == [len(PAIRS)]


def test_a_result_too_few_is_no_answer() -> None:
    with pytest.raises(ModelFailedError, match="AnswerError: run_inference gave 0 results for 1 examples"):
        graph("Short", {"a": "float32"}, "string")({"a": A})


def test_examples_are_what_the_graph_says_where_the_handler_does_not() -> None:
    said = {
        kind: graph("Words", VECTOR, "string", example=kind)({"x": PAIRS[:1]})["output"][0]
        for kind in ("array", "matrix", "tensor", "tensors", "dict", "value")
    }
    assert {kind: text.partition(":")[0] for kind, text in said.items()} == {
        "array": "ndarray", "matrix": "ndarray", "tensor": "Tensor", "tensors": "dict", "dict": "dict", "value": "ndarray",
    }  # fmt: skip
    assert "[[" in said["matrix"]
    framed = graph("Words", SCALARS, "string", example="frame")({"a": A[:1], "b": B[:1]})["output"][0]
    assert framed == f"DataFrame: {FRAME.iloc[[0]]!r}"
    assert (
        graph("Single", VECTOR, "float32", example="matrix")({"x": PAIRS[:9]})["output"].tolist()
        == (A + B)[:9].tolist()
    )
    visits = graph("Visits", {"x": "float64", "note": "string"}, "string")({"x": [1.0], "note": ["a"]})
    assert visits["output"].tolist() == ["Visit: Visit(x=1.0, note='a')"]


def test_it_is_served() -> None:
    with graph("sums", VECTOR, "float32").serve(block=False, port=0, grpc_port=None) as server:
        told = httpx.post(f"{server.url}/predict/g", json={"x": [1.5, 2.0]}).json()
    assert told["output"] == 3.5


@pytest.mark.parametrize(
    ("name", "inputs", "options", "said"),
    [
        ("keyed", VECTOR, {}, "KeyedModelHandler is for examples behind keys.*\n  hint: name the handler inside it"),
        ("keyed_inside", VECTOR, {}, "KeyedModelHandler is for examples behind keys"),
        ("Sets", VECTOR, {}, r"it takes examples of type set\[int\], which rows are not"),
        ("FOLDER", VECTOR, {}, "is of type str, and no ModelHandler of Beam"),
        ("frame", VECTOR, {}, "is of type DataFrame, and no ModelHandler of Beam"),
        ("sums", {}, {}, "declare the model's inputs"),
        ("sums", VECTOR, {"by": 2}, "is made already, so it takes no options; got by"),
        ("sums", VECTOR, {"example": "list"}, "example: 'list' is none of array, matrix"),
        ("Words", SCALARS, {"example": "value"}, "it takes one value, and has 2 inputs: a, b"),
        ("Strict", VECTOR, {"inference_args": {"times": 2}}, "validate_inference_args of Strict failed: .*takes none"),
        ("unmade", VECTOR, {}, r"beam_handlers:unmade\(\) failed: TypeError.*\n  hint: it is in .*beam_handlers.py"),
        ("xgboost", VECTOR, {"kind": "Nothing"}, r"xgboost\(kind='Nothing'\) failed: AttributeError"),
    ],
)
def test_what_is_no_model_is_refused_when_the_graph_is_checked(
    name: str, inputs: dict[str, str], options: dict[str, Any], said: str, source: Any
) -> None:
    with pytest.raises(ModelLoadError, match=said):
        handler.signature(source(f"{HERE}:{name}", inputs, options=options))


def test_what_cannot_be_found_or_loaded_says_so(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="unknown name in helpers.beam_handlers .*'summs'; did you mean 'sums'"):
        handler.signature(source(f"{HERE}:summs", VECTOR))
    monkeypatch.setattr(beam_handlers, "FOLDER", "/nowhere")
    with pytest.raises(ModelLoadError, match="load_model of SklearnModelHandlerNumpy failed: .*nowhere/numbers.pkl"):
        handler.load(source(f"{HERE}:sklearn_numpy", VECTOR))
    with pytest.raises(ModelLoadError, match="set_environment_vars of Strict failed: KeyError: 'variables'"):
        handler.load(source(f"{HERE}:Strict", VECTOR))
    monkeypatch.setitem(sys.modules, "apache_beam.ml.inference.base", None)
    with pytest.raises(MissingExtraError, match="apache-beam"):
        handler.signature(source(f"{HERE}:sums", VECTOR))


def test_threads_that_make_handlers_at_the_same_time_leave_logging_as_it_was() -> None:
    def make() -> None:
        for _ in range(2000):
            with quiet():
                pass

    before = logging.root.manager.disable
    threads = [threading.Thread(target=make) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert logging.root.manager.disable == before
