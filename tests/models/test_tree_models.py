from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from motet.errors import ModelLoadError, TypeMismatchError, UnknownNameError
from motet.models import handler_by_name

random = np.random.default_rng(0)
X = random.normal(size=(400, 5)).astype(np.float32)
Y = {
    "two": (X[:, 0] > 0).astype(int),
    "three": np.digitize(X[:, 0], [-0.5, 0.5]),
    "number": X[:, 0] * 2 + X[:, 1],
}
OBJECTIVES = {
    "xgboost": {"two": "binary:logistic", "three": "multi:softprob", "number": "reg:squarederror"},
    "lightgbm": {"two": "binary", "three": "multiclass", "number": "regression"},
}
FRAMEWORKS = pytest.mark.parametrize("framework", ["xgboost", "lightgbm"])


@pytest.fixture
def train(tmp_path: Path) -> Any:
    """Train on X (or a frame of it), write a model file, return it with the framework's own predictions of X."""

    def make(framework: str, target: str, frame: Any = X, objective: str | None = None, **more: Any) -> tuple[str, Any]:
        settings = {"objective": objective or OBJECTIVES[framework][target], **more}
        settings |= {"num_class": 3} if target == "three" else {}
        if framework == "xgboost":
            data = xgboost.DMatrix(frame, Y[target])
            booster = xgboost.train({**settings, "nthread": 1}, data, 5)
            path, expected = str(tmp_path / "m.ubj"), booster.predict(data)
        else:
            booster = lightgbm.train(
                {**settings, "verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame, Y[target]), 5
            )
            path, expected = str(tmp_path / "m.lgb"), booster.predict(frame)
        booster.save_model(path)
        return path, expected

    return make


@FRAMEWORKS
@pytest.mark.parametrize(
    ("target", "outputs"),
    [("two", "probabilities: float64[2]"), ("three", "probabilities: float64[3]"), ("number", "value: float64")],
)
def test_the_objective_decides_what_it_gives(
    train: Any, source: Any, framework: str, target: str, outputs: str
) -> None:
    path, expected = train(framework, target)
    handler = handler_by_name(framework)
    signature = handler.signature(source(path))
    assert str(signature) == f"(features: float64[5]) -> ({outputs})"
    ((name, kind),) = signature.outputs.items()
    answer = handler.load(source(path))({"features": X})[name]
    assert (answer.dtype, answer.shape) == (np.float64, (400, *kind.shape))
    own = np.stack([1 - expected, expected], axis=1) if target == "two" else expected
    np.testing.assert_allclose(answer, own, rtol=1e-6)


@FRAMEWORKS
def test_missing_values_are_nan(train: Any, source: Any, framework: str) -> None:
    holes = X.copy()
    holes[::3, 0] = np.nan
    path, expected = train(framework, "number", holes)
    answer = handler_by_name(framework).load(source(path))({"features": holes})["value"]
    np.testing.assert_allclose(answer, expected, rtol=1e-6)


@FRAMEWORKS
@pytest.mark.parametrize("target", ["two", "three", "number"])
def test_a_rows_answer_does_not_depend_on_its_batch_nor_on_other_threads(
    train: Any, source: Any, framework: str, target: str
) -> None:
    path, _ = train(framework, target)
    handler = handler_by_name(framework)
    model = handler.load(source(path, threads=2))
    ((name, _),) = handler.signature(source(path)).outputs.items()
    whole = model({"features": X})[name]

    def parts(size: int) -> Any:
        return np.concatenate([model({"features": X[at : at + size]})[name] for at in range(0, len(X), size)])

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(parts, [1, 2, 3, 7, 64, 65, 129, 399]):
            assert np.array_equal(answers, whole)
    assert handler.batch_invariant


@FRAMEWORKS
def test_columns_are_put_side_by_side_in_the_models_order(train: Any, source: Any, framework: str) -> None:
    path, expected = train(framework, "number", pd.DataFrame(X, columns=list("abcde")))
    columns = {name: X[:, number] for number, name in enumerate("abcde")}
    handler = handler_by_name(framework)
    for order in ("abcde", "ebcda"):
        given = source(path, inputs=dict.fromkeys(order, "float32"))
        np.testing.assert_allclose(handler.load(given)(columns)["value"], expected, rtol=1e-6)
    given = source(path, inputs={"first": "float32[2]", "rest": "float32[3]"})
    answer = handler.load(given)({"first": X[:, :2], "rest": X[:, 2:]})["value"]
    np.testing.assert_allclose(answer, expected, rtol=1e-6)


@FRAMEWORKS
def test_declared_types_win_where_the_shape_is_right(train: Any, source: Any, framework: str) -> None:
    path, _ = train(framework, "two")
    handler = handler_by_name(framework)
    given = source(path, inputs={"x": "float32[5]"}, outputs={"probabilities": "float32[2]"})
    assert handler.load(given)({"x": X})["probabilities"].dtype == np.float32
    with pytest.raises(
        TypeMismatchError, match=r"declared inputs \(x: float32\[4\]\) are 4 features, the model takes 5"
    ):
        handler.signature(source(path, inputs={"x": "float32[4]"}))
    with pytest.raises(TypeMismatchError, match="input 'd' is declared as string, the model takes float64"):
        handler.signature(source(path, inputs={**dict.fromkeys("abce", "float32"), "d": "string"}))
    with pytest.raises(UnknownNameError, match="unknown output of the model 'value'; known: probabilities"):
        handler.signature(source(path, outputs={"value": "float32"}))
    with pytest.raises(
        TypeMismatchError, match=r"'probabilities' is declared as float32\[3\], the model gives float64\[2\]"
    ):
        handler.signature(source(path, outputs={"probabilities": "float32[3]"}))


def test_lightgbm_keeps_features_of_many_digits(source: Any, tmp_path: Path) -> None:
    big = (1_600_000_000.0 + np.arange(400.0)).reshape(-1, 1)
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(settings, lightgbm.Dataset(big, np.arange(400.0)), 5)
    booster.save_model(tmp_path / "m.lgb")
    model = handler_by_name("lightgbm").load(
        source(tmp_path / "m.lgb", inputs={"time": "float64"}, outputs={"value": "float64"})
    )
    assert np.array_equal(model({"time": big[:, 0]})["value"], booster.predict(big))


@FRAMEWORKS
def test_fewer_rounds_can_be_used(train: Any, source: Any, framework: str) -> None:
    path, _ = train(framework, "number")
    handler = handler_by_name(framework)
    answers = [handler.load(source(path, options=given))({"features": X})["value"] for given in ({"iterations": 1}, {})]
    assert np.abs(answers[0] - Y["number"]).mean() > 1.3 * np.abs(answers[1] - Y["number"]).mean()
    for wrong in (0, "all", True):
        with pytest.raises(
            ModelLoadError, match=f"the option iterations is {wrong!r}\n  hint: give a whole number above 0"
        ):
            handler.load(source(path, options={"iterations": wrong}))


def test_softmax_gives_probabilities_too(train: Any, source: Any) -> None:
    path, expected = train("xgboost", "three", objective="multi:softmax")
    answer = handler_by_name("xgboost").load(source(path))({"features": X})["probabilities"]
    assert answer.argmax(axis=1).tolist() == expected.astype(int).tolist()
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)


