"""Estimators and many models by key, in bulk, beside `predict_proba` and a loop by hand.

    forest      300 trees, 20,000 rows                      boosting   200 rounds of HistGradientBoosting, 20,000 rows
    pipeline    a frame of numbers and texts, 10,000 rows   keyed40    one of 40 such pipelines for each of 20,000 rows
    cascaded    a linear model, then a forest of 400        keyed200   one of 200 ONNX models for each of 400,000 rows

Each run is a process of its own, and they take turns: by hand; Motet with an empty cache folder; Motet again with what that
run has found. `predict` is what the models' own calls take by hand, each once with all its rows, and nothing else. A run is as
fast as it should be where it takes 1.2 times that and half a second at most; `keyed200` where it takes what the whole loop by
hand takes, which reads, groups rows by key, calls and writes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Measured, measure
from benchmarks.tables import ratio, shown, spread, table

if TYPE_CHECKING:
    from benchmarks.bulk import Settings

__all__ = ["ESTIMATORS", "play"]

FEATURES: Final = 7
NUMBERS, TEXTS = [f"n{place}" for place in range(8)], [f"t{place}" for place in range(4)]
KEYS: Final = {"keyed40": 40, "keyed200": 200}
ROWS: Final = {
    "forest": 20_000, "boosting": 20_000, "pipeline": 10_000, "keyed40": 20_000, "cascaded": 20_000, "keyed200": 400_000,
}  # fmt: skip
ESTIMATORS: Final = tuple(ROWS)
CONFIDENCE: Final = 0.9
ALLOWED, ALLOWED_S = 1.2, 0.5
Answer = Mapping[str, Any]


@dataclass(frozen=True)
class _Files:
    """A job's models and its input."""

    folder: Path
    job: str

    @property
    def source(self) -> Path:
        return self.folder / "rows.parquet"

    def model(self, name: object) -> str:
        return str(self.folder / f"{name}{'.onnx' if self.job == 'keyed200' else '.joblib'}")

    def rows(self) -> Any:
        """The rows as the models take them: an array, or a frame; keys are a column of a frame."""
        found = pq.read_table(self.source)
        if self.job in ("pipeline", "keyed40"):
            return found.to_pandas()
        x = found["x"].combine_chunks().to_numpy_ndarray()
        return (x, found["k"].to_numpy()) if self.job == "keyed200" else x


def _prepare(files: _Files) -> None:
    """Make the models and the input, where they are not there yet."""
    if files.source.exists():
        return
    files.folder.mkdir(parents=True, exist_ok=True)
    random, rows = np.random.default_rng(0), ROWS[files.job]
    if files.job in ("pipeline", "keyed40"):
        source = _prepare_pipelines(files, random, rows)
    elif files.job == "keyed200":
        source = _prepare_networks(files, random, rows)
    else:
        source = _prepare_estimators(files, random, rows)
    pq.write_table(source, files.source)


def _prepare_estimators(files: _Files, random: np.random.Generator, rows: int) -> pa.Table:
    import joblib
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    x = random.random((rows, FEATURES))
    answers = (x[:, 0] + x[:, 1] > 1).astype(int)
    made = {
        "forest": [RandomForestClassifier(300, n_jobs=1, random_state=0)],
        "boosting": [HistGradientBoostingClassifier(max_iter=200, random_state=0)],
        "cascaded": [LogisticRegression(), RandomForestClassifier(400, n_jobs=1, random_state=0)],
    }[files.job]
    for place, estimator in enumerate(made):
        joblib.dump(estimator.fit(x[:3000], answers[:3000]), files.model(place))
    return pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x)})


def _prepare_pipelines(files: _Files, random: np.random.Generator, rows: int) -> pa.Table:
    import joblib
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    texts = {name: random.choice(list("abcdef"), rows) for name in TEXTS}
    frame = pd.DataFrame({name: random.random(rows) for name in NUMBERS} | texts)
    answers = np.where(frame.n0 + (frame.t0 == "a") > 0.7, "good", "bad")
    keys = random.integers(0, KEYS.get(files.job, 1), rows)
    for key in range(KEYS.get(files.job, 1)):
        columns = ColumnTransformer([("numbers", StandardScaler(), NUMBERS), ("texts", OneHotEncoder(), TEXTS)])
        chosen = keys == key
        pipeline = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(frame[chosen], answers[chosen])
        joblib.dump(pipeline, files.model(key))
    return pa.Table.from_pandas(frame.assign(k=keys), preserve_index=False)


