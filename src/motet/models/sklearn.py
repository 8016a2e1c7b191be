"""scikit-learn estimators and pipelines, from joblib and pickle files. Loading one runs code.

What an estimator gives by itself:

    classifier         probabilities: float64[classes] (where it has predict_proba) and label: string, int64, ...
    several questions  label_probabilities: float64[labels], or [questions, classes], and label: int64[questions], ...
    regressor          value: float64, or float64[targets]
    cluster, outlier   label: int64
    mixture            probabilities: float64[components] and label: int64
    transformer        features: float64[features]

It is called with two rows made up, so that these types are what it gives. Each output costs a call of the estimator
(probabilities: predict_proba; label, value: predict; features: transform; scores: decision_function): declare only
those that are needed. It takes

    one input a feature     where it was fitted with names: by name, as a pandas DataFrame; string where its encoders
                            have texts for categories, else float64, or any where it does not say
    features: float64[n]    where it was not
    text: string            where its first step is a text vectorizer
    the declared inputs     by name where they are its features' names, whatever their order; else side by side in the
                            order in which they are declared: one column `[n]`, or several

Options:

    frame        true gives the estimator a DataFrame of the inputs by name, false never does; by default where the inputs
                 are the features that it was fitted with
    categories   {feature: [category, ...]} for columns that are to be pandas' categories; those that estimators of
                 XGBoost and LightGBM were fitted with are known

`threads` sets `n_jobs` and OpenMP's threads. BLAS threads are process-wide: OPENBLAS_NUM_THREADS and its like set them.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Container, Mapping
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.models.common import check_cpu, check_options, framework, load_error, own_filters, place
from motet.models.handler import Handler, ModelSource
from motet.models.keep import LoadCache, learned_key
from motet.models.openmp import OpenMP
from motet.models.sklearn_inputs import taken
from motet.models.sklearn_quiet import quiet
from motet.models.sklearn_signature import METHODS, TRIED_ROWS, dense, estimator_outputs
from motet.models.stacking.program import Program, Unstackable
from motet.system.recent import LruCache
from motet.tracebacks import summary
from motet.types import ColumnType, Signature

__all__ = ["SklearnHandler", "SklearnModel"]

Maker = Callable[[Mapping[str, Array]], Any]
_PACKAGES = ("sklearn", "xgboost", "lightgbm")


_MOST_PROBABLE = frozenset({"ForestClassifier.predict", "BaggingClassifier.predict", "CalibratedClassifierCV.predict"})
"""Methods that answer the class of the largest of `predict_proba`, so that both need not be called."""


class SklearnHandler(Handler):
    """Loads `.joblib`, `.pkl` and `.pickle` files."""

    name: ClassVar[str] = "sklearn"
    extra: ClassVar[str] = "sklearn"
    suffixes: ClassVar[tuple[str, ...]] = (".joblib", ".pkl", ".pickle")
    runs_code: ClassVar[bool] = True
    holds_lock: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("frame", "categories")

    def __init__(self) -> None:
        self._kept: LoadCache[Any] = LoadCache(_unpickle)
        self._learned: LruCache[Any, Signature] = LruCache(4096)
        self._classes: LruCache[Any, str] = LruCache(4096)

    def signature(self, source: ModelSource) -> Signature:
        """What the estimator takes and gives; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no estimator, or it does not say what it takes and nothing is declared.
        """
        self.check(source)
        known = self._learned.get(learned_key(source))
        if known is None:
            known, _ = _looked(self._kept.look(source), source)
            self._learned.put(learned_key(source), known)
        return known

    def load(self, source: ModelSource) -> SklearnModel:
        """Load it for use; see `Handler.load`."""
        self.check(source)
        check_cpu(source, "scikit-learn")
        estimator = self._kept.take(source)
        signature, make = _looked(estimator, source, self._learned.get(learned_key(source)))
        _set_jobs(estimator, source.threads)
        is_pipeline = type(estimator).__module__ == "sklearn.pipeline" and type(estimator).__name__ == "Pipeline"
        last = type(estimator.steps[-1][1] if is_pipeline else estimator)
        if last.__module__.startswith("sklearn."):
            self._classes.put(learned_key(source), last.__name__)
        return SklearnModel(estimator, signature, make, source.threads)

    def program(self, source: ModelSource, most_bytes: int) -> Program:
        """What the estimator computes, which is loaded for it and kept for a while; see `Handler`."""
        from motet.models.stacking.sklearn_program import STACKABLE, sklearn_program

        known = self._classes.get(learned_key(source))
        if known is not None and known not in STACKABLE:  # a forest, say, which is not loaded twice to find that out
            raise Unstackable(f"is a {known}")
        if os.path.getsize(source.location) > most_bytes:
            raise Unstackable(f"is larger than {most_bytes >> 20} MiB")
        return sklearn_program(self._kept.look(source), self.signature(source), most_bytes)

    def check(self, source: ModelSource) -> None:
        """Refuse options that there are not."""
        check_options(source, self.options)


class SklearnModel:
    """An estimator; its methods do not change it, so several threads may call it.

    Args:
        estimator: the estimator.
        signature: what it takes and gives.
        make: from the columns of a batch to what its methods take.
        threads: how many OpenMP threads a call uses.
    """

    def __init__(self, estimator: Any, signature: Signature, make: Maker, threads: int = 1) -> None:
        self._make, self._openmp = make, OpenMP(threads)
        self._classes = _classes_of_most_probable(estimator)
        self._every = [(name, getattr(estimator, METHODS[name]), kind) for name, kind in signature.outputs.items()]
        self._calls = self._every

    def need(self, outputs: Container[str]) -> None:
        """Compute only these from now on."""
        self._calls = [call for call in self._every if call[0] in outputs]

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. Each method is given features of its own, which some estimators change."""
        rows = len(next(iter(columns.values())))
        found: dict[str, Array] = {}
        with self._openmp.limited(), quiet():
            for name, method, _ in self._calls:
                if name == "label" and self._classes is not None and "probabilities" in found:
                    found[name] = self._classes.take(np.argmax(found["probabilities"], axis=1))
                else:
                    found[name] = self._rows_of(method, columns, rows)
        return {name: _answer(found[name], kind) for name, _, kind in self._calls}

    def _rows_of(self, method: Callable[[Any], Any], columns: Mapping[str, Array], rows: int) -> Array:
        answer = dense(self._called(method, columns))
        if rows == 1 and answer.shape[:1] != (1,):  # some squeeze or repeat a row that is alone
            twice = {name: np.repeat(column, 2, axis=0) for name, column in columns.items()}
            return dense(self._called(method, twice))[:1]
        return answer

    def _called(self, method: Callable[[Any], Any], columns: Mapping[str, Array]) -> Any:
        given = self._make(columns)
        try:
            return method(given)
        except ValueError as error:
            if "read-only" not in str(error) or not isinstance(given, np.ndarray):
                raise
            return method(given.copy())

    def close(self) -> None:
        """Let go of the estimator."""
        self._calls = self._every = []


