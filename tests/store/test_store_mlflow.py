"""Registries of MLflow, laid out as MLflow 3.17 writes them (and 1.x, where that differs): imported, or refused by name."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import yaml
from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.errors import InputError, UnknownNameError
from motet.store.mlflow import import_registry
from store.store_files import write_model

FLAVORS = {
    "onnx": ("model.onnx", {"onnx": {"data": "model.onnx", "code": None}}),
    "sklearn": ("model.pkl", {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}}),
    "skops": ("model.skops", {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}),
    "xgboost": ("model.ubj", {"xgboost": {"data": "model.ubj", "model_format": "ubj"}}),
    "lightgbm": ("model.lgb", {"lightgbm": {"data": "model.lgb"}}),
    "pytorch": ("data/model.pth", {"pytorch": {"model_data": "data"}}),
    "spark": ("sparkml", {"spark": {"model_data": "sparkml"}}),
    "pyfunc": ("python_model.pkl", {}),
}


def write(kind: str, folder: Path, factor: int = 2) -> None:
    """A logged model of a flavour, with MLmodel beside it."""
    import xgboost
    from lightgbm import LGBMClassifier
    from sklearn.linear_model import LogisticRegression

    name, flavors = FLAVORS[kind]
    path = folder / name
    path.parent.mkdir(parents=True)
    rows, classes = np.arange(80.0).reshape(20, 4), np.arange(20) % 2
    if kind == "onnx":
        shutil.copy(write_model(folder / "made.onnx", factor), path)
        (folder / "made.onnx").unlink()
    elif kind == "sklearn":
        joblib.dump(LogisticRegression(C=factor).fit(rows, classes), path)
    elif kind == "skops":
        skops.io.dump(LogisticRegression(C=factor).fit(rows, classes), path)
    elif kind == "xgboost":
        xgboost.XGBClassifier(n_estimators=factor).fit(rows, classes).save_model(path)
    elif kind == "lightgbm":
        LGBMClassifier(n_estimators=factor, verbose=-1, min_child_samples=1).fit(rows, classes).booster_.save_model(
            path
        )
    else:
        path.write_bytes(b"some pickle")
    own = {**flavors, "python_function": {"loader_module": f"mlflow.{kind}"}}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": own, "mlflow_version": "3.17.2"}))
    (folder / "conda.yaml").write_text("name: env")


MODELS = [  # name, kind, factor, stage
    ("risk", "onnx", 2, "Archived"),
    ("risk", "onnx", 3, "Production"),
    ("risk", "onnx", 4, "Production"),
    ("flowers", "sklearn", 1, "None"),
    ("flowers", "skops", 1, "None"),
    ("trees", "xgboost", 3, "Staging"),
    ("trees", "lightgbm", 4, "None"),
    ("odd name/è", "onnx", 5, "None"),
    ("nets", "pytorch", 1, "None"),
    ("nets", "spark", 1, "None"),
    ("nets", "pyfunc", 1, "None"),
]
ALIASES = [("risk", "champion", 1), ("risk", "staging", 2), ("trees", "best", 2)]
REFUSED = {("nets", 1): "pickled module", ("nets", 2): "spark", ("nets", 3): "python_function"}


def numbered() -> list[tuple[str, int, str, int, str]]:
    counts: dict[str, int] = {}
    found = []
    for name, kind, factor, stage in MODELS:
        counts[name] = counts.get(name, 0) + 1
        found.append((name, counts[name], kind, factor, stage))
    return found


def write_files(home: Path, *, early: bool) -> str:
    """A file store; early ones have aliases nowhere but in files, and no `storage_location`."""
    root = home / "mlruns"
    for place, (name, number, kind, factor, stage) in enumerate(numbered()):
        run = f"{place:032x}"
        logged = root / "0" / run / "artifacts" / "model" if early else root / "0" / "models" / f"m-{run}" / "artifacts"
        write(kind, logged, factor)
        (root / "0" / run / "metrics").mkdir(parents=True)
        (root / "0" / run / "metrics" / "accuracy").write_text(
            f"1700000000000 0.1 1\n1700000000001 0.{place + 1:02} 2\n"
        )
        (root / "0" / run / "params").mkdir()
        (root / "0" / run / "params" / "C").write_text(str(factor))
        (root / "0" / run / "meta.yaml").write_text(
            yaml.safe_dump({"artifact_uri": f"file://{root}/0/{run}/artifacts"})
        )
        model = root / "models" / name.replace("/", "_")
        (model / f"version-{number}" / "tags").mkdir(parents=True)
        (model / f"version-{number}" / "tags" / "team").write_text("red")
        own = {alias: str(at) for other, alias, at in ALIASES if other == name}
        (model / "meta.yaml").write_text(yaml.safe_dump({"name": name, **({} if early else {"aliases": own})}))
        (model / "aliases").mkdir(exist_ok=True)
        for alias, at in own.items():
            (model / "aliases" / alias).write_text(at)
        source = f"runs:/{run}/model" if early else f"models:/m-{run}"
        meta = {
            "name": name,
            "version": number,
            "current_stage": stage,
            "run_id": run,
            "source": source,
            "status": "READY",
        }
        meta |= {} if early else {"storage_location": f"file://{logged}", "description": f"number {number}"}
        (model / f"version-{number}" / "meta.yaml").write_text(yaml.safe_dump(meta))
    return f"mlflow:{root}"


def write_sqlite(home: Path) -> str:
    base = sqlite3.connect(home / "mlflow.db")
    base.executescript(
        "create table model_versions(name, version, description, current_stage, source, run_id, status, storage_location);"
        "create table registered_model_aliases(alias, version, name);"
        "create table model_version_tags(key, value, name, version);"
        "create table latest_metrics(key, value, timestamp, step, is_nan, run_uuid); create table params(key, value, run_uuid);"
    )
    for place, (name, number, kind, factor, stage) in enumerate(numbered()):
        run, logged = f"{place:032x}", home / "artifacts" / str(place)
        write(kind, logged, factor)
        row = (name, number, f"number {number}", stage, f"models:/m-{run}", run, "READY", f"file://{logged}")
        base.execute("insert into model_versions values(?,?,?,?,?,?,?,?)", row)
        base.execute("insert into model_version_tags values('team', 'red', ?, ?)", (name, number))
        base.execute("insert into latest_metrics values('accuracy', ?, 1, 2, 0, ?)", ((place + 1) / 100, run))
        base.execute("insert into latest_metrics values('broken', 0, 1, 2, 1, ?)", (run,))
        base.execute("insert into params values('C', ?, ?)", (str(factor), run))
    base.executemany("insert into registered_model_aliases values(?,?,?)", [(a, v, n) for n, a, v in ALIASES])
    base.commit()
    base.close()
    return f"mlflow:sqlite:///{home / 'mlflow.db'}"


@pytest.fixture(params=["files", "early", "sqlite"], scope="module")
def registry(request: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("mlflow")
    return write_sqlite(home) if request.param == "sqlite" else write_files(home, early=request.param == "early")


def test_versions_aliases_stages_metrics_and_tags_come_over(registry: str, tmp_path: Path) -> None:
    store = mt.Store(tmp_path / "store")
    found = {(each.name, each.number): each for each in import_registry(store, registry)}
    assert set(found) == {(name, number) for name, number, *_ in numbered()}
    assert {key for key, each in found.items() if each.reason} == set(REFUSED)
    for key, told in REFUSED.items():
        assert told in found[key].reason
    assert store.names() == ["flowers", "odd-name", "risk", "trees"]
    assert store.aliases("risk") == {"champion": 1, "latest": 3, "production": 3, "staging": 2}
    assert store.aliases("trees") == {"best": 2, "latest": 2, "staging": 1}
    second = store.resolve("risk@2")
    assert second.metrics == {"accuracy": 0.02}
    said = second.lineage["mlflow"]
    assert (said["name"], said["version"], said["tags"], said["parameters"]) == ("risk", 2, {"team": "red"}, {"C": "3"})
    assert [store.resolve(each).handler for each in ("trees@1", "trees@2", "flowers@1", "flowers@2")] == [
        "xgboost",
        "lightgbm",
        "sklearn",
        "skops",
    ]


def test_what_was_imported_plays(registry: str, tmp_path: Path) -> None:
    list(import_registry(mt.Store(tmp_path / "store"), registry, ["risk"]))
    (tmp_path / "g.yaml").write_text(
        f"motet: 1\nname: g\ninputs: {{x: float32}}\nmodels: {{m: {{uri: 'store:{tmp_path}/store#risk@staging'}}}}\n"
        "nodes: {n: {model: m, inputs: [x]}}\noutputs: {y: n}\n"
    )
    x = np.array([1.0, 2.5], np.float32)
    np.testing.assert_array_equal(mt.load(tmp_path / "g.yaml")({"x": x})["y"], 3 * x)


def test_it_is_imported_once_and_only_what_is_asked_for(registry: str, tmp_path: Path) -> None:
    store = mt.Store(tmp_path / "store")
    for _ in range(2):
        assert [each.version for each in import_registry(store, registry, ["risk"])] == ["risk@1", "risk@2", "risk@3"]
    assert store.names() == ["risk"]
    dry = list(import_registry(mt.Store(tmp_path / "other"), registry, dry_run=True))
    assert sum(bool(each.version) for each in dry) == len(MODELS) - len(REFUSED)
    assert not (tmp_path / "other").exists()
    with pytest.raises(UnknownNameError, match="model of the registry 'rsik'; did you mean 'risk'"):
        list(import_registry(store, registry, ["rsik"]))


def test_to_import_again_takes_latest_back_from_nothing_that_is_later(registry: str, tmp_path: Path) -> None:
    store = mt.Store(tmp_path / "store")
    list(import_registry(store, registry, ["risk"]))
    own = store.publish("risk", write_model(tmp_path / "own.onnx", 77))
    list(import_registry(store, registry, ["risk"]))
    assert (store.resolve("risk"), len(store.versions("risk"))) == (own, 4)


def test_deleted_versions_stay_where_they_are(tmp_path: Path) -> None:
    """MLflow deletes by setting a stage; a file store keeps all else, a database has no source any more."""
    (tmp_path / "files").mkdir()
    files, base = write_files(tmp_path / "files", early=False), write_sqlite(tmp_path)
    about = tmp_path / "files" / "mlruns" / "models" / "risk" / "version-3" / "meta.yaml"
    about.write_text(about.read_text().replace("current_stage: Production", "current_stage: Deleted_Internal"))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as opened, opened:
        gone = "current_stage='Deleted_Internal', source='REDACTED-SOURCE-PATH', run_id='REDACTED-RUN-ID'"
        opened.execute(f"update model_versions set {gone} where name='risk' and version=3")
    for place, registry in enumerate((files, base)):
        store = mt.Store(tmp_path / f"store{place}")
        assert [each.number for each in import_registry(store, registry, ["risk"])] == [1, 2]
        assert store.aliases("risk") == {"champion": 1, "latest": 2, "production": 2, "staging": 2}


def test_aliases_and_metrics_that_are_damaged_are_left_out(tmp_path: Path) -> None:
    registry = write_files(tmp_path, early=False)
    about = tmp_path / "mlruns" / "models" / "risk" / "meta.yaml"
    about.write_text(yaml.safe_dump({**yaml.safe_load(about.read_text()), "aliases": {"champion": "1", "torn": None}}))
    (about.parent / "aliases" / "half").write_text("")
    for name, text in (("torn", "1700000000000"), ("odd", "1700000000000 much 1"), ("none", "")):
        (tmp_path / "mlruns" / "0" / f"{1:032x}" / "metrics" / name).write_text(text)
    store = mt.Store(tmp_path / "store")
    assert [each.version for each in import_registry(store, registry, ["risk"])] == ["risk@1", "risk@2", "risk@3"]
    assert store.aliases("risk") == {"champion": 1, "latest": 3, "production": 3, "staging": 2}
    assert store.resolve("risk@2").metrics == {"accuracy": 0.02}


def test_a_registry_that_was_moved_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    write_files(tmp_path / "first", early=False)
    shutil.move(tmp_path / "first", tmp_path / "second")
    found = list(import_registry(mt.Store(tmp_path / "store"), f"mlflow:{tmp_path}/second", ["risk"]))
    assert [each.version for each in found] == ["risk@1", "risk@2", "risk@3"]


def test_the_command_says_what_it_did_and_fails_where_something_was_refused(tmp_path: Path) -> None:
    registry, store = write_sqlite(tmp_path), str(tmp_path / "store")
    whole = CliRunner().invoke(cli, ["store", "import", registry, "--store", store])
    assert whole.exit_code == 1
    assert "risk 1  risk@1 (champion)\n" in whole.output
    assert "nets 2  refused: its flavour is spark; those that are read are onnx" in whole.output
    for told in (
        "log it by torch.jit.script(model)",
        "name its endpoint",
    ):
        assert told in whole.output
    part = CliRunner().invoke(cli, ["store", "import", registry, "risk", "--store", store, "--json"])
    assert part.exit_code == 0
    assert json.loads(part.output)[2]["aliases"] == ["production"]


def test_what_is_no_registry_is_refused(tmp_path: Path) -> None:
    store = mt.Store(tmp_path / "store")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.db").write_text("no database")
    sqlite3.connect(tmp_path / "other.db").execute("create table t(a)").connection.close()
    for given, message in (
        ("mlruns", "is no registry"),
        (f"mlflow:{tmp_path}/empty", "there is no registry in"),
        (f"mlflow:sqlite:///{tmp_path}/none.db", "there is no file"),
        (f"mlflow:{tmp_path}/text.db", "is no registry of MLflow"),
        (f"mlflow:sqlite:///{tmp_path}/other.db", "no such table: model_versions"),
        ("mlflow:http://localhost:5000", "a registry at http: is not read"),
        ("mlflow:postgresql://u@h/db", "a registry at postgresql: is not read"),
    ):
        with pytest.raises(InputError, match=message):
            list(import_registry(store, given))


def test_damaged_versions_are_refused_by_name(tmp_path: Path) -> None:
    registry = write_files(tmp_path, early=False)
    models = sorted((tmp_path / "mlruns" / "0" / "models").iterdir())
    for text in ("", "[]", "flavors: 3", "flavors: {onnx: 3}", "flavors: {onnx: [1]}", "flavors: ["):
        (models[0] / "artifacts" / "MLmodel").write_text(text)
        first = next(import_registry(mt.Store(tmp_path / "store"), registry, ["risk"], dry_run=True))
        assert "its MLmodel cannot be read" in first.reason, text
    (models[1] / "artifacts" / "model.onnx").unlink()
    shutil.rmtree(models[2])
    reasons = [each.reason for each in import_registry(mt.Store(tmp_path / "store"), registry, ["risk"])]
    for reason, told in zip(
        reasons, ("its MLmodel cannot be read", "has no file model.onnx", "its files are not at"), strict=True
    ):
        assert told in reason
    (tmp_path / "mlruns" / "models" / "risk" / "version-2" / "meta.yaml").write_text("version: [")
    found = list(import_registry(mt.Store(tmp_path / "other"), registry))
    assert {each.number: each.reason for each in found if each.name == "risk"}[2] == "it is damaged in the registry"
    assert {"trees@1", "trees@2"} <= {each.version for each in found}
