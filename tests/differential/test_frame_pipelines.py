"""Pipelines on frames with missing numbers, texts and whole numbers: what scikit-learn itself says, whatever shares a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

import motet as mt

NUMBERS, TEXTS = ["age", "income"], ["home", "job"]


def people(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "home": random.choice(["rent", "own", "family"], rows),
            "age": random.integers(18, 80, rows),
            "income": random.gamma(4, 8000, rows).round(2),
            "job": random.choice(["fixed", "free"], rows),
        }
    )
    for name in ("home", "income", "job"):
        frame.loc[random.random(rows) < 0.25, name] = None
    return frame


def pipeline(kind: str) -> Any:
    texts: dict[str, Any] = {
        "imputed": make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
        "constant": make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder()),
        "missing is a category": OneHotEncoder(handle_unknown="ignore"),
        "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    }
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    last = HistGradientBoostingClassifier(max_iter=5) if kind == "ordinal" else LogisticRegression()
    frame = people(120, 0)
    labels = np.where(frame["income"].fillna(20_000) < 25_000, "bad", "good")
    return make_pipeline(make_column_transformer((numbers, NUMBERS), (texts[kind], TEXTS)), last).fit(frame, labels)


@pytest.mark.parametrize("kind", ["imputed", "constant", "missing is a category", "ordinal"])
def test_a_pipeline_answers_each_row_as_it_does_itself(kind: str, tmp_path: Path) -> None:
    fitted, frame = pipeline(kind), people(30, 1)
    joblib.dump(fitted, tmp_path / "m.joblib")
    (tmp_path / "g.yaml").write_text(
        "{motet: 1, name: g, models: {m: m.joblib}, nodes: {n: {model: m}}, outputs: {p: n.probabilities, label: n.label},\n"
        " inputs: {home: {type: string, default: null}, age: float64, income: {type: float64, default: null},"
        " job: {type: string, default: null}}}"
    )
    graph = mt.load(tmp_path / "g.yaml")
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.to_parquet(tmp_path / "in.parquet")
    frame.to_json(tmp_path / "in.jsonl", orient="records", lines=True)
    sources = [frame, tmp_path / "in.csv", tmp_path / "in.parquet", tmp_path / "in.jsonl"]
    for source in sources:
        for batch_rows in (1, 7, None):
            answers = graph.run(source, batch_rows=batch_rows).to_pandas()
            np.testing.assert_allclose(np.stack(answers["p"]), fitted.predict_proba(frame), rtol=1e-12, atol=1e-15)
            assert answers["label"].tolist() == fitted.predict(frame).tolist()
    called = graph({name: frame[name].tolist() for name in frame})
    np.testing.assert_allclose(called["p"], fitted.predict_proba(frame), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("kind", ["one hot", "ordinal", "target", "imputed"])
def test_what_is_missing_is_what_the_encoder_knows(kind: str, missing: Any, named: bool, tmp_path: Path) -> None:
    encoders: dict[str, Any] = {
        "one hot": OneHotEncoder(handle_unknown="ignore"),
        "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-5),
        "target": TargetEncoder(cv=2),
        "imputed": make_pipeline(SimpleImputer(missing_values=missing, strategy="most_frequent"), OrdinalEncoder()),
    }
    homes = np.array(["a", "b", missing, "c", missing, "b"] * 5, object).reshape(-1, 1)
    features: Any = pd.DataFrame(homes, columns=["home"], dtype=object) if named else homes
    columns = ["home"] if named else [0]
    fitted = make_pipeline(make_column_transformer((encoders[kind], columns)), LogisticRegression())
    fitted.fit(features, [0, 1, 1, 0, 1, 0] * 5)
    joblib.dump(fitted, tmp_path / "m.joblib")
    home = mt.model(mt.Model(str(tmp_path / "m.joblib")), mt.input("home", "string", default=None))
    graph = mt.Graph("g", outputs={"p": home.probabilities})
    expected = fitted.predict_proba(features)
    for value in (None, np.nan):
        given = [value if each is missing else each for each in homes[:, 0].tolist()]
        np.testing.assert_allclose(graph({"home": given})["p"], expected)
        for row, each in enumerate(given[:6]):
            np.testing.assert_allclose(graph({"home": [each]})["p"], expected[row : row + 1])
