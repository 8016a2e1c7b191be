"""Which handler loads a model: found by the scheme of its URI, else by the suffix of its path.

    onnx:PATH  sklearn:PATH  torch:PATH  xgboost:PATH  lightgbm:PATH  python:pkg.mod:Name     by scheme
    beam:pkg.mod:handler  huggingface:FOLDER  spacy:FOLDER  llama:PATH  vllm:FOLDER
    oip+http://HOST/v2/models/NAME  oip+grpc://HOST/NAME  tfs+http://HOST/v1/models/NAME      behind an address
    tfs+grpc://HOST/NAME  openai+http://HOST/v1#MODEL
    lancedb:PATH#TABLE  qdrant:PATH#NAME  qdrant+http://HOST#NAME  postgresql://HOST/BASE#TABLE  tables that are searched
    PATH.onnx  s3://bucket/PATH.ubj                                                           by suffix

PATH may itself be remote: `sklearn:s3://bucket/x.joblib`. Handlers of other packages come from the entry point group
`motet.handlers` (the entry's name is the scheme, its value a `Handler` class). The built-in ones are in a table here,
because scanning the installed packages takes longer than finding the handler: that happens only for what the table
does not know.
"""

from __future__ import annotations

import functools
import importlib
import posixpath
import re
from typing import TYPE_CHECKING

from motet.errors import ModelLoadError, MotetError, UnknownNameError
from motet.models.handler import Handler
from motet.tracebacks import summary

if TYPE_CHECKING:
    from importlib import metadata

__all__ = ["GROUP", "find_handler", "handler_by_name", "is_address", "known_schemes", "known_suffixes"]

GROUP = "motet.handlers"
"""The entry point group that handlers of other packages are found in."""

_CLASSES = {
    "onnx": "motet.models.onnx:OnnxHandler",
    "sklearn": "motet.models.sklearn:SklearnHandler",
    "skops": "motet.models.skops:SkopsHandler",
    "torch": "motet.models.torch:TorchHandler",
    "xgboost": "motet.models.xgboost:XGBoostHandler",
    "lightgbm": "motet.models.lightgbm:LightGBMHandler",
    "catboost": "motet.models.catboost:CatBoostHandler",
    "jax": "motet.models.jax:JaxHandler",
    "keras": "motet.models.keras:KerasHandler",
    "litert": "motet.models.litert:LiteRTHandler",
    "huggingface": "motet.models.huggingface.handler:HuggingFaceHandler",
    "spacy": "motet.models.spacy:SpacyHandler",
    "llama": "motet.models.llama:LlamaHandler",
    "vllm": "motet.models.vllm:VllmHandler",
    "openvino": "motet.models.openvino:OpenVINOHandler",
    "tensorrt": "motet.models.tensorrt:TensorRTHandler",
    "mlflow": "motet.models.mlflow:MlflowHandler",
    "python": "motet.models.python:PythonHandler",
    "beam": "motet.models.beam:BeamHandler",
    "lancedb": "motet.models.search:LanceHandler",
    "qdrant": "motet.models.search:QdrantHandler",
    "qdrant+http": "motet.models.search:QdrantHttpHandler",
    "qdrant+https": "motet.models.search:QdrantHttpsHandler",
    "qdrant+grpc": "motet.models.search:QdrantGrpcHandler",
    "qdrant+grpcs": "motet.models.search:QdrantGrpcsHandler",
    "postgresql": "motet.models.search:PostgresHandler",
    "oip+http": "motet.models.oip:OipHttpHandler",
    "oip+https": "motet.models.oip:OipHttpsHandler",
    "oip+grpc": "motet.models.oip_grpc:OipGrpcHandler",
    "oip+grpcs": "motet.models.oip_grpc:OipGrpcsHandler",
    "tfs+http": "motet.models.tfserving:TfServingHandler",
    "tfs+https": "motet.models.tfserving:TfServingHttpsHandler",
    "tfs+grpc": "motet.models.tfserving_grpc:TfServingGrpcHandler",
    "tfs+grpcs": "motet.models.tfserving_grpc:TfServingGrpcsHandler",
    "openai+http": "motet.models.openai.handler:OpenAIHttpHandler",
    "openai+https": "motet.models.openai.handler:OpenAIHttpsHandler",
}
_SUFFIXES = {
    ".onnx": "onnx",
    ".joblib": "sklearn", ".pkl": "sklearn", ".pickle": "sklearn", ".skops": "skops",
    ".pt2": "torch", ".pt": "torch", ".pth": "torch", ".safetensors": "torch",
    ".ubj": "xgboost", ".xgb": "xgboost",
    ".lgb": "lightgbm",
    ".cbm": "catboost",
    ".jax": "jax",
    ".tflite": "litert",
    ".gguf": "llama",
    ".xml": "openvino",
    ".engine": "tensorrt", ".plan": "tensorrt",
    ".keras": "keras", ".h5": "keras", ".pb": "keras",
}  # fmt: skip
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(.*)", re.DOTALL)


