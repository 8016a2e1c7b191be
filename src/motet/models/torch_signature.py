"""What a loaded PyTorch model takes and gives."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from motet.errors import TypeMismatchError
from motet.models.common import fixed_rows, load_error, output_places, place, row_type
from motet.models.handler import ModelSource
from motet.models.torch_load import MemoryFile
from motet.types import ANY, ColumnType, Signature

__all__ = ["loaded_signature"]

_TRAINING_ARGUMENT = {"aten.dropout.default": 2, "aten.batch_norm.default": 5}


def loaded_signature(loaded: MemoryFile, source: ModelSource) -> Signature:
    """The program's own types with the declared ones over them; for the other forms the declared ones, else `any`.

    Raises:
        ModelLoadError: when it takes or gives what is no column, or its inputs are not named.
        TypeMismatchError: when declared types are not those of the program.
    """
    _refuse_words(source)
    if loaded.program is not None:
        return _program_signature(loaded.program, source)
    inputs = _in_order(source.inputs, loaded.parameters) or dict.fromkeys(loaded.parameters, ANY)
    if not inputs:
        raise load_error(source, "forward does not say what it takes", "declare the model's inputs, name: type")
    return Signature(inputs, dict(source.outputs) or {"output": ANY})


def _refuse_words(source: ModelSource) -> None:
    for name, kind in {**source.inputs, **source.outputs}.items():
        if kind.dtype in ("string", "bytes"):
            raise TypeMismatchError(f"{name!r} is declared as {kind}, which no tensor can hold", where=place(source))


def _in_order(declared: Mapping[str, ColumnType], names: tuple[str, ...]) -> dict[str, ColumnType]:
    return {name: declared[name] for name in (names if set(names) == set(declared) else declared)}


def _program_signature(program: Any, source: ModelSource) -> Signature:
    nodes = {node.name: node for node in program.graph.nodes}
    _warn_of_training(nodes, source)
    given = {name: _fake(nodes, name, "input", source) for name in program.graph_signature.user_inputs}
    results = [_fake(nodes, name, "output", source) for name in program.graph_signature.user_outputs]
    inputs = _checked(_types(given, "input", source), source.inputs, "input", source, by_name=False)
    hint = "export one that returns tensors, or a dict of them"
    places = output_places(_structure(program), source, "the program returns", hint)
    named = {name: results[place] for name, place in places.items()}
    outputs = _checked(_types(named, "output", source), source.outputs, "output", source, by_name=_is_dict(program))
    rows = fixed_rows(source, *({name: each.shape for name, each in tensors.items()} for tensors in (given, named)))
    return Signature(inputs, outputs, rows)


def _fake(nodes: Mapping[str, Any], name: Any, kind: str, source: ModelSource) -> Any:
    value = nodes[name].meta.get("val") if name in nodes else name
    if not hasattr(value, "shape"):
        hint = "export a program that takes and gives tensors only"
        raise load_error(source, f"{kind} {name!r} of the program is {value!r}, not a tensor", hint)
    return value


def _types(tensors: Mapping[str, Any], kind: str, source: ModelSource) -> dict[str, ColumnType]:
    axis_hint = "export the program with a first axis for the rows"
    hints = axis_hint, "export a program that converts it, to float32 for example"
    given_as = {"torch.bfloat16": "torch.float32"} if kind == "output" else {}
    named = {name: (each.shape, given_as.get(str(each.dtype), str(each.dtype))) for name, each in tensors.items()}
    return {name: row_type(f"{kind} {name!r}", *each, source, *hints) for name, each in named.items()}


def _structure(program: Any) -> Any:
    """What the program returns, with the position of each tensor in its place."""
    from torch.utils import _pytree

    form = program.call_spec.out_spec
    return _pytree.tree_unflatten(list(range(form.num_leaves)), form)


def _is_dict(program: Any) -> bool:
    return isinstance(_structure(program), Mapping) or hasattr(_structure(program), "_asdict")


def _checked(
    own: dict[str, ColumnType], declared: Mapping[str, ColumnType], kind: str, source: ModelSource, *, by_name: bool
) -> dict[str, ColumnType]:
    """The declared types where there are any; they must be those of the program, by name or in order."""
    if not declared:
        return own
    named = by_name or set(own) == set(declared)
    theirs = [own.get(name) for name in declared] if named else list(own.values())
    chosen = by_name and len(declared) < len(own)
    fits = (chosen or len(declared) == len(own)) and all(map(_compatible, theirs, declared.values()))
    if not fits:
        raise TypeMismatchError(
            f"the declared {kind}s are {_listed(declared)}, the program has {_listed(own)}",
            where=place(source),
            hint="declare them in the order of the program, or leave the declaration out",
        )
    names = list(own) if named and kind == "input" else list(declared)
    return {name: declared[name] for name in names}


def _compatible(own: ColumnType | None, declared: ColumnType) -> bool:
    return own is not None and (own.accepts(declared) or declared.accepts(own))


def _listed(types: Mapping[str, ColumnType]) -> str:
    return "(" + ", ".join(f"{name}: {kind}" for name, kind in types.items()) + ")"


def _warn_of_training(nodes: Mapping[str, Any], source: ModelSource) -> None:
    """Warn of a program that was exported in training mode; torch cannot change that afterwards."""
    for node in nodes.values():
        position = _TRAINING_ARGUMENT.get(str(node.target))
        if position is not None and len(node.args) > position and node.args[position] is True:
            warnings.warn(
                f"{place(source)} was exported in training mode (its {node.target} is at work), so its answers are not "
                "those of the trained model; call model.eval() before torch.export.export",
                UserWarning,
                stacklevel=4,
            )
            return
