"""Pipelines of spaCy: a folder that `nlp.to_disk` wrote, or an installed package. A row is a text.

    spacy:folder        spacy:en_core_web_sm

Options:

    task     what is given: entities (start, end, label, entity: one an entity), categories (probabilities and label, or
             label_probabilities where a text may have several), tags (token, lemma, pos, tag, dep: one a token) or embedding (the
             mean of the vectors of its tokens), or a list of these; by default the first of categories and entities that the
             pipeline has, else tags
    exclude  components of the pipeline that are not played, such as [parser, lemmatizer]; all are by default

Components are registered functions of installed packages; a folder carries none of its own.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from motet.batch import Array
from motet.errors import ModelError, UnknownNameError
from motet.locks import new_lock
from motet.models.common import check_cpu, check_options, declared_over, framework, load_error, own_filters, place
from motet.models.handler import Handler, ModelSource
from motet.models.keep import LoadCache
from motet.tracebacks import summary
from motet.types import ColumnType, Signature

__all__ = ["SpacyHandler"]

Reader = Callable[[Any], Any]
HEAD = "config.cfg"
_ASIDE = ("readme", "license", "licenses", "accuracy.json")
_TEXT, _TEXTS, _PLACES = ColumnType("string"), ColumnType("string", (None,)), ColumnType("int64", (None,))
_ENTITIES = {"start": _PLACES, "end": _PLACES, "label": _TEXTS, "entity": _TEXTS}
_TAGS = ("token", "lemma", "pos", "tag", "dep")
_TASKS = ("entities", "categories", "tags", "embedding")
_ONE, _SEVERAL = "textcat", "textcat_multilabel"


class SpacyHandler(Handler):
    """Loads pipelines of spaCy."""

    name: ClassVar[str] = "spacy"
    extra: ClassVar[str] = "spacy"
    folder_heads: ClassVar[tuple[str, ...]] = (HEAD,)
    holds_lock: ClassVar[bool] = True

    def __init__(self) -> None:
        self._kept: LoadCache[_Pipeline] = LoadCache(_read, whole=_folder)

    @staticmethod
    def folder_files(names: Sequence[str]) -> list[str]:
        """Which files of a folder are the model's."""
        return [name for name in names if not name.rpartition("/")[2].lower().startswith((".", *_ASIDE))]

    @staticmethod
    def installed(location: str, base: str) -> str:
        """The folder of a pipeline that is an installed package's; the location itself where that is a folder."""
        name = os.path.basename(location)
        if "://" in location or os.path.exists(os.path.join(base, location)) or not name.isidentifier():
            return location
        found = importlib.util.find_spec(name)
        folders = list(found.submodule_search_locations or ()) if found is not None else []
        heads = sorted(head for folder in folders for head in Path(folder).glob(f"*/{HEAD}"))
        return str(heads[-1].parent) if heads else location

    def signature(self, source: ModelSource) -> Signature:
        """What the pipeline gives for its tasks; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when it cannot be loaded, or has no component for a task.
        """
        check_options(source, ("task", "exclude"))
        return _signature(self._kept.look(source), source)

    def load(self, source: ModelSource) -> SpacyModel:
        """Load it for use; see `Handler.load`."""
        check_options(source, ("task", "exclude"))
        check_cpu(source, "spaCy")
        pipeline = self._kept.take(source)
        outputs = tuple(_signature(pipeline, source).outputs)
        readers = {
            name: read for task in _tasks(pipeline.nlp, source) for name, read in _readers(task, pipeline, source)
        }
        for name in _excluded(pipeline.nlp, source):
            pipeline.nlp.disable_pipe(name)
        return SpacyModel(pipeline.nlp, {name: readers[name] for name in outputs}, place(source))


class _Pipeline(NamedTuple):
    """A pipeline, and how long the vector of a text is; 0 where there is none."""

    nlp: Any
    width: int


