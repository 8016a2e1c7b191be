"""What a model is for, the options that it then has, and what it takes and gives.

| task | takes | gives |
|---|---|---|
| text-classification | text, with `pair: true` also text_pair | probabilities, label; score; label_probabilities |
| text-ranking | text, text_pair | score |
| token-classification | text | start, end, label, score of each span |
| embedding | text | embedding |
| text-generation | text | text |

A classifier of one class gives a score, one of which a text may have several classes at once label_probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motet.errors import UnknownNameError
from motet.models.common import check_options, declared_over, load_error, place
from motet.models.handler import ModelSource
from motet.models.huggingface.folder import TextFolder
from motet.models.huggingface.pooling import embedding_width
from motet.types import ColumnType, Signature

__all__ = ["TASKS", "is_pair", "is_several", "task_of", "text_signature"]

_NETWORK = ("task", "file", "max_length", "batch_tokens", "dtype", "providers", "graph_optimization")
TASKS = {
    "text-classification": (*_NETWORK, "pair", "activation"),
    "text-ranking": (*_NETWORK, "activation"),
    "token-classification": (*_NETWORK, "aggregation"),
    "embedding": (*_NETWORK, "pooling", "normalize", "dimensions", "prompt", "prompt_name"),
    "text-generation": (*_NETWORK, "generate"),
}
"""What models may be for, and the options of each."""
_TEXT, _FLOAT = ColumnType("string"), ColumnType("float32")
_SPANS = {"start": "int64", "end": "int64", "label": "string", "score": "float32"}
_WRITES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSeq2SeqLM")


def task_of(folder: TextFolder, source: ModelSource) -> str:
    """The task that was named, else the one that the folder was saved for; its options are checked.

    Raises:
        ModelLoadError: when nothing says it.
        UnknownNameError: when there is no such task, or it has no such option.
    """
    named = source.options.get("task")
    if named is not None and str(named) not in TASKS:
        raise UnknownNameError("task", str(named), tuple(TASKS), where=place(source))
    found = str(named) if named is not None else _told(folder)
    if not found:
        what = (
            f"the folder does not say what its model is for: its architecture is {folder.architecture or 'not named'}"
        )
        raise load_error(source, what, f"say with: {{task: NAME}}, NAME one of {', '.join(TASKS)}")
    check_options(source, TASKS[found])
    return found


def _told(folder: TextFolder) -> str:
    architecture = folder.architecture
    is_encoder = folder.sentence.get("model_type") == "CrossEncoder" or any(
        key in folder.config for key in ("sentence_transformers", "sbert_ce_default_activation_function")
    )
    if architecture.endswith("ForSequenceClassification"):
        return "text-ranking" if is_encoder and len(folder.labels) == 1 else "text-classification"
    if folder.modules:
        return "embedding"
    if architecture.endswith("ForTokenClassification"):
        return "token-classification"
    if architecture.endswith(_WRITES):
        return "text-generation"
    return "embedding" if architecture.endswith("Model") else ""


def is_pair(task: str, folder: TextFolder, source: ModelSource) -> bool:
    """Whether rows are two texts.

    Raises:
        ModelLoadError: when what is said of it is neither true nor false.
    """
    said = source.options.get("pair")
    if said is not None and not isinstance(said, bool):
        raise load_error(source, f"pair is true or false; got {said!r}")
    crossed = folder.sentence.get("model_type") == "CrossEncoder" or "sentence_transformers" in folder.config
    return task == "text-ranking" or (task == "text-classification" and (crossed if said is None else said))


def is_several(folder: TextFolder, source: ModelSource) -> bool:
    """Whether classes are labels of which a text may have several."""
    said = folder.config.get("problem_type") == "multi_label_classification"
    return len(folder.labels) > 1 and source.options.get("activation", "sigmoid" if said else "softmax") == "sigmoid"


def text_signature(task: str, folder: TextFolder, source: ModelSource) -> Signature:
    """What the model takes and gives, with the declared types over it.

    Raises:
        ModelLoadError: when the folder does not fit the task.
        MotetError: when declared types cannot be the model's.
    """
    inputs = {"text": _TEXT, **({"text_pair": _TEXT} if is_pair(task, folder, source) else {})}
    outputs, labels = _outputs(task, folder, source)
    return declared_over(Signature(inputs, outputs, None, labels), source)


def _outputs(
    task: str, folder: TextFolder, source: ModelSource
) -> tuple[dict[str, ColumnType], Mapping[str, tuple[Any, ...]]]:
    if task == "embedding":
        return {"embedding": ColumnType("float32", (embedding_width(folder, source),))}, {}
    if task == "text-generation":
        return {"text": _TEXT}, {}
    if task == "token-classification":
        return {name: ColumnType(dtype, (None,)) for name, dtype in _SPANS.items()}, {}
    labels = folder.labels
    if len(labels) == 1:
        return {"score": _FLOAT}, {}
    if task == "text-ranking":
        what = f"a ranker gives one score; this model has {len(labels)} classes"
        raise load_error(source, what, "say with: {task: text-classification, pair: true}")
    scores = ColumnType("float32", (len(labels),))
    if is_several(folder, source):
        return {"label_probabilities": scores}, {"label_probabilities": labels}
    return {"probabilities": scores, "label": _TEXT}, {"probabilities": labels}
