"""From what a graph says of a model to the file and the handler: used to check graphs, and to load models."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from motet.errors import GraphError, ModelLoadError, ModelUnavailableError
from motet.graph.check import CheckedGraph
from motet.graph.model import Model
from motet.graph.places import joined
from motet.models.common import ADDRESS_OPTIONS, FILE_OPTIONS
from motet.models.digest import Change, digest_all
from motet.models.handler import Handler, ModelSource
from motet.models.keep import file_change
from motet.models.keys import file_keys
from motet.models.locate import PINNED, STORE, locate
from motet.runtime.call_cost import check_cost
from motet.runtime.precision import OPEN
from motet.system.limits import num_cores
from motet.system.recent import LruCache
from motet.types import Signature

if TYPE_CHECKING:
    from motet.runtime.stored import StoredModels

__all__ = ["ModelResolver", "ResolvedModel", "is_elsewhere", "is_paid", "is_remote", "model_key"]


class ResolvedModel(NamedTuple):
    """A model's handler and where it found the model.

    Attributes:
        handler: how the model's framework loads and calls it.
        source: what the handler needs to know.
        version: the declared version, else the first 12 letters of the file's digest, empty for models without a file.
        files: the model's, its own first; of a model without a file those that its own process would run.
        state: what `file_change` says of the files; when that changes the model is looked at again.
        digest: of the files; empty where there are none.
    """

    handler: Handler
    source: ModelSource
    version: str
    files: tuple[str, ...] = ()
    state: tuple[Change, ...] = ()
    digest: str = ""

    def refuse_changed(self) -> None:
        """Refuse to load files of which others were loaded under this version.

        Raises:
            ModelLoadError: when they were changed since.
        """
        if self.state == _state_of(self.files):
            return
        try:
            changed = digest_all(list(self.files)) != self.digest
        except OSError:  # what loads it says what is the matter
            return
        if changed:
            raise changed_since(self.source, self.version)


def _state_of(files: Sequence[str]) -> tuple[Change, ...]:
    return tuple(map(file_change, files))


def changed_since(source: ModelSource, version: str) -> ModelLoadError:
    """The error of files that are not those of a version any more."""
    named = f" with its version {version}" if version else ""
    what = f"{source.location} was changed since the graph was loaded{named}: load the graph anew"
    hint = "copies that are there go on; a new one would answer otherwise under the same version"
    return ModelLoadError(what, where=f"model {source.name!r}", hint=hint)


def is_remote(located: ResolvedModel) -> bool:
    """Whether a model is called over the network."""
    return bool(getattr(located.handler, "remote", False))


def is_paid(model: Model, located: ResolvedModel) -> bool:
    """Whether a model's calls cost money: as the graph says, else as its handler does."""
    return bool(getattr(located.handler, "paid", False)) if model.paid is None else model.paid


def model_key(model: Model, located: ResolvedModel) -> str:
    """What a model is remembered under: its file's digest, the threads of a call, and what is declared; or its URI."""
    source = located.source
    said = [f"{name}: {kind}" for kinds in (model.inputs, model.outputs) for name, kind in kinds.items()]
    if not located.handler.has_file:
        return " ".join([model.uri, str(sorted(model.options.items())), *said])
    said += [f"{name}={value!r}" for name, value in source.options.items()]
    said += [source.device] if source.device != "cpu" else []
    declared = f":{hashlib.sha256(', '.join(said).encode()).hexdigest()[:12]}" if said else ""
    return f"{located.version}:{source.threads}{declared}"


def is_elsewhere(model: Model, located: ResolvedModel) -> bool:
    """Whether a model's calls wait for another process or another machine."""
    return model.has_process or bool(model.uris) or is_remote(located)