def _prepare_networks(files: _Files, random: np.random.Generator, rows: int) -> pa.Table:
    from benchmarks.keys import FEATURES as WIDTH
    from benchmarks.keys import write_model

    for key in range(KEYS["keyed200"]):
        write_model(Path(files.model(key)), key)
    x = random.random((rows, WIDTH), dtype=np.float32)
    return pa.table(
        {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x), "k": random.integers(0, KEYS["keyed200"], rows)}
    )


def _by_hand(files: _Files) -> tuple[Answer, float]:
    """The answers, and the seconds of the models' calls."""
    if files.job == "keyed200":
        return _networks_by_hand(files)
    import joblib

    models = [joblib.load(files.model(place)) for place in range(_count(files.job))]
    rows, spent = files.rows(), _Spent()
    if files.job == "cascaded":
        p = spent(models[0].predict_proba, rows)
        unsure = p.max(axis=1) < CONFIDENCE
        p[unsure] = spent(models[1].predict_proba, rows[unsure])
        return {"p": p}, spent.seconds
    if files.job == "keyed40":
        p, keys = np.empty((len(rows), 2)), rows.pop("k").to_numpy()
        for key, model in enumerate(models):
            chosen = keys == key
            p[chosen] = spent(model.predict_proba, rows[chosen])
        return {"p": p}, spent.seconds
    found = {"p": spent(models[0].predict_proba, rows)}
    if files.job == "pipeline":
        found["label"] = spent(models[0].predict, rows)
    return found, spent.seconds


class _Spent:
    """Calls models, and counts the seconds."""

    seconds = 0.0

    def __call__(self, method: Callable[[Any], Any], rows: Any) -> Any:
        started = time.perf_counter()
        answer = method(rows)
        self.seconds += time.perf_counter() - started
        return answer


def _count(job: str) -> int:
    return KEYS.get(job, 2 if job == "cascaded" else 1)


