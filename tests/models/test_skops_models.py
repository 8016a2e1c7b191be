"""Estimators written by skops: the estimator's own answers, and no type that nobody trusts."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import motet as mt
from motet.errors import ModelLoadError, UnknownNameError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(30, 3))
Y = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
TREE = "sklearn.tree._tree.Tree"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(estimator: Any) -> str:
        skops.io.dump(estimator, tmp_path / "m.skops")
        return str(tmp_path / "m.skops")

    return write


def answers(path: str, columns: dict[str, Any], **options: Any) -> dict[str, Any]:
    model = mt.model(mt.Model(path, options=options), *(mt.input(name, kind) for name, (kind, _) in columns.items()))
    graph = mt.Graph("g", outputs={"label": model.label, "probabilities": model.probabilities})
    return graph({name: values for name, (_, values) in columns.items()})


def double(x: Any) -> Any:
    return x * 2


def test_a_pipeline_answers_as_it_does_itself(written: Any) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, Y)
    found = answers(written(estimator), {name: ("float64", frame[name].to_numpy()) for name in frame})
    assert list(found["label"]) == list(estimator.predict(frame))
    np.testing.assert_allclose(found["probabilities"], estimator.predict_proba(frame), rtol=1e-12)


def test_a_type_that_skops_does_not_know_is_loaded_where_it_is_trusted_alone(written: Any) -> None:
    estimator = RandomForestClassifier(5, random_state=0).fit(X, Y)
    path, given = written(estimator), {"x": ("float64[3]", X)}
    for options in ({}, {"trusted": []}, {"trusted": ["os.system"]}):
        with pytest.raises(ModelLoadError, match=f"it has {TREE}, which skops does not trust") as refused:
            answers(path, given, **options)
        assert f"with: {{trusted: [{TREE}]}}" in str(refused.value)
    assert list(answers(path, given, trusted=[TREE])["label"]) == list(estimator.predict(X))
    with pytest.raises(ModelLoadError, match="which skops does not trust"):  # though it is loaded just now
        answers(path, given)


def test_a_function_of_the_project_is_a_type_that_is_to_be_trusted(written: Any) -> None:
    estimator = make_pipeline(FunctionTransformer(double), LogisticRegression()).fit(X, Y)
    with pytest.raises(ModelLoadError, match=r"it has \S*double, which skops does not trust"):
        answers(written(estimator), {"x": ("float64[3]", X)})


@pytest.mark.parametrize("data", [b"", b"abc", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_such_file_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.skops").write_bytes(data)
    with pytest.raises(ModelLoadError, match="skops cannot read it"):
        answers(str(tmp_path / "m.skops"), {"x": ("float64[3]", X)})


@pytest.mark.parametrize("damage", ["empty", "encrypted", "compressed by none", "deep"])
def test_a_damaged_file_is_said_whatever_reading_it_raises(written: Any, damage: str) -> None:
    path = Path(written(LogisticRegression().fit(X, Y)))
    with ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with ZipFile(path, "w") as other:
        for name, content in parts.items():
            deep = damage == "deep" and name == "schema.json"
            other.writestr(
                name, b"" if damage == "empty" and name.endswith(".npy") else b"[" * 200_000 if deep else content
            )
    data = bytearray(path.read_bytes())
    for sign, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while damage in ("encrypted", "compressed by none") and (place := data.find(sign, place + 1)) >= 0:
            if damage == "encrypted":
                data[place + flags] |= 1
            else:
                data[place + flags + 2] = 99
    path.write_bytes(data)
    with pytest.raises(ModelLoadError, match="skops cannot read it"):
        answers(str(path), {"x": ("float64[3]", X)})


def test_options_are_checked(written: Any, tmp_path: Path) -> None:
    path, given = written(LogisticRegression().fit(X, Y)), {"x": ("float64[3]", X)}
    with pytest.raises(ModelLoadError, match="trusted='a' is no list of names of types"):
        answers(path, given, trusted="a")
    with pytest.raises(UnknownNameError, match="trust"):
        answers(path, given, trust=[])
    joblib.dump(LogisticRegression().fit(X, Y), tmp_path / "m.joblib")
    with pytest.raises(UnknownNameError, match="trusted"):  # of pickles there is nothing to trust
        answers(str(tmp_path / "m.joblib"), given, trusted=[])