def _folder(location: str) -> str:
    return os.path.dirname(location) if os.path.basename(location) == HEAD else location


def _read(source: ModelSource) -> _Pipeline:
    spacy = framework("spacy", "spacy", "spacy", source)
    try:
        with own_filters("ignore"):  # of versions that differ a little
            nlp = spacy.load(_folder(source.location))
            return _Pipeline(nlp, int(np.size(nlp("a").vector)))
    except Exception as error:
        hint = "components are of installed packages; install what the pipeline was trained with"
        raise load_error(source, f"spaCy cannot load it: {summary(error)}", hint) from error


def _names(source: ModelSource, option: str) -> tuple[Any, ...]:
    """The name or names that an option says; none where it is left out, or null."""
    said = source.options.get(option)
    if said is not None and not isinstance(said, (str, list, tuple)):
        raise load_error(source, f"{option} is a name or a list of names; got {said!r}")
    return () if said is None else (said,) if isinstance(said, str) else tuple(said)


def _excluded(nlp: Any, source: ModelSource) -> tuple[str, ...]:
    names = _names(source, "exclude")
    for name in names:
        if name not in nlp.component_names:
            raise UnknownNameError(
                "component", str(name), tuple(nlp.component_names), where=f"{place(source)}: exclude"
            )
    return names


def _components(nlp: Any, source: ModelSource) -> dict[str, str]:
    """The kinds of the components that are played, by name.

    Raises:
        ModelLoadError: when one of them listens to one that is left out, and would say anything.
    """
    excluded = _excluded(nlp, source)
    played = [name for name in nlp.pipe_names if name not in excluded]
    for name in excluded:
        listeners = getattr(nlp.get_pipe(name), "listening_components", ())
        if deaf := [each for each in listeners if each in played]:
            raise load_error(source, f"{', '.join(deaf)} cannot do without {name}", "exclude them, too, or leave it in")
    return {name: nlp.get_pipe_meta(name).factory for name in played}


def _tasks(nlp: Any, source: ModelSource) -> tuple[str, ...]:
    """What is asked for.

    Raises:
        UnknownNameError: when there is no such task.
    """
    tasks = _names(source, "task")
    if not tasks:
        assigns = {each for name in _components(nlp, source) for each in nlp.get_pipe_meta(name).assigns}
        return ("categories" if "doc.cats" in assigns else "entities" if "doc.ents" in assigns else "tags",)
    for task in tasks:
        if task not in _TASKS:
            raise UnknownNameError("task", str(task), _TASKS, where=f"{place(source)}: with")
    return tasks


def _signature(pipeline: _Pipeline, source: ModelSource) -> Signature:
    outputs: dict[str, ColumnType] = {}
    labels: dict[str, tuple[Any, ...]] = {}
    for task in _tasks(pipeline.nlp, source):
        made, more = _outputs(task, pipeline, source)
        if both := outputs.keys() & made.keys():
            hint = "ask for one of these tasks, and for the other by a second model of the same folder"
            raise load_error(source, f"two tasks give {', '.join(sorted(both))}", hint)
        outputs |= made
        labels |= more
    return declared_over(Signature({"text": _TEXT}, outputs, None, labels), source)


def _outputs(
    task: str, pipeline: _Pipeline, source: ModelSource
) -> tuple[dict[str, ColumnType], Mapping[str, tuple[Any, ...]]]:
    nlp, kinds = pipeline.nlp, _components(pipeline.nlp, source)
    if task == "tags":
        return dict.fromkeys(_TAGS, _TEXTS), {}
    if task == "embedding":
        if not pipeline.width:
            raise load_error(
                source, "its texts have no vectors", "take a pipeline with vectors, such as en_core_web_md"
            )
        return {"embedding": ColumnType("float32", (pipeline.width,))}, {}
    if task == "entities":
        if not any("doc.ents" in nlp.get_pipe_meta(name).assigns for name in kinds):
            raise load_error(source, f"it has no component that finds entities, but {', '.join(kinds) or 'none'}")
        return dict(_ENTITIES), {}
    names = [name for name, kind in kinds.items() if kind in (_ONE, _SEVERAL)]
    if len(names) != 1:
        what = f"categories are of one component {_ONE} or {_SEVERAL}; it has {', '.join(names) or 'none'}"
        raise load_error(source, what, f"leave others out by exclude; its components: {', '.join(kinds)}")
    categories = tuple(nlp.get_pipe(names[0]).labels)
    scores = ColumnType("float32", (len(categories),))
    if kinds[names[0]] == _SEVERAL:
        return {"label_probabilities": scores}, {"label_probabilities": categories}
    return {"probabilities": scores, "label": _TEXT}, {"probabilities": categories}


