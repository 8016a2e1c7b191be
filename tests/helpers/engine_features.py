"""What every engine and every other way of answering is tried with, and what one of them does not do: data alone.

docs/generate.py makes the tables of docs/engines.md of it. tests/engines/ play each feature each way: what has no gap must be
right there, and a gap must be one.
"""

FEATURES = {
    "nodes": (
        "map", "model", "ensemble", "ensemble with require", "cascade", "cascade with on_error: fail", "route by key",
        "route by key with a fallback", "route by split", "route by condition", "shard", "graphs inside",
        "a model for each key", "models that share places", "models with before and after", "map row by row", "ensemble: all combiners",
        "ensemble with a function of one's own", "ensemble with a shadow", "columns of members", "several inputs and outputs",
        "copies, padding and sizes of calls", "route by numbers and truth", "route to graphs", "stages of different memory",
    ),
    "handlers": ("onnx", "sklearn", "skops", "torch", "xgboost", "lightgbm", "catboost", "jax", "keras", "litert", "openvino", "python", "oip+http"),
    "failures": (
        "a null", "a null inside a list", "a value that does not fit", "a function raises", "a model raises", "a function answers what it did not declare",
        "no arm for a key", "no key", "all members of a cascade fail", "too few members of an ensemble", "a piece of a shard fails",
        "inside a graph", "what is no Exception", "rows too few or of another shape", "a combiner raises", "no probability to be confident of",
        "pieces that are miscounted", "before or after a model", "a number out of range", "a model that fails on everything",
    ),
    "values": (
        "arrays that vary in length", "arrays of a shape", "bytes", "texts beyond ASCII", "nulls with defaults", "nulls that are answered", "NaN and infinity",
        "every dtype", "half numbers", "nested arrays", "whole numbers above 2^53", "decimals, times and structs",
    ),
    "sources": (
        "Parquet", "Arrow", "CSV", "JSON Lines", "gzip", "many small files", "files of different columns", "Hive folders", "no rows", "one row",
        "pictures in folders",
    ),
    "columns that are kept": ("numbers and texts", "nested, decimals and times", "doubled ids", "stored names", "dates, maps and large texts", "times of day, durations and wide decimals"),
}  # fmt: skip
"""By kind what is tried."""

WAYS = {
    "call": "`graph(columns)`",
    "live": "`motet serve`, over `/predict`",
    "live, /v2": "`motet serve`, over the Open Inference Protocol",
    "live, gRPC": "`motet serve`, over that protocol's gRPC",
    "local": "`motet run`",
    "beam": "`--engine beam`, in this process",
    "ray": "`--engine ray`",
    "spark": "`--engine spark`",
    "as_ptransform": "`graph.as_ptransform()`, over dicts",
    "as_ptransform, tables": "`graph.as_ptransform(schema=...)`, over tables",
    "as_ptransform, Prism": "`graph.as_ptransform()`, over dicts, on Beam's runner Prism",
    "as_ptransform, Flink": "`graph.as_ptransform()`, over dicts, on Beam's runner for Flink",
    "RunInference": "`graph.as_model_handler()`",
    "on_ray": "`graph.on_ray(rows)`",
    "on_spark": "`graph.on_spark(frame)`",
}
"""How each way is written."""

SERVED = ("live", "live, /v2", "live, gRPC")
"""Ways that are told of a row that failed why, and not where."""

OF_FILES = ("local", "beam", "ray", "spark")
"""Ways that read and write files."""

ONLY = {
    "sources": OF_FILES,
    "columns that are kept": (*OF_FILES, *(way for way in WAYS if way.startswith(("as_ptransform", "on_")))),
}
"""Kinds that are not for all ways: others are given rows, or give outputs alone."""

GAPS = {
    ("live", "values: decimals, times and structs"): "JSON has no such values",
    ("live", "values: NaN and infinity"): "JSON has null for them",
    ("on_spark", "values: half numbers"): "Spark has none, and what is a float there is no float16",
    ("on_spark", "columns that are kept: times of day, durations and wide decimals"): "Spark reads no such columns",
    **{
        (way, feature): "no tensor holds them"
        for way in ("live, /v2", "live, gRPC")
        for feature in (
            "values: decimals, times and structs",
            "values: nulls that are answered",
            "failures: a null inside a list",
        )
    },
}
"""What a way does not do, as `kind: feature`, and why."""


def is_for(way: str, feature: str) -> bool:
    """Whether a feature is for a way, as far as it does it."""
    return way in ONLY.get(feature.partition(":")[0], WAYS) and (way, feature) not in GAPS
