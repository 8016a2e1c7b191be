"""Models that are objects of this program: a snapshot is written when a graph is made with one, and gone when the program ends.

What writes files is imported when one is written, since most graphs have no such model.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import pickle
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from motet.errors import GraphError

__all__ = ["STAND_IN", "check_written", "is_model", "packed", "sent", "snapshot", "travels"]

STAND_IN = "python:motet.graph.stand_in:StandIn"
"""The URI of a function of this program in the place of a model."""

_BOOSTERS = {"xgboost": "ubj", "lightgbm": "lgb", "catboost": "cbm"}


def is_model(value: Any) -> bool:
    """Whether something is an estimator: fitted objects of scikit-learn, XGBoost or LightGBM, and what is like them."""
    return not isinstance(value, type) and any(
        callable(getattr(value, name, None)) for name in ("predict", "transform")
    )


def snapshot(model: Any, where: str) -> str:
    """The URI of what an estimator is now; that it changes afterwards makes no difference.

    Raises:
        GraphError: when it cannot be pickled or written.
    """
    kind = type(model)
    package = kind.__module__.split(".")[0]
    if package in _BOOSTERS and (kind.__name__ == "Booster" or package == "catboost"):
        return f"{package}:{_written_by(model, _BOOSTERS[package], where)}"
    try:
        content = pickle.dumps(model)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        hint = "put the functions and classes that it uses into a module"
        raise GraphError(f"the {kind.__name__} cannot be pickled: {error}", where=where, hint=hint) from error
    name = f"{kind.__name__.lower()}.pkl"
    return f"sklearn:{_placed({name: content}, name)}"


def check_written(uri: str, where: str) -> None:
    """Refuse to name a snapshot in a file.

    Raises:
        GraphError: when the URI is one; says what to do.
    """
    if uri == STAND_IN:
        raise GraphError("the model is a stand-in of this program, which no file can name", where=where)
    if travels(uri):
        hint = "write it to a file (joblib.dump(estimator, 'x.joblib')) and make the graph with motet.Model('x.joblib')"
        raise GraphError("the model is an object of this program, which no file can name", where=where, hint=hint)


class _Sent(str):
    """The URI of a snapshot, which is pickled as what the snapshot holds, and is the URI of another one where it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        scheme, _, path = self.partition(":")
        folder = Path(_folder(), Path(path).relative_to(_folder()).parts[0])
        return _arrived, (scheme, str(Path(path).relative_to(folder)), _contents(folder, [folder]))


def sent(uri: str) -> str:
    """A model's URI, to be pickled: a snapshot goes with it."""
    return _Sent(uri) if travels(uri) else uri


def packed(scheme: str, location: str, files: Sequence[str]) -> str:
    """The URI of a copy of a model's files, with which they travel.

    Args:
        scheme: of the model's handler.
        location: the model's own file or folder.
        files: all that it has, in the same folder or below it.
    """
    folder = Path(location).parent
    return _arrived(scheme, Path(location).name, _contents(folder, [Path(each) for each in files]))


def _contents(folder: Path, places: Sequence[Path]) -> dict[str, bytes]:
    """The files at these places, and in them, by their paths below a folder; see `files_below`."""
    from motet.system.folders import files_below

    files = [
        Path(each) for place in places for each in (files_below(str(place)).values() if place.is_dir() else [place])
    ]
    return {str(each.relative_to(folder)): each.read_bytes() for each in files if each.is_file()}


def _arrived(scheme: str, name: str, contents: Mapping[str, bytes]) -> str:
    return f"{scheme}:{_placed(contents, name)}"


def travels(uri: str) -> bool:
    """Whether the files of a model go with its pickle."""
    return bool(_folder.cache_info().currsize) and _folder().name in Path(uri).parts


def _written_by(booster: Any, suffix: str, where: str) -> Path:
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        path = Path(folder, f"booster.{suffix}")
        try:
            booster.save_model(str(path))
        except Exception as error:
            raise GraphError(f"the {type(booster).__name__} cannot be written: {error}", where=where) from error
        return _placed({path.name: path.read_bytes()}, path.name)


def _placed(contents: Mapping[str, bytes], name: str) -> Path:
    """The file or folder of a name among files, which are put into a folder that is named after what they hold."""
    from motet.system.whole_files import write_whole

    digest = hashlib.sha256()
    for place, content in sorted(contents.items()):
        digest.update(f"{len(place.encode())}:{place} {len(content)}:".encode())
        digest.update(content)
    folder = Path(_folder(), digest.hexdigest()[:12])
    for place, content in contents.items():
        if not (folder / place).exists():
            write_whole(folder / place, content, mode=0o600)
    return folder / name


@cache
def _folder() -> Path:
    from motet.system.places import temporary_folder

    folder = Path(tempfile.mkdtemp(prefix="motet-", dir=temporary_folder()))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, pid: int) -> None:
    if pid == os.getpid():  # a process that was forked ends before this one
        shutil.rmtree(folder, ignore_errors=True)