def test_a_linear_booster_and_several_targets(train: Any, source: Any, tmp_path: Path) -> None:
    path, expected = train("xgboost", "number", booster="gblinear")
    answer = handler_by_name("xgboost").load(source(path))({"features": X})["value"]
    np.testing.assert_allclose(answer, expected, rtol=1e-6)
    both = xgboost.DMatrix(X, np.stack([Y["number"], -Y["number"]], axis=1))
    booster = xgboost.train({"nthread": 1}, both, 2)
    booster.save_model(tmp_path / "two.json")
    assert str(handler_by_name("xgboost").signature(source(tmp_path / "two.json")).outputs["value"]) == "float64[2]"
    answer = handler_by_name("xgboost").load(source(tmp_path / "two.json"))({"features": X})["value"]
    np.testing.assert_allclose(answer, booster.predict(both), rtol=1e-6)


@FRAMEWORKS
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe\x00"])
def test_what_is_no_model_is_refused(source: Any, tmp_path: Path, framework: str, content: bytes) -> None:
    (tmp_path / "m.ubj").write_bytes(content)
    handler = handler_by_name(framework)
    with pytest.raises(ModelLoadError, match=r"model 'm' \(.*\): .*\n  hint: write it with Booster\.save_model"):
        handler.signature(source(tmp_path / "m.ubj"))


def test_a_cut_off_lightgbm_model_is_refused(train: Any, source: Any) -> None:
    path, _ = train("lightgbm", "number")
    content = Path(path).read_text()
    Path(path).write_text(content[:80])
    with pytest.raises(ModelLoadError, match="the head of the file is broken: "):
        handler_by_name("lightgbm").signature(source(path))
    trees = content.index("Tree=0"), content.index("end of trees")
    for place in (*trees, *np.linspace(*trees, 9).astype(int)[1:-1]):
        Path(path).write_text(content[:place])
        with pytest.raises(ModelLoadError, match="the file ends before its last tree does"):
            handler_by_name("lightgbm").load(source(path))
    Path(path).write_text(content[: trees[0] - 9] + "\0" + content[trees[0] :])
    with pytest.raises(ModelLoadError, match="it is no text"):
        handler_by_name("lightgbm").load(source(path))


@FRAMEWORKS
def test_options_and_devices_that_it_does_not_have_are_refused(train: Any, source: Any, framework: str) -> None:
    path, _ = train(framework, "number")
    handler = handler_by_name(framework)
    with pytest.raises(UnknownNameError, match="unknown option 'iteration'; did you mean 'iterations'"):
        handler.signature(source(path, options={"iteration": 3}))
    with pytest.raises(ModelLoadError, match="models run on the cpu only, got device 'cuda'"):
        handler.load(source(path, device="cuda"))