class SpacyModel:
    """A pipeline in memory. Calls are made one at a time, as its vocabulary is written to.

    Args:
        nlp: the pipeline.
        readers: by output what reads it from a text that was played.
        where: the model, for messages.
    """

    fresh_outputs = True

    def __init__(self, nlp: Any, readers: Mapping[str, Reader], where: str) -> None:
        self._nlp, self._readers, self._where, self._lock = nlp, readers, where, new_lock()

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; a text that is longer than the pipeline takes fails alone. See `LoadedModel`."""
        texts = [str(text) for text in columns["text"]]
        fits = [len(text) <= self._nlp.max_length for text in texts]
        with self._lock, self._nlp.memory_zone():  # which gives back what new words took
            docs = self._nlp.pipe([text for text, fit in zip(texts, fits, strict=True) if fit])
            rows = [
                self._answer(next(docs)) if fit else self._too_long(text) for text, fit in zip(texts, fits, strict=True)
            ]
        return {name: [row[name] for row in rows] for name in self._readers}

    def _answer(self, doc: Any) -> dict[str, Any]:
        return {name: read(doc) for name, read in self._readers.items()}

    def _too_long(self, text: str) -> dict[str, Any]:
        what = f"the text has {len(text):,} characters; the pipeline takes {self._nlp.max_length:,}"
        return dict.fromkeys(self._readers, ModelError(what, where=self._where))

    def close(self) -> None:
        """Give memory back."""
        self._nlp = None


def _readers(task: str, pipeline: _Pipeline, source: ModelSource) -> Iterator[tuple[str, Reader]]:
    """What reads each output of a task from a text that was played."""
    if task == "entities":
        yield "start", lambda doc: np.array([each.start_char for each in doc.ents], np.int64)
        yield "end", lambda doc: np.array([each.end_char for each in doc.ents], np.int64)
        yield "label", lambda doc: _texts(each.label_ for each in doc.ents)
        yield "entity", lambda doc: _texts(each.text for each in doc.ents)
    elif task == "tags":
        names = {"token": "text", "lemma": "lemma_", "pos": "pos_", "tag": "tag_", "dep": "dep_"}
        yield from ((name, _of_tokens(attribute)) for name, attribute in names.items())
    elif task == "embedding":
        yield "embedding", _with_tokens(lambda doc: np.array(doc.vector, np.float32))
    else:
        ((output, categories),) = _outputs(task, pipeline, source)[1].items()
        yield output, _with_tokens(lambda doc: np.array([doc.cats[each] for each in categories], np.float32))
        yield "label", _with_tokens(lambda doc: max(categories, key=doc.cats.__getitem__))


def _of_tokens(attribute: str) -> Reader:
    return lambda doc: _texts(getattr(token, attribute) for token in doc)


def _texts(values: Iterable[str]) -> Array:
    found = list(values)
    made = np.empty(len(found), object)
    made[:] = found
    return made


def _with_tokens(read: Reader) -> Reader:
    """The same, but that a text without tokens fails: what spaCy says of it depends on whether others share the call."""
    return lambda doc: read(doc) if len(doc) else ModelError("the text has no tokens, of which this could be told")
