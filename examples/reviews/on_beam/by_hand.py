"""The graph `sentiment.yaml` as a transform of Apache Beam that is written by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import joblib
from apache_beam.utils.shared import Shared

Row = dict[str, Any]


class CallModel(beam.DoFn):
    """Calls one model on batches of rows; a row that fails goes to an output of its own, and harms no other."""

    def __init__(self, path: Path, label: str, scores: str) -> None:
        self.path, self.label, self.scores = path, label, scores
        self.shared = Shared()

    def setup(self) -> None:
        self.model = self.shared.acquire(lambda: joblib.load(self.path), tag=str(self.path))

    def process(self, rows: list[Row]) -> Iterator[Any]:
        try:
            answers = self._call(rows)
        except Exception as error:  # noqa: BLE001  # whatever the model raises
            if len(rows) == 1:
                yield beam.pvalue.TaggedOutput("failures", {"row": rows[0], "message": str(error)})
                return
            for row in rows:
                yield from self.process([row])
            return
        yield from answers

    def _call(self, rows: list[Row]) -> list[Row]:
        probabilities = self.model.predict_proba([row["text"] for row in rows])
        answers = []
        for row, scores in zip(rows, probabilities, strict=True):
            label = self.model.classes_[scores.argmax()]
            answers.append({**row, self.label: str(label), self.scores: scores})
        return answers


class ChooseModel(beam.DoFn):
    """Tags rows by the model for their language, where that is sure."""

    def __init__(self, at: float) -> None:
        self.at = at

    def process(self, row: Row) -> Iterator[Any]:
        sure = row.pop("spoken").max() >= self.at
        if sure and row["language"] == "en":
            yield beam.pvalue.TaggedOutput("en", {**row, "model": "en"})
        elif sure and row["language"] == "zh":
            yield beam.pvalue.TaggedOutput("zh", {**row, "model": "zh"})
        else:
            yield beam.pvalue.TaggedOutput("any", {**row, "model": "any"})


class Sentiment(beam.PTransform):
    """Rows with a `text` to answers, and failures."""

    def __init__(self, models: Path, batch_rows: int = 256) -> None:
        super().__init__()
        self.models, self.batch_rows = models, batch_rows

    def expand(self, rows: Any) -> Any:
        spoken = self._call(rows, "language", "language", "spoken")
        chosen = spoken.answers | "Choose" >> beam.ParDo(ChooseModel(0.9)).with_outputs("en", "zh", "any")
        moods = [self._call(chosen[name], name, "mood", "probabilities") for name in ("en", "zh", "any")]
        answers = [mood.answers for mood in moods] | "Answers" >> beam.Flatten()
        failures = [spoken.failures, *(mood.failures for mood in moods)] | "Failures" >> beam.Flatten()
        return {"answers": answers, "failures": failures}

    def _call(self, rows: Any, name: str, label: str, scores: str) -> Any:
        batches = rows | f"Batch {name}" >> beam.BatchElements(max_batch_size=self.batch_rows)
        call = CallModel(self.models / f"{name}.joblib", label, scores)
        return batches | f"Call {name}" >> beam.ParDo(call).with_outputs("failures", main="answers")
