"""The description of a server's HTTP API, made from its graphs: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0).

What every server says is in openapi.json, and there under `x-each` what is said of each graph and model, in whose place
stand `{served}`, its name, and `{stem}`, the same as a part of other names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec

from motet.errors import InputError
from motet.pictures import is_picture
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.openai.forms import CHAT, COMPLETION, EMBEDDING, LanguageForm
from motet.serving.rest.schemas import answer_row, example_row, form, given_row, tensor_given
from motet.version import __version__

__all__ = ["openapi"]

_LANGUAGE = {CHAT.path: "ChatQuestion", COMPLETION.path: "CompletionQuestion", EMBEDDING.path: "EmbeddingQuestion"}
HERE = "http://localhost:8000"
"""Stands for the server in samples; the page at /docs puts its own address."""

_OF_EXPERIMENTS = ("/feedback/{name}", "/experiments/{name}")


def openapi(
    repository: ModelRepository,
    secured: Sequence[str] = (),
    *,
    required: bool = False,
    root: str = "",
    compared: Sequence[str] = (),
) -> dict[str, Any]:
    """The description.

    Args:
        repository: what is served.
        secured: ways to say who asks: `key`, `bearer`.
        required: whether one of them is needed.
        root: the path below which the server is; empty for none.
        compared: graphs with experiments that the server keeps.
    """
    said: dict[str, Any] = json.loads((files("motet.serving.rest") / "openapi.json").read_text(encoding="utf-8"))
    each, components, paths = json.dumps(said.pop("x-each")), said["components"], dict[str, Any]()
    listed = list(dict.fromkeys(repository.served.values()))
    for served in listed:
        stem = served.name.replace(".", "_").replace("-", "_")
        described = json.loads(each.replace("{served}", served.name).replace("{stem}", stem))
        _ask(described["paths"][f"/predict/{served.name}"]["post"], served)
        paths |= described["paths"]
        components["schemas"] |= _schemas(described["schemas"], served, stem)
    paths |= said["paths"]
    for path in _OF_EXPERIMENTS if not compared else ():
        del paths[path], said["paths"][path]
    for path, operations in said["paths"].items():
        names = list(compared) if path in _OF_EXPERIMENTS else [served.name for served in listed]
        for parameter in (each for operation in operations.values() for each in operation.get("parameters", ())):
            if parameter["name"] == "name":
                parameter["schema"]["enum"] = names
    _language(said, paths, listed)
    schemes = components.pop("securitySchemes")
    if secured:
        components["securitySchemes"] = {each: schemes[each] for each in secured}
        security = [{each: list[str]()} for each in secured] + ([] if required else [{}])
        for path, operations in paths.items():
            asked = path.startswith(("/predict/", "/feedback/", "/experiments/")) or path in _LANGUAGE
            if asked or path.endswith(("/infer", ":predict", "/load", "/unload")):
                for operation in operations.values():
                    operation["security"] = security
    graphs = ", ".join(each.name for each in listed if each.kind == "graph")
    info = said["info"] | {"version": __version__, "description": f"Serves {graphs}."}
    return said | {"info": info, "servers": [{"url": root or "/"}], "paths": paths}


def _language(said: dict[str, Any], paths: dict[str, Any], listed: Sequence[RepositoryEntry]) -> None:
    """Say how graphs are asked as language models, where there are such, and which they are."""
    more: dict[str, Any] = json.loads((files("motet.serving.rest.openai") / "openapi.json").read_text(encoding="utf-8"))
    for asked in (CHAT, COMPLETION, EMBEDDING):
        names = [served.name for served in listed if _answers(asked, served)]
        if names:
            paths[asked.path] = more["paths"][asked.path]
            more["schemas"][_LANGUAGE[asked.path]]["properties"]["model"]["enum"] = names
    if _LANGUAGE.keys() & paths.keys():
        said["tags"] = [*said["tags"], *more["tags"]]
        said["components"]["schemas"] |= more["schemas"]
        said["components"]["responses"] |= more["responses"]


def _answers(asked: LanguageForm, served: RepositoryEntry) -> bool:
    try:
        asked.shape(served)
    except InputError:
        return False
    return True


def _ask(predict: dict[str, Any], served: RepositoryEntry) -> None:
    """Say of `/predict` how this graph is asked by a form and by a file, and by the command line."""
    content = predict["requestBody"]["content"]
    content["multipart/form-data"] = {"schema": form(served.inputs)}
    if sum(is_picture(each.type) for each in served.inputs.values()) == 1:
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    predict["x-codeSamples"][0]["source"] = _curl(served)


def _schemas(schemas: dict[str, Any], served: RepositoryEntry, stem: str) -> dict[str, Any]:
    row = given_row(served.inputs)
    example = example_row(served.inputs)
    if example is not None:
        row["examples"] = [example]
    inputs = [tensor_given(name, each.type) for name, each in served.inputs.items()]
    least = max(1, sum(not each.has_default for each in served.inputs.values()))
    asked = schemas[f"{stem}_inference"]["properties"]
    asked["inputs"] |= {"items": {"anyOf": inputs}, "minItems": least} if inputs else {}
    asked["inputs"]["maxItems"] = len(inputs)
    asked["outputs"]["items"]["properties"]["name"]["enum"] = list(served.signature.outputs)
    return {f"{stem}_row": row, f"{stem}_answer": answer_row(served.signature.outputs), **schemas}


def _curl(served: RepositoryEntry) -> str:
    address = f"'{HERE}/predict/{served.name}?explain=1'"
    pictures = [name for name, each in served.inputs.items() if is_picture(each.type)]
    if pictures:
        fields = [
            f"-F {name}=@picture.png" if name in pictures else f"-F '{name}={_text(each.type.dtype)}'"
            for name, each in served.inputs.items()
            if not each.has_default
        ]
        return f"curl {' '.join(fields)} {address}"
    row = example_row(served.inputs)
    body = msgspec.json.encode({"rows": [row]}).decode() if row is not None else '{"rows": [...]}'
    return f"curl --json '{body}' {address}"


def _text(dtype: str) -> str:
    return {"string": "text", "bool": "false"}.get(dtype, "0")