class ModelResolver:
    """Finds models and reads their signatures; each model once."""

    LIMIT = 4096
    """Models remembered; beyond it those go that were used longest ago."""

    def __init__(self) -> None:
        self._located: LruCache[tuple[Model, str], ResolvedModel] = LruCache(self.LIMIT)
        self._signatures: LruCache[tuple[Model, str], tuple[Signature, ResolvedModel]] = LruCache(self.LIMIT)

    @cached_property
    def _stored(self) -> StoredModels:
        from motet.runtime.stored import StoredModels  # slow to import, and few graphs name a store

        return StoredModels()

    def keys(self, model: Model, folder: str) -> Mapping[str, str]:
        """For each key that has a model the URI of it; see `motet.models.keys`.

        Raises:
            MotetError: when they cannot be listed.
        """
        if model.uri.startswith(STORE):
            return self._stored.keys(model, folder)
        try:
            return file_keys(model.uri, folder or None)
        except OSError as error:
            raise ModelLoadError(f"the models of keys cannot be listed: {error}", where=model.uri) from error

    def current(self, model: Model, folder: str) -> Model:
        """A model of a store pinned to the version that it means now, one of an open precision to what is settled; others as they are.

        Raises:
            NotPublishedError: when the store has no such version.
            StoreError: when the store cannot be reached.
            ModelLoadError: when a precision cannot be settled.
        """
        model = self._stored.current(model, folder) if model.uri.startswith(STORE) else model
        if model.options.get("precision") in OPEN and "quantized" not in model.options:
            from motet.runtime.precision.settle import settled  # what it needs is needed by few

            found = self._located_as_is(model, folder)
            return settled(model, found.handler, found.source, found.digest, folder)
        return model

    def locate(self, model: Model, folder: str) -> ResolvedModel:
        """Find a model's handler and file.

        Raises:
            MotetError: when the URI names no known handler, or the file is not there.
        """
        return self._located_as_is(self.current(model, folder), folder)

    def _located_as_is(self, model: Model, folder: str) -> ResolvedModel:
        key = (model, folder)
        known = self._located.get(key)
        if known and known.state == _state_of(known.files):
            return known
        label = ""
        if model.uri.startswith(PINNED):
            uri, label, here = self._stored.file(model.uri)
            found = locate(uri, base=None)
            if not here and not model.unpickle and found.runs_code:
                hint = "if you trust whoever can publish there, say `unpickle: allow` in the model's declaration"
                what = "loading this file runs any code that it carries (unpickling does); those of remote stores are refused"
                raise ModelLoadError(what, where=model.uri, hint=hint)
        else:
            found = locate(model.uri, base=folder or None, allow_unpickle=model.unpickle)
        handler, location = found.handler, found.location
        files = tuple(found.files) or _code_files(model, handler, location)
        if quantized := _quantized(model, handler):
            location, files = quantized, (quantized,)
        state = _state_of(files)  # before they are read: what changes meanwhile is looked at again
        named = getattr(handler, "version", None)
        try:
            digest = digest_all(list(files)) if files else ""
        except OSError as error:
            what = f"{error.filename} cannot be read: {error.strerror}"
            raise ModelLoadError(what, where=f"model {model.name!r}") from error
        by_file = digest[:12] if handler.has_file else ""
        version = model.version or label or by_file or (named(location) if named is not None else "")
        version = _in_precision(version, model, handler)
        source = ModelSource(
            model.name,
            location,
            _options(model, folder, remote=bool(getattr(handler, "remote", False))),
            model.inputs,
            model.outputs,
            max(1, min(round(model.resources.cpu), num_cores())),
            model.device,
        )
        located = ResolvedModel(handler, source, version, files, state, digest)
        _check_placing(model, located)
        return self._located.put(key, located)

    def versions(self, checked: CheckedGraph, path: str = "") -> dict[str, str]:
        """The versions of a graph's models, by the graphs they stand in and their names.

        Raises:
            MotetError: when one is not there.
        """
        graph = checked.graph
        found = {f"{path}{name}": self.locate(model, graph.folder).version for name, model in graph.models.items()}
        for name, inner in checked.graphs.items():
            found |= self.versions(inner, f"{path}{name}/")
        return found

    def forget(self, models: Iterable[Model]) -> None:
        """Look for these models anew when they are asked for: their files may have changed."""
        names = {model.name for model in models}
        self._located.forget(lambda key: key[0].name in names)

    def addresses(self, model: Model, folder: str, first: ResolvedModel) -> dict[str, ResolvedModel]:
        """The servers that have a model, by URI: its own where that is one, and its `uris`; empty for local models.

        Args:
            model: the model.
            folder: of its graph.
            first: where it was found.

        Raises:
            MotetError: when one of its `uris` is no address.
        """
        found = {model.uri: first} if is_remote(first) else {}
        for uri in model.uris:
            other = locate(uri, base=folder or None)
            if not getattr(other.handler, "remote", False):
                hint = "write SCHEME://HOST:PORT/..., SCHEME such as oip+http, oip+grpc or tfs+http"
                raise GraphError(f"{uri} in uris is no address of a server", where=f"model {model.name!r}", hint=hint)
            options = _options(model, folder, remote=True)
            source = replace(first.source, location=other.location, options=options)
            found[uri] = ResolvedModel(other.handler, source, first.version)
        return found

    def signature(self, model: Model, folder: str, located: ResolvedModel | None = None) -> Signature:
        """What a model itself takes and gives; `located` is what `locate` gave for it, where that was asked already.

        Raises:
            MotetError: when there is no such model, or its signature cannot be known.
        """
        model = self.current(model, folder)
        key = (model, folder)
        located = located or self.locate(model, folder)
        known = self._signatures.get(key)
        if known and known[1] is located:
            return known[0]
        signature = _as_declared(self._signature(model, folder, located), model)
        if model.balance_by and model.balance_by not in signature.inputs:
            raise GraphError(
                f"balance_by is {model.balance_by!r}; the model takes {', '.join(signature.inputs)}",
                where=f"model {model.name!r}",
            )
        check_cost(model, signature)
        if model.batch.max_rows and signature.fixed_rows and signature.fixed_rows > model.batch.max_rows:
            raise ModelLoadError(f"every call has {signature.fixed_rows} rows, max_rows allows {model.batch.max_rows}")
        if model.batch.rows and signature.fixed_rows and signature.fixed_rows != model.batch.rows:
            raise ModelLoadError(f"every call has {signature.fixed_rows} rows, batch.rows wants {model.batch.rows}")
        self._signatures.put(key, (signature, located))
        return signature

    def _signature(self, model: Model, folder: str, located: ResolvedModel) -> Signature:
        """What the handler says; of several servers the first one that can be reached."""
        try:
            return located.handler.signature(located.source)
        except ModelUnavailableError:
            for each in list(self.addresses(model, folder, located).values())[1:]:
                with contextlib.suppress(ModelUnavailableError):
                    return each.handler.signature(each.source)
            raise


