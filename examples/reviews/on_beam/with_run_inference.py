"""The same as `by_hand.py` with Beam's RunInference."""

from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import KeyedModelHandler, KeyModelMapping, RunInference
from apache_beam.ml.inference.sklearn_inference import ModelFileType, SklearnModelHandlerNumpy

Row = dict[str, Any]


def probabilities(model: Any, batch: Any, inference_args: Any = None) -> Any:
    return [(model.classes_[scores.argmax()], scores) for scores in model.predict_proba([row["text"] for row in batch])]


def handler(models: Path, name: str) -> Any:
    path = str(models / f"{name}.joblib")
    return SklearnModelHandlerNumpy(path, ModelFileType.JOBLIB, inference_fn=probabilities)


def choose(result: Any) -> tuple[str, Row]:
    label, scores = result.inference
    model = str(label) if scores.max() >= 0.9 and label in ("en", "zh") else "any"
    return model, {**result.example, "language": str(label), "model": model}


def answer(model: str, result: Any) -> Row:
    label, scores = result.inference
    return {**result.example, "mood": str(label), "probabilities": scores}


class Sentiment(beam.PTransform):
    """Rows with a `text` to answers, and failures: with one of these all rows of its batch fail."""

    def __init__(self, models: Path) -> None:
        super().__init__()
        self.models = models

    def expand(self, rows: Any) -> Any:
        by_key = KeyedModelHandler(
            [KeyModelMapping([name], handler(self.models, name)) for name in ("en", "zh", "any")]
        )
        spoken, unread = rows | "Language" >> RunInference(handler(self.models, "language")).with_exception_handling()
        chosen = spoken | "Choose" >> beam.Map(choose)
        moods, failed = chosen | "Mood" >> RunInference(by_key).with_exception_handling()
        answers = moods | "Answer" >> beam.MapTuple(answer)
        return {"answers": answers, "failures": [unread.failed_inferences, failed.failed_inferences] | beam.Flatten()}
