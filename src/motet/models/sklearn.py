"""scikit-learn estimators and pipelines, from joblib and pickle files. Loading one runs code.

What an estimator gives by itself:

    classifier        probabilities: float64[classes] (where it has predict_proba) and label: string, int64, ...
    regressor         value: float64, or float64[targets]
    cluster, outlier  label: int64
    transformer       features: float64[features]

Each output costs a call of the estimator (probabilities: predict_proba; label, value: predict; features: transform;
scores: decision_function): declare only those that are needed. It takes `features: float64[n]`, or the declared
inputs: one column `[n]`; several columns put side by side (in the order of the estimator's feature names where the
names are the same); or one string column for text. Options:

    frame   true gives the estimator a pandas DataFrame of the inputs by name

`threads` sets `n_jobs`. OpenMP and BLAS threads are process-wide and scikit-learn's own: OMP_NUM_THREADS sets them.
"""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.models.common import check_cpu, check_options, features_of, framework, load_error, place
from motet.models.handler import ModelSource
from motet.models.keep import Kept
from motet.models.sklearn_signature import METHODS, estimator_signature
from motet.types import ColumnType, Signature

__all__ = ["SklearnHandler", "SklearnModel"]

Maker = Callable[[Mapping[str, Array]], Any]


class SklearnHandler:
    """Loads `.joblib`, `.pkl` and `.pickle` files."""

    name: ClassVar[str] = "sklearn"
    suffixes: ClassVar[tuple[str, ...]] = (".joblib", ".pkl", ".pickle")
    has_file: ClassVar[bool] = True
    runs_code: ClassVar[bool] = True
    batch_invariant: ClassVar[bool] = False

    def __init__(self) -> None:
        self._kept: Kept[Any] = Kept(_unpickle)

    def signature(self, source: ModelSource) -> Signature:
        """What the estimator takes and gives; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no estimator, or it does not say what it takes and nothing is declared.
        """
        check_options(source, ("frame",))
        return estimator_signature(self._kept.look(source), source)

    def load(self, source: ModelSource) -> SklearnModel:
        """Load it for use; see `Handler.load`."""
        check_options(source, ("frame",))
        check_cpu(source, "scikit-learn")
        estimator = self._kept.take(source)
        signature = estimator_signature(estimator, source)
        _set_jobs(estimator, source.threads)
        return SklearnModel(estimator, signature, _maker(estimator, signature, source), place(source))


class SklearnModel:
    """An estimator; its methods do not change it, so several threads may call it."""

    def __init__(self, estimator: Any, signature: Signature, maker: Maker, where: str) -> None:
        self._where, self._make = where, maker
        self._calls = [(name, getattr(estimator, METHODS[name]), kind) for name, kind in signature.outputs.items()]

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`."""
        given = self._make(columns)
        return {name: _answer(method(given), kind) for name, method, kind in self._calls}

    def close(self) -> None:
        """Let go of the estimator."""
        self._calls = []


def _unpickle(source: ModelSource) -> Any:
    """Load the file, with one warning that names the model where another version of scikit-learn wrote it."""
    framework("sklearn", "scikit-learn", "sklearn", source)
    joblib = framework("joblib", "joblib", "sklearn", source)
    from sklearn.exceptions import InconsistentVersionWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(source.location)
        except ModuleNotFoundError as error:
            hint = "install the package, or make the module importable, that the estimator was made with"
            raise load_error(source, f"it needs the module {error.name!r}, which cannot be imported", hint) from error
        except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, OSError, AttributeError) as error:
            hint = "write it with joblib.dump or pickle.dump, with the same versions of the packages that it uses"
            raise load_error(source, f"it cannot be unpickled: {type(error).__name__}: {error}", hint) from error
    _tell(source, caught, InconsistentVersionWarning)
    return estimator


def _tell(source: ModelSource, caught: list[warnings.WarningMessage], version_warning: type[Warning]) -> None:
    versions = [item.message for item in caught if issubclass(item.category, version_warning)]
    if versions:
        old, new = versions[0].original_sklearn_version, versions[0].current_sklearn_version  # type: ignore[union-attr]
        warnings.warn(
            f"{place(source)} was made with scikit-learn {old}, this is {new}: its answers may differ; "
            f"install scikit-learn=={old}, or make the model again",
            UserWarning,
            stacklevel=4,
        )
    for item in caught:
        if not issubclass(item.category, version_warning):
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)


def _set_jobs(estimator: Any, threads: int) -> None:
    if hasattr(estimator, "get_params") and hasattr(estimator, "set_params"):
        jobs = [name for name in estimator.get_params() if name == "n_jobs" or name.endswith("__n_jobs")]
        estimator.set_params(**dict.fromkeys(jobs, threads))


def _maker(estimator: Any, signature: Signature, source: ModelSource) -> Maker:
    """How a batch's columns become what the estimator takes."""
    inputs = signature.inputs
    known = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    names = known if set(known) == set(inputs) else list(inputs)
    if source.options.get("frame"):
        frame = framework("pandas", "pandas", "sklearn", source).DataFrame
        return lambda columns: frame({name: columns[name] for name in names}, columns=names)
    if len(names) == 1 and not inputs[names[0]].shape and inputs[names[0]].is_object:
        return lambda columns: columns[names[0]]
    _refuse_objects(inputs, source)
    stack = features_of({name: inputs[name] for name in names}, _common_dtype(inputs))
    return _named(stack, known) if known else stack


def _named(stack: Maker, names: list[str]) -> Maker:
    """An estimator that was fitted on a DataFrame warns at each call without the names: give it them where we can."""
    if importlib.util.find_spec("pandas") is None:
        return stack
    frame = importlib.import_module("pandas").DataFrame
    return lambda columns: frame(stack(columns), columns=names)


def _refuse_objects(inputs: Mapping[str, ColumnType], source: ModelSource) -> None:
    words = [name for name, kind in inputs.items() if kind.dtype in ("string", "bytes")]
    if words:
        hint = "say `with: {frame: true}` to give the estimator a DataFrame of the inputs by name"
        raise load_error(source, f"string inputs cannot be put side by side with numbers: {', '.join(words)}", hint)


def _common_dtype(inputs: Mapping[str, ColumnType]) -> str:
    kinds = [kind.numpy_dtype for kind in inputs.values() if kind.dtype != "any"]
    return str(np.result_type(*kinds)) if kinds else "float64"


def _answer(result: Any, kind: ColumnType) -> Any:
    array = np.asarray(result.toarray() if hasattr(result, "toarray") else result)
    if kind.shape == () and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return array if kind.dtype == "any" else array.astype(kind.numpy_dtype, copy=False)
