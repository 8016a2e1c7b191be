"""Nobody writes into what others read: models get columns that cannot be changed; one that writes gets its own."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import motet as mt
from motet.errors import RowErrors

X = 100 + np.random.default_rng(0).normal(size=(80, 3))


def models_of(tmp_path):
    """Models that write to what they get, with what each says of rows by itself."""
    import joblib
    from sklearn import preprocessing
    from sklearn.decomposition import PCA
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    made = [
        *(getattr(preprocessing, name)(copy=False) for name in (
            "StandardScaler", "MinMaxScaler", "RobustScaler", "Normalizer", "MaxAbsScaler", "Binarizer", "PowerTransformer",
        )),
        preprocessing.QuantileTransformer(n_quantiles=10, copy=False),
        SimpleImputer(copy=False),
        PCA(2, copy=False),
    ]  # fmt: skip
    for each in made:
        path = tmp_path / f"{type(each).__name__}.joblib"
        joblib.dump(make_pipeline(each, LogisticRegression()).fit(X.copy(), X[:, 0] > 100), path)
        yield path, lambda rows, path=path: joblib.load(path).predict_proba(rows.copy())


def test_estimators_without_copies_harm_no_other_member(tmp_path):
    for path, own in models_of(tmp_path):
        f, model = mt.input("f", "float64[3]"), mt.Model(str(path))
        vote = mt.ensemble({"a": model, "b": model}, mt.map(lambda f: f + 0, f, outputs="float64[3]", name="x"), output="probabilities")  # fmt: skip
        graph = mt.Graph("g", {"a": vote.a.probabilities, "b": vote.b.probabilities, "x": f})
        given = X[:5].copy()
        for _ in range(2):
            answer = graph({"f": given})
            np.testing.assert_allclose(answer["a"], own(X[:5]), rtol=1e-9)
            np.testing.assert_allclose(answer["b"], own(X[:5]), rtol=1e-9)
            np.testing.assert_array_equal(answer["x"], X[:5])
            np.testing.assert_array_equal(given, X[:5])
        graph.run({"f": X[:5]}, str(tmp_path / "o.parquet"), batch_rows=2, overwrite=True)
        table = pq.read_table(tmp_path / "o.parquet")
        np.testing.assert_allclose(np.array(table["b"].to_pylist()), own(X[:5]), rtol=1e-9)
        np.testing.assert_array_equal(np.array(table["x"].to_pylist()), X[:5])


@pytest.mark.parametrize("placement", [None, "thread", "process"])
@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("plus_one", lambda x: x + 1),
        ("sorted_in_place", lambda x: np.sort(x, axis=1)),
        ("through_a_list", lambda x: x[:, ::-1]),
    ],
)
def test_a_model_that_writes_gets_columns_of_its_own(name, own, placement, tmp_path):
    kinds: dict[str, Any] = {"inputs": {"x": "float64[3]"}, "outputs": {"y": "float64[3]"}}
    model = mt.Model(f"python:helpers.writers:{name}", name, placement=placement, **kinds)
    x = mt.input("x", "float64[3]")
    graph = mt.Graph("g", {"a": mt.model(model, x), "b": mt.model(model, x), "x": x})
    given = X[:5].copy()
    for _ in range(2):
        answer = graph({"x": given})
        for output, wanted in {"a": own(X[:5]), "b": own(X[:5]), "x": X[:5]}.items():
            np.testing.assert_array_equal(answer[output], wanted)
        np.testing.assert_array_equal(given, X[:5])


@pytest.mark.parametrize("write", [
    lambda x: x.__iadd__(1), lambda x: x.__setitem__(0, 1), lambda x: x.sort(), lambda x: x.fill(0), lambda x: np.put(x, 0, 1),
    lambda x: np.clip(x, 0, 1, out=x), lambda x: np.random.default_rng(0).shuffle(x), lambda x: x.flat.__setitem__(0, 1),
    lambda x: memoryview(x).cast("B").__setitem__(0, 1), lambda x: pd.Series(x[:, 0], copy=False).values.fill(0),
])  # fmt: skip
def test_a_function_that_writes_is_told_to_copy(write):
    graph = mt.Graph("g", {"y": mt.map(write, mt.input("x", "float64[3]"), outputs="float64[3]")})
    given = X[:2].copy()
    with pytest.raises(
        RowErrors, match=r"read-only.*; what is given is shared, so change a copy of it: x = x.copy\(\) \("
    ):
        graph({"x": given})
    np.testing.assert_array_equal(given, X[:2])


def test_what_only_speaks_of_reading_fails_its_rows():
    model = mt.Model("python:helpers.writers:unwilling", "m", inputs={"x": "float64[3]"}, outputs={"y": "float64[3]"})
    with pytest.raises(RowErrors, match="ValueError: this database is read-only"):
        mt.Graph("g", {"y": mt.model(model, mt.input("x", "float64[3]"))})({"x": X[:2]})


def test_a_script_of_torch_that_writes_harms_no_other_member(tmp_path):
    torch = pytest.importorskip("torch")

    class Adds(torch.nn.Module):  # type: ignore[name-defined]
        def forward(self, x):
            return x.add_(1)

    torch.jit.script(Adds()).save(str(tmp_path / "adds.pt"))
    kinds: dict[str, Any] = {"inputs": {"x": "float32[3]"}, "outputs": {"y": "float32[3]"}}
    model, x = mt.Model(str(tmp_path / "adds.pt"), **kinds), mt.input("x", "float32[3]")
    graph = mt.Graph("g", {"a": mt.model(model, x), "b": mt.model(model, x), "x": x})
    given = np.zeros((2, 3), np.float32)
    for _ in range(3):
        answer = graph({"x": given})
        assert (answer["a"] == 1).all()
        assert (answer["b"] == 1).all()
        assert not answer["x"].any()
        assert not given.any()
