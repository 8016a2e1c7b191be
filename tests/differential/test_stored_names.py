"""Inputs whose columns are called otherwise where they are stored: the estimator's own answers, from everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import motet as mt
from helpers.live_server import Live
from motet.errors import GraphError, UnknownNameError

ODD = [" x", "user.id", "2nd", "größe", "petal length (cm)"]


@pytest.fixture
def iris(tmp_path: Path) -> tuple[Path, pd.DataFrame, Any]:
    """A graph of a model of iris, the frame, and the estimator."""
    frame = load_iris(as_frame=True).data
    own = LogisticRegression(max_iter=500).fit(frame, load_iris().target)
    joblib.dump(own, tmp_path / "m.joblib")
    inputs = "".join(
        f"  {name}: {{type: float64, column: '{column}'}}\n"
        for name, column in zip(("pw", "pl", "sl", "sw"), [frame.columns[place] for place in (3, 2, 0, 1)], strict=True)
    )
    declared = ", ".join(f"'{column}': float64" for column in frame.columns)
    (tmp_path / "g.yaml").write_text(
        f"motet: 1\nname: g\ninputs:\n{inputs}models: {{m: {{uri: m.joblib, inputs: {{{declared}}}}}}}\n"
        "nodes: {n: {model: m}, again: {model: m, inputs: [pw, sw, pl, sl]}}\n"
        "outputs: {p: n.probabilities, again: again.probabilities, width: pw}\n"
    )
    return tmp_path, frame, own


def test_a_frame_is_taken_by_the_names_of_its_columns_from_every_format(iris: Any) -> None:
    folder, frame, own = iris
    graph, expected = mt.load(folder / "g.yaml"), own.predict_proba(frame)
    kept = frame.assign(note=[f"0{row}" for row in range(len(frame))])
    kept.to_csv(folder / "i.csv", index=False)
    kept.to_parquet(folder / "i.parquet")
    kept.to_json(folder / "i.jsonl", orient="records", lines=True)
    for name in ("i.csv", "i.parquet", "i.jsonl"):
        graph.run(folder / name, folder / "out.parquet", batch_rows=7, overwrite=True)
        out = pd.read_parquet(folder / "out.parquet")
        np.testing.assert_allclose(np.stack(out["p"]), expected, atol=1e-12)
        assert [*out.columns] == [*kept.columns, "p", "again", "width"]
        assert out["width"].tolist() == frame["petal width (cm)"].tolist()
    for given in (frame, dict(frame), dict(frame.set_axis(["sl", "sw", "pl", "pw"], axis=1))):
        np.testing.assert_allclose(graph(given)["p"], expected, atol=1e-12)
        np.testing.assert_allclose(graph(given)["again"], expected, atol=1e-12)


def test_a_graph_keeps_them_through_python_and_files(iris: Any) -> None:
    folder, frame, own = iris
    graph = mt.load(folder / "g.yaml")
    graph.save(folder / "again.yaml")
    assert mt.load(folder / "again.yaml") == graph
    columns = {name: mt.input(f"i{place}", "float64", column=name) for place, name in enumerate(frame.columns)}
    model = mt.Model(str(folder / "m.joblib"), inputs=dict.fromkeys(frame.columns, "float64"))
    made = mt.Graph("made", {"p": mt.model(model, *reversed(columns.values())).probabilities})
    np.testing.assert_allclose(made(frame)["p"], own.predict_proba(frame), atol=1e-12)
    assert made.inputs["i0"].column == "sepal length (cm)"
    made.save(folder / "made.yaml")
    assert mt.load(folder / "made.yaml") == made


def test_a_server_takes_either_name(iris: Any) -> None:
    folder, frame, own = iris
    live = Live(folder, folder / "g.yaml")
    try:
        live.until_ready()
        expected = own.predict_proba(frame[:3])
        for rows in (frame[:3], frame[:3].set_axis(["sl", "sw", "pl", "pw"], axis=1)):
            answer = httpx.post(f"{live.url}/predict/g", json={"rows": rows.to_dict("records")})
            assert answer.status_code == 200, answer.text
            np.testing.assert_allclose([row["p"] for row in answer.json()["rows"]], expected, atol=1e-12)
        metadata = httpx.get(f"{live.url}/v2/models/g").json()
        assert [each["name"] for each in metadata["inputs"]] == ["pw", "pl", "sl", "sw"]
        named = dict(zip(("sl", "sw", "pl", "pw"), frame.columns, strict=True))
        tensors = [
            {"name": name, "shape": [3], "datatype": "FP64", "data": frame[column][:3].tolist()}
            for name, column in named.items()
        ]
        answer = httpx.post(f"{live.url}/v2/models/g/infer", json={"inputs": tensors}).json()
        given = {each["name"]: np.reshape(each["data"], each["shape"]) for each in answer["outputs"]}
        np.testing.assert_allclose(given["p"], expected, atol=1e-12)
    finally:
        live.close()


@pytest.mark.parametrize("column", ODD)
def test_names_of_every_kind_are_read_and_fail_by_name(tmp_path: Path, column: str) -> None:
    x = mt.input("x", "float64", column=column, default=2.0)
    graph = mt.Graph("g", {"y": mt.map("helpers.functions.double", x, outputs="float64")})
    frame = pd.DataFrame({column: [1.0, 2.5, None], "x": ["kept"] * 3})
    for name in ("i.csv", "i.parquet"):
        frame.to_csv(tmp_path / "i.csv", index=False)
        frame.to_parquet(tmp_path / "i.parquet")
        graph.run(tmp_path / name, tmp_path / "o.parquet", overwrite=True, batch_rows=2)
        out = pd.read_parquet(tmp_path / "o.parquet")
        assert out["y"].tolist() == [2.0, 5.0, 4.0]
        assert out["x"].tolist() == ["kept"] * 3
    strict = mt.Graph(
        "g", {"y": mt.map("helpers.functions.double", mt.input("x", "float64", column=column), outputs="float64")}
    )
    strict.run(tmp_path / "i.parquet", tmp_path / "o.parquet", overwrite=True, batch_rows=2)
    failed = pd.read_parquet(tmp_path / "o.parquet.failed.parquet")
    assert failed["row"].tolist() == [2]
    assert failed["message"][0].startswith(f"column {column!r} ")
    with pytest.raises(UnknownNameError, match="unknown column"):
        strict.run({"y": [1.0]}, tmp_path / "p.parquet")


def test_a_call_may_use_either_name_and_not_both() -> None:
    graph = mt.Graph(
        "g", {"y": mt.map("helpers.functions.double", mt.input("x", "float64", column="a b"), outputs="float64")}
    )
    assert graph({"x": [1.0]})["y"].tolist() == graph({"a b": [1.0]})["y"].tolist() == [2.0]
    with pytest.raises(UnknownNameError, match="unknown input 'a b'"):
        graph({"x": [1.0], "a b": [2.0]})


def test_mistakes_are_found_when_the_graph_is_built(tmp_path: Path) -> None:
    a, b = mt.input("a", "float64", column="c d"), mt.input("b", "float64", column="c d")
    with pytest.raises(GraphError, match="the inputs 'a' and 'b' are both stored in the column 'c d'"):
        mt.Graph("g", {"y": mt.map("helpers.functions.add", a, b)})
    for text, said in (
        ("column: 3", "expected a text; got 3"),
        ("colum: x", "unknown key 'colum'; did you mean 'column'"),
    ):
        (tmp_path / "g.yaml").write_text(
            f"motet: 1\ninputs: {{x: {{type: float64, {text}}}}}\nnodes: {{}}\noutputs: {{x: x}}\n"
        )
        with pytest.raises(GraphError, match=said):
            mt.load(tmp_path / "g.yaml")