def _as_declared(signature: Signature, model: Model) -> Signature:
    """The signature with its inputs in the order in which they are declared, whatever the handler's own order is."""
    if list(signature.inputs) == list(model.inputs) or set(signature.inputs) != set(model.inputs):
        return signature
    return replace(signature, inputs={name: signature.inputs[name] for name in model.inputs})


def _options(model: Model, folder: str, *, remote: bool) -> Mapping[str, Any]:
    """What a handler is told. Of a model that is both here and elsewhere each side is told its own options."""
    options, mixed = model.options, bool(model.uris)
    if not remote:
        return {k: v for k, v in options.items() if k not in ADDRESS_OPTIONS} if mixed else options
    options = {k: joined(folder, str(v)) if v and k in FILE_OPTIONS else v for k, v in options.items()}
    more: dict[str, Any] = {} if model.timeout_s is None else {"timeout_s": model.timeout_s}
    if mixed:
        more["retries"] = 0  # another server is asked instead
        if not _ADDRESS.match(model.uri):
            options = {k: v for k, v in options.items() if k in ADDRESS_OPTIONS}
    return {**more, **options}


def _code_files(model: Model, handler: Handler, location: str) -> tuple[str, ...]:
    """What a process imports anew for a model without a file; nothing where the copy here is the only one."""
    find = getattr(handler, "code_file", None) if model.has_process else None
    found = None if find is None else find(location)
    return () if found is None else (found,)


def _quantized(model: Model, handler: Handler) -> str:
    """The file in int8 that an ONNX model is played as; empty where it is played as it is.

    Raises:
        ModelLoadError: when it is not on this machine.
    """
    name = model.options.get("quantized")
    if not isinstance(name, str) or handler.name != "onnx":
        return ""
    from motet.models.onnx_precision import quantized_path  # what it needs is needed by few

    path = quantized_path(name)
    if not os.path.isfile(path):
        what = f"the int8 file that was made of it when the graph was loaded is not here: {path}"
        hint = "give workers the files of models, let MOTET_CACHE_DIR be one folder for all, or load the graph anew"
        raise ModelLoadError(what, where=f"model {model.name!r}", hint=hint)
    return path


def _in_precision(version: str, model: Model, handler: Handler) -> str:
    """What to call a version of an ONNX model that is computed otherwise than its file says: its answers are others."""
    said = [model.options.get("precision", ""), model.options.get("backend", "")]
    how = [each for each in said if each not in ("", "f32", "onnxruntime")] if handler.name == "onnx" else []
    suffix = "+" + ".".join(map(str, how))
    return version + suffix if how and not version.endswith(suffix) else version


def _check_placing(model: Model, located: ResolvedModel) -> None:
    """See that a model can be where the graph wants it.

    Raises:
        GraphError: when it cannot.
    """
    where = f"model {model.name!r}"
    if is_remote(located):
        if model.placement == "inline" or model.has_process:
            hint = "leave placement out; calls of a remote model never hold up others"
            raise GraphError(f"{model.uri} is an address; it cannot be {model.placement}", where=where, hint=hint)
        if model.concurrent is not None:
            hint = "leave concurrent out; how many calls a server gets at once is measured"
            raise GraphError(f"{model.uri} is an address, whose calls run elsewhere", where=where, hint=hint)
        if model.replicas != 1:
            hint = "write uris: [...] with an address for each of its replicas"
            raise GraphError(f"{model.uri} is an address, whose replicas are not ours to count", where=where, hint=hint)
    elif model.timeout_s is not None and not model.has_process and not model.uris:
        hint = "write placement: process, whose calls can be stopped, or leave timeout_s out"
        raise GraphError("a call in this process cannot be stopped after timeout_s", where=where, hint=hint)


_ADDRESS = re.compile(r"[a-z]+\+[a-z]+:")
