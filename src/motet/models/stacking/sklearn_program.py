"""What a linear model or a multilayer perceptron of scikit-learn computes, with the scalers before it, as a `Program`.

Only classes of scikit-learn itself are known, by their names: those that inherit from them may compute something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from motet.batch import Array
from motet.models.stacking.builder import ProgramBuilder
from motet.models.stacking.program import Program, Unstackable, input_value
from motet.types import Signature

__all__ = ["STACKABLE", "sklearn_program"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_REGRESSORS: Final = _words("""
    ARDRegression BayesianRidge ElasticNet ElasticNetCV HuberRegressor Lars LarsCV Lasso LassoCV LassoLars LassoLarsCV LassoLarsIC
    LinearRegression LinearSVR OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV PassiveAggressiveRegressor QuantileRegressor
    Ridge RidgeCV SGDRegressor TheilSenRegressor
""")
"""Their answer is `x @ coef_.T + intercept_`."""
_CLASSIFIERS: Final = _words("""
    LinearSVC LogisticRegression LogisticRegressionCV PassiveAggressiveClassifier Perceptron RidgeClassifier RidgeClassifierCV
    SGDClassifier
""")
"""Their scores are that; the highest one, or one above 0, is the class."""
_PERCEPTRONS: Final = ("MLPRegressor", "MLPClassifier")
STACKABLE: Final = _REGRESSORS.union(_CLASSIFIERS, _PERCEPTRONS)
"""The classes that a program may be made of, alone or as the last step of a pipeline."""
_ACTIVATIONS: Final = {
    "identity": "Identity",
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softmax": "Softmax",
}


def sklearn_program(estimator: Any, signature: Signature, most_bytes: int) -> Program:
    """What an estimator computes.

    Args:
        estimator: a fitted one.
        signature: what it takes and gives.
        most_bytes: how large its weights may be.

    Raises:
        Unstackable: when it cannot be played together with others.
    """
    built = _Built(estimator, signature)
    program = built.builder.program(signature.inputs, {name: built.output(name) for name in signature.outputs})
    if program.num_bytes > most_bytes:
        raise Unstackable(f"is larger than {most_bytes >> 20} MiB")
    return program


class _Built:
    """The layers of an estimator.

    Attributes:
        builder: makes the program.
    """

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self.builder, self._signature, self._estimator = ProgramBuilder(), signature, estimator
        *before, last = _steps(estimator)
        scales = any(step not in (None, "passthrough") for step in before)
        if scales and any(kind.dtype != "float64" for kind in signature.inputs.values()):
            raise Unstackable("scales float32, which scikit-learn rounds on the way")
        value = self._features(estimator)
        for step in before:
            value = self._scaled(step, value)
        name = type(last).__name__
        if name in _REGRESSORS:
            self._answers = {"value": self._linear(last, value)}
        elif name in _CLASSIFIERS:
            self._answers = self._classified(last, self._linear(last, value))
        elif name in _PERCEPTRONS:
            self._answers = self._perceptron(last, value)
        else:
            raise Unstackable(f"is a {name}")

    def output(self, name: str) -> str:
        """The value of an output, as the signature has it.

        Raises:
            Unstackable: when that is not known of such an estimator.
        """
        if name not in self._answers:
            raise Unstackable(f"gives {name}")
        kind, value = self._signature.outputs[name], self._answers[name]
        if kind.dtype == "any":
            raise Unstackable(f"gives {name} as any")
        if name in ("value", "scores") and not kind.shape:
            value = self.builder.add("First", value)
        return value if name == "label" else self.builder.add("Cast", value, to=str(kind.numpy_dtype))

    def _features(self, estimator: Any) -> str:
        """The features of a row: one input that has all of them, or an input for each."""
        inputs = self._signature.inputs
        names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        shaped = [name for name, kind in inputs.items() if kind.shape]
        if len(inputs) == 1 and shaped:
            return self.builder.add("Cast", input_value(shaped[0]), to="float64")
        if shaped or (names and set(names) != set(inputs)):
            raise Unstackable("takes inputs that are no features")
        return self.builder.add(
            "Columns", *(self.builder.add("Cast", input_value(name), to="float64") for name in names or inputs)
        )

    def _scaled(self, step: Any, value: str) -> str:
        """A scaler's answer."""
        name, add, weight = type(step).__name__, self.builder.add, self._weight
        if step in (None, "passthrough"):
            return value
        if name == "StandardScaler":
            value = add("Sub", value, weight(step.mean_)) if step.with_mean else value
            return add("Div", value, weight(step.scale_)) if step.with_std else value
        if name == "MinMaxScaler" and not step.clip:
            return add("Add", add("Mul", value, weight(step.scale_)), weight(step.min_))
        if name == "MaxAbsScaler" and not getattr(step, "clip", False):
            return add("Div", value, weight(step.scale_))
        raise Unstackable(f"has a {name}")

    def _weight(self, values: Any) -> str:
        return self.builder.weight(np.array(values, np.float64))

    def _layer(self, value: str, weights: Array, intercepts: Any) -> str:
        """`value @ weights + intercepts`."""
        added = np.broadcast_to(np.asarray(intercepts, np.float64), (weights.shape[1],))
        return self.builder.add("Gemm", value, self._weight(weights), self._weight(added))

    def _linear(self, estimator: Any, value: str) -> str:
        coefficients = estimator.coef_
        if not isinstance(coefficients, np.ndarray):
            raise Unstackable("has sparse coefficients")
        return self._layer(value, np.atleast_2d(coefficients).T, estimator.intercept_)

    def _classified(self, estimator: Any, scores: str) -> dict[str, str]:
        """The answers of a linear classifier, of which one of two classes has one score."""
        classes, add = estimator.classes_, self.builder.add
        binary = len(classes) == 2
        found = {"scores": scores, "label": self._label("IsPositive" if binary else "ArgMax", scores, classes)}
        if not type(estimator).__name__.startswith("LogisticRegression"):
            return found
        if binary:
            return {**found, "probabilities": self._both(add("Sigmoid", scores))}
        one_against_all = estimator.solver == "liblinear"
        return {
            **found,
            "probabilities": add("Shares", add("Sigmoid", scores)) if one_against_all else add("Softmax", scores),
        }

    def _both(self, second: str) -> str:
        """The probabilities of two classes."""
        return self.builder.add("Concat", self.builder.add("Sub", self._weight(1.0), second), second, axis=1)

    def _label(self, by: str, value: str, classes: Array) -> str:
        """The class of each row."""
        if classes.ndim != 1:
            raise Unstackable("answers several questions")
        settings: Mapping[str, int] = {"axis": 1, "keepdims": 0} if by == "ArgMax" else {}
        kind = self._signature.outputs.get("label")
        table = classes.astype(object if kind is None else kind.numpy_dtype)
        return self.builder.add("Take", self.builder.add(by, value, **settings), self.builder.weight(table))

    def _perceptron(self, estimator: Any, value: str) -> dict[str, str]:
        last = len(estimator.coefs_) - 1
        for place, (weights, intercepts) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
            value = self._layer(value, weights, intercepts)
            activation = estimator.out_activation_ if place == last else estimator.activation
            if activation not in _ACTIVATIONS:
                raise Unstackable(f"has the activation {activation}")
            before, value = value, self.builder.add(_ACTIVATIONS[activation], value)
        if type(estimator).__name__ == "MLPRegressor":
            return {"value": value}
        if estimator.out_activation_ == "softmax":
            return {"probabilities": value, "label": self._label("ArgMax", value, estimator.classes_)}
        if len(estimator.classes_) != 2 or estimator.n_outputs_ != 1:
            raise Unstackable("answers several questions")
        return {"probabilities": self._both(value), "label": self._label("IsPositive", before, estimator.classes_)}


def _steps(estimator: Any) -> list[Any]:
    """The estimator, and what stands before it in a pipeline.

    Raises:
        Unstackable: when one of them is no class of scikit-learn.
    """
    steps = [step for _, step in estimator.steps] if type(estimator).__name__ == "Pipeline" else [estimator]
    for step in (estimator, *steps):
        if step not in (None, "passthrough") and not type(step).__module__.startswith("sklearn."):
            raise Unstackable(f"is a {type(step).__name__}, which is not of scikit-learn")
    return steps