def _classes_of_most_probable(estimator: Any) -> Array | None:
    """The classes of an estimator whose labels scikit-learn itself makes of its probabilities; None where it does not."""
    steps = getattr(estimator, "steps", None)
    predict = getattr(type(steps[-1][1] if steps else estimator), "predict", None)
    classes = getattr(estimator, "classes_", None)
    own = (
        getattr(predict, "__module__", "").startswith("sklearn.")
        and getattr(predict, "__qualname__", "") in _MOST_PROBABLE
    )
    return classes if own and isinstance(classes, np.ndarray) else None


def _looked(estimator: Any, source: ModelSource, known: Signature | None = None) -> tuple[Signature, Maker]:
    """What an estimator takes and gives, and how a batch becomes what it takes.

    Raises:
        ModelLoadError: when it is no fitted estimator, or does not say what it takes and nothing is declared.
    """
    _check_estimator(estimator, source)
    given = taken(estimator, source)
    if known is not None:
        return known, given.make
    found = estimator_outputs(estimator, lambda number: given.make(given.rows(TRIED_ROWS, number)), source)
    return Signature(given.inputs, found.types, labels=found.labels), given.make


def _check_estimator(estimator: Any, source: ModelSource) -> None:
    if not any(hasattr(estimator, method) for method in ("fit", *METHODS.values())):
        keys = f" of {', '.join(map(str, estimator))}" if isinstance(estimator, dict) and len(estimator) < 20 else ""
        hint = "dump the estimator alone: joblib.dump(estimator, path)"
        raise load_error(source, f"it holds a {type(estimator).__name__}{keys}, no estimator", hint)
    if type(estimator).__module__.split(".")[0] in _PACKAGES and hasattr(estimator, "fit"):
        try:
            importlib.import_module("sklearn.utils.validation").check_is_fitted(estimator)
        except ValueError as error:  # NotFittedError is one
            hint = "fit it before it is dumped"
            raise load_error(source, f"the {type(estimator).__name__} is not fitted", hint) from error


def _unpickle(source: ModelSource) -> Any:
    """Load the file, with one warning that names the model where another version of scikit-learn wrote it."""
    framework("sklearn", "scikit-learn", "sklearn", source)
    joblib = framework("joblib", "joblib", "sklearn", source)
    from sklearn.exceptions import InconsistentVersionWarning

    with own_filters("always") as caught:
        try:
            estimator = joblib.load(source.location)
        except ModuleNotFoundError as error:
            hint = "install the package, or make the module importable, that the estimator was made with"
            raise load_error(source, f"it needs the module {error.name!r}, which cannot be imported", hint) from error
        except MemoryError:
            raise
        except Exception as error:
            hint = "write it with joblib.dump or pickle.dump, with the same versions of the packages that it uses"
            if "__main__" in str(error):
                hint = "the script that wrote it has what is missing: put that into a module, import it there, and write it again"
            raise load_error(source, f"it cannot be unpickled: {summary(error)}", hint) from error
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


def _answer(array: Array, kind: ColumnType) -> Array:
    if kind.shape == () and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    wanted = kind.numpy_dtype
    if kind.dtype == "any" or not np.can_cast(array.dtype, wanted, "same_kind"):
        return array
    return array.astype(wanted, copy=False)
