"""Models that are objects of this program: a snapshot is written when a graph is made with one, and gone when the program ends."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from motet.errors import GraphError

__all__ = ["check_written", "is_model", "snapshot"]

_BOOSTERS = {"xgboost": "ubj", "lightgbm": "lgb"}


def is_model(value: Any) -> bool:
    """Whether something is an estimator: fitted objects of scikit-learn, XGBoost or LightGBM, and what is like them."""
    return not isinstance(value, type) and any(
        callable(getattr(value, name, None)) for name in ("predict", "transform")
    )


def snapshot(model: Any, where: str) -> str:
    """The URI of what an estimator is now; that it changes afterwards makes no difference.

    Raises:
        GraphError: when it cannot be pickled.
    """
    kind = type(model)
    package = kind.__module__.split(".")[0]
    if package in _BOOSTERS and kind.__name__ == "Booster":
        return f"{package}:{_written_by(model, _BOOSTERS[package])}"
    try:
        content = pickle.dumps(model)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        hint = "put the functions and classes that it uses into a module"
        raise GraphError(f"the {kind.__name__} cannot be pickled: {error}", where=where, hint=hint) from error
    return f"sklearn:{_placed(content, f'{kind.__name__.lower()}.pkl')}"


def check_written(uri: str, where: str) -> None:
    """Refuse to name a snapshot in a file.

    Raises:
        GraphError: when the URI is one; says what to do.
    """
    if Path(_folder().name).name in Path(uri).parts:
        hint = "write it to a file (joblib.dump(estimator, 'x.joblib')) and make the graph with motet.Model('x.joblib')"
        raise GraphError("the model is an object of this program, which no file can name", where=where, hint=hint)


def _written_by(booster: Any, suffix: str) -> Path:
    path = Path(_folder().name, f"written.{suffix}")
    booster.save_model(str(path))
    return _placed(path.read_bytes(), f"booster.{suffix}")


def _placed(content: bytes, name: str) -> Path:
    """A file of this content, in a folder that is named after it."""
    path = Path(_folder().name, hashlib.sha256(content).hexdigest()[:12], name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="motet-")