def find_handler(uri: str) -> tuple[Handler, str]:
    """The handler of a model URI, and the location behind the scheme (the whole URI where there is none).

    Args:
        uri: `SCHEME:LOCATION`, or a path or remote URI whose suffix decides.

    Raises:
        UnknownNameError: when no handler has the scheme or the suffix; lists those that exist.
        ModelLoadError: when the handler of another package cannot be imported.
    """
    match = _SCHEME.fullmatch(uri)
    if match is not None:
        scheme, location = match.groups()
        if scheme in _CLASSES or scheme in _installed():
            return _checked(handler_by_name(scheme), location, uri)
        if not location.startswith(("//", ":")):
            raise _unknown("model scheme", scheme, known_schemes(), uri)
    return _by_suffix(uri), uri


def is_address(uri: str) -> bool:
    """Whether a URI is the address of a server that has the model."""
    try:
        return bool(getattr(find_handler(uri)[0], "remote", False))
    except MotetError:
        return False


def handler_by_name(name: str) -> Handler:
    """The handler of a scheme; one instance a process.

    Raises:
        UnknownNameError: when there is no such scheme.
        ModelLoadError: when the handler of another package cannot be imported.
    """
    if name not in _CLASSES and name not in _installed():
        raise UnknownNameError("model scheme", name, known_schemes())
    return _instance(name)


def known_schemes() -> tuple[str, ...]:
    """The schemes that have a handler, those of other packages included."""
    return tuple(sorted({*_CLASSES, *_installed()}))


def known_suffixes() -> tuple[str, ...]:
    """The suffixes that have a handler, those of other packages included."""
    return tuple(sorted({*_SUFFIXES, *_other_suffixes()}))


def _by_suffix(uri: str) -> Handler:
    suffix = posixpath.splitext(_path_of(uri))[1].lower()
    if suffix in _SUFFIXES:
        return _instance(_SUFFIXES[suffix])
    if suffix and suffix in _other_suffixes():
        return _instance(_other_suffixes()[suffix])
    raise _unknown("model suffix", suffix, known_suffixes(), uri)


def _path_of(uri: str) -> str:
    """The path whose suffix counts: of chained URLs the first part that has one, of web addresses without the query."""
    part = next((part for part in uri.split("::") if "/" in part or "." in part), uri) if "://" in uri else uri
    return re.split(r"[?#]", part, maxsplit=1)[0] if part.startswith(("http://", "https://")) else part


def _unknown(kind: str, name: str, known: tuple[str, ...], uri: str) -> UnknownNameError:
    hint = f"say which framework it is: write SCHEME:{uri if kind == 'model suffix' else 'path'}"
    frameworks = (scheme for scheme in known_schemes() if "+" not in scheme)  # the others take addresses
    return UnknownNameError(kind, name, known, where=uri, hint=f"{hint}, SCHEME one of {', '.join(frameworks)}")


def _checked(handler: Handler, location: str, uri: str) -> tuple[Handler, str]:
    if location:
        return handler, location
    hint = f"write {handler.name}:path" if handler.has_file else f"write what is to be loaded behind {handler.name}:"
    raise ModelLoadError(f"the model URI {uri!r} names nothing", hint=hint)


@functools.cache
def _instance(name: str) -> Handler:
    target = _CLASSES.get(name) or _installed()[name].value
    module, _, attribute = target.partition(":")
    try:
        found: Handler = getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        if name in _CLASSES:
            raise
        raise ModelLoadError(
            f"the handler {target} cannot be loaded: {summary(error)}",
            where=f"model scheme {name!r}",
            hint="it comes from an installed package's entry points; mend or remove that package",
        ) from error
    return found


@functools.cache
def _installed() -> dict[str, metadata.EntryPoint]:
    from importlib import metadata  # slow to import, and needed only for what the table does not know

    return {entry.name: entry for entry in metadata.entry_points(group=GROUP) if entry.name not in _CLASSES}


@functools.cache
def _other_suffixes() -> dict[str, str]:
    return {suffix.lower(): name for name in _installed() for suffix in _instance(name).suffixes}
