"""Models that are objects of this program: a snapshot is written when a graph is made with one, and gone when the program ends."""

from __future__ import annotations

import atexit
import hashlib
import os
import pickle
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from motet.errors import GraphError
from motet.system.places import temporary_folder
from motet.system.whole_files import write_whole

__all__ = ["STAND_IN", "check_written", "is_model", "sent", "snapshot"]

STAND_IN = "python:motet.graph.stand_in:StandIn"
"""The URI of a function of this program in the place of a model."""

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
    if uri == STAND_IN:
        raise GraphError("the model is a stand-in of this program, which no file can name", where=where)
    if _is_snapshot(uri):
        hint = "write it to a file (joblib.dump(estimator, 'x.joblib')) and make the graph with motet.Model('x.joblib')"
        raise GraphError("the model is an object of this program, which no file can name", where=where, hint=hint)


class _Sent(str):
    """The URI of a snapshot, which is pickled as what the snapshot holds, and is the URI of another one where it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        scheme, _, path = self.partition(":")
        return _arrived, (scheme, Path(path).name, Path(path).read_bytes())


def sent(uri: str) -> str:
    """A model's URI, to be pickled: a snapshot goes with it."""
    return _Sent(uri) if _is_snapshot(uri) else uri


def _arrived(scheme: str, name: str, content: bytes) -> str:
    return f"{scheme}:{_placed(content, name)}"


def _is_snapshot(uri: str) -> bool:
    return bool(_folder.cache_info().currsize) and _folder().name in Path(uri).parts


def _written_by(booster: Any, suffix: str) -> Path:
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        path = Path(folder, f"booster.{suffix}")
        booster.save_model(str(path))
        return _placed(path.read_bytes(), path.name)


def _placed(content: bytes, name: str) -> Path:
    """A file of this content, in a folder that is named after it."""
    path = Path(_folder(), hashlib.sha256(content).hexdigest()[:12], name)
    if not path.exists():
        write_whole(path, content, mode=0o600)
    return path


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="motet-", dir=temporary_folder()))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, pid: int) -> None:
    if pid == os.getpid():  # a process that was forked ends before this one
        shutil.rmtree(folder, ignore_errors=True)