def _networks_by_hand(files: _Files) -> tuple[Answer, float]:
    """Rows grouped by key, each model called once."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [
        ort.InferenceSession(files.model(key), options, providers=["CPUExecutionProvider"])
        for key in range(KEYS[files.job])
    ]
    (x, keys), spent = files.rows(), _Spent()
    order = np.argsort(keys, kind="stable")
    ends = np.searchsorted(keys[order], np.arange(len(sessions) + 1))
    p = np.empty((len(x), 1), dtype=np.float32)
    for key, session in enumerate(sessions):
        chosen = order[ends[key] : ends[key + 1]]
        p[chosen] = spent(lambda rows, session=session: session.run(None, {"x": rows})[0], x[chosen])  # type: ignore[misc]
    return {"p": p}, spent.seconds


def _graph(files: _Files) -> Any:
    import motet as mt

    if files.job in ("pipeline", "keyed40"):
        kinds = dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(TEXTS, "string")
        columns = [mt.input(name, kind) for name, kind in kinds.items()]
        models = [mt.Model(files.model(key), inputs=kinds, options={"frame": True}) for key in range(_count(files.job))]
        if files.job == "pipeline":
            seen = mt.model(models[0], *columns)
            return mt.Graph("pipeline", {"p": seen.probabilities, "label": seen.label})
        by_key = {str(key): model for key, model in enumerate(models)}
        return mt.Graph("keyed", {"p": mt.route(by_key, *columns, key=mt.input("k", "int64")).probabilities})
    if files.job == "keyed200":
        by_key = {str(key): mt.Model(files.model(key)) for key in range(_count(files.job))}
        return mt.Graph("keyed", {"p": mt.route(by_key, mt.input("x", "float32[16]"), key=mt.input("k", "int64"))})
    x = mt.input("x", f"float64[{FEATURES}]")
    models = [
        mt.Model(files.model(place), inputs={"features": f"float64[{FEATURES}]"}) for place in range(_count(files.job))
    ]
    if files.job == "cascaded":
        return mt.Graph(
            "cascaded", {"p": mt.cascade(models, x, confidence=CONFIDENCE, of="probabilities").probabilities}
        )
    return mt.Graph(files.job, {"p": mt.model(models[0], x).probabilities})


def main() -> None:
    """`python -m benchmarks.estimators FOLDER JOB make|hand|motet`: the last line is JSON."""
    folder, job, who = sys.argv[1:]
    files = _Files(Path(folder) / job, job)
    import motet as mt  # noqa: F401  (what either imports is imported before the clock starts)

    if job != "keyed200":
        import joblib  # noqa: F401
        import pandas  # noqa: F401
        import sklearn.compose
        import sklearn.ensemble
        import sklearn.pipeline  # noqa: F401
    output = files.folder / f"{who}.parquet"
    predict_s = 0.0
    if who == "make":
        _prepare(files)
    started, cpu = time.perf_counter(), time.process_time()
    if who == "hand":
        answers, predict_s = _by_hand(files)
        kept = {name: _column(values) for name, values in answers.items()}
        pq.write_table(pa.table(kept), output)
    elif who == "motet":
        _graph(files).run(files.source, output, keep=[], overwrite=True)
    job_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"job_s": job_s, "cpu_s": cpu_s, "predict_s": predict_s}))


def _column(values: Any) -> pa.Array:
    return pa.array(values) if values.ndim == 1 else pa.FixedShapeTensorArray.from_numpy_ndarray(values)


def play(settings: Settings, jobs: Sequence[str]) -> dict[str, Any]:
    """Take turns at each job, print the tables, and give every figure."""
    return {job: _shown(job, _rounds(settings, job)) for job in jobs}


def _rounds(settings: Settings, job: str) -> dict[str, list[Mapping[str, Any]]]:
    folder = settings.folder / "estimators"

    def run(who: str, cache: str) -> Mapping[str, Any]:
        environment = settings.environment("motet") | {"MOTET_CACHE_DIR": str(folder / "cache" / cache)}
        found: Measured = measure(
            ["python", "-m", "benchmarks.estimators", str(folder), job, who], settings.timeout_s, environment
        )
        if found.error:
            sys.exit(f"{job}: {who} failed: {found.error}")
        return found.report

    run("make", "none")
    runs: dict[str, list[Mapping[str, Any]]] = {"by hand": [], "Motet, cold": [], "Motet, warm": []}
    for turn in range(settings.rounds):
        runs["by hand"].append(run("hand", "none"))
        for who in ("Motet, cold", "Motet, warm"):
            runs[who].append(run("motet", f"{job}-{os.getpid()}-{turn}"))
        _check(folder / job)
    return runs


def _check(folder: Path) -> None:
    """See that the answers are the same."""
    hand, ours = (pq.read_table(folder / f"{who}.parquet") for who in ("hand", "motet"))
    a, b = (found["p"].combine_chunks().to_numpy_ndarray() for found in (hand, ours))
    if np.abs(a.reshape(b.shape) - b).max() > 1e-5:
        sys.exit(f"{folder.name}: the answers are not those of the models")
    if "label" in hand.column_names and hand["label"].to_pylist() != ours["label"].to_pylist():
        sys.exit(f"{folder.name}: the labels are not those of the models")


def _shown(job: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    hand = [each["job_s"] for each in runs["by hand"]]
    limits = hand if job == "keyed200" else [ALLOWED * each["predict_s"] + ALLOWED_S for each in runs["by hand"]]
    lines = []
    for who, each in runs.items():
        seconds, cpu = ([run[what] for run in each] for what in ("job_s", "cpu_s"))
        mine = who == "by hand"
        lines.append((
            who, shown(spread(seconds), ".3f"), shown(spread([run["predict_s"] for run in each]), ".3f") if mine else "",
            shown(spread(cpu), ".3f"), "" if mine else shown(ratio(limits, seconds), ".2f"),
        ))  # fmt: skip
    allowed = "its time / the loop's" if job == "keyed200" else "its time / allowed"
    print(
        table((f"{job}, {ROWS[job]:,} rows", "s, median (range)", "predict, s", "CPU, s", allowed), lines),
        end="\n\n",
        flush=True,
    )
    return {who: list(each) for who, each in runs.items()}


if __name__ == "__main__":
    main()
