"""Functions that graphs name: by import path, with keywords."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from motet.errors import GraphError, UnknownNameError, known_names, told_file
from motet.graph.fields import TYPE, Fields, plain, read_type, show
from motet.graph.forms import MAPPING, TEXT, by_name, either, list_of, named, record
from motet.graph.identity import identity
from motet.tracebacks import ends_program, summary
from motet.types import ANY, ColumnType, Outputs, declared_outputs, fixed_outputs, labels_keyword

__all__ = [
    "FUNCTION", "FUNCTIONS", "FUNCTION_PATH", "GIVEN", "KEYWORDS", "ONE_FUNCTION", "Function", "as_functions", "chain_each",
    "chain_outputs", "read_functions", "write_functions",
]  # fmt: skip

OPS_GROUP = "motet.ops"
"""The entry point group that functions of other packages are found in, under names without dots."""
FUNCTION_PATH = named(
    "path",
    {**TEXT, "description": "Where a function can be imported, `package.module.name`, or the name of an installed op."},
)
KEYWORDS = {**MAPPING, "description": "What the function is called with behind the columns."}
GIVEN = either(TYPE, by_name(TYPE), {"type": "null"}, description="What the function gives: a type, or types by name.")
FUNCTION = record({"map": FUNCTION_PATH, "with": KEYWORDS, "outputs": GIVEN}, ["map"])
ONE_FUNCTION = named("function", either(FUNCTION_PATH, FUNCTION))
FUNCTIONS = named(
    "functions",
    either(ONE_FUNCTION, list_of(ONE_FUNCTION), {"type": "null"}, description="A function, or several in a row."),
)


@dataclass(frozen=True, eq=False)
class Function:
    """A function and its keywords.

    Attributes:
        path: where it can be imported, `package.module.name`; empty for one that cannot.
        keywords: what it is called with behind the columns.
        outputs: what it gives, where the graph says so.
        target: the function itself, where the graph was made in Python.
    """

    path: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    outputs: Outputs | None = None
    target: Callable[..., Any] | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        """Two are the same when they have the same path, or are the same object, and what they are called with is equal."""
        return self._identity == other._identity if isinstance(other, Function) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> Hashable:
        return self.path or id(self.target), identity(self.keywords), identity(self.outputs)

    @classmethod
    def of(
        cls,
        function: Callable[..., Any] | str | Function,
        keywords: Mapping[str, Any] | None = None,
        outputs: Any = None,
    ) -> Function:
        """A function given in Python: a callable or its import path."""
        if isinstance(function, Function):
            return function
        declared = read_outputs(outputs, "outputs") if outputs is not None else None
        given: dict[str, Any] = plain(dict(keywords or {}))
        if isinstance(function, partial) and not function.args:
            given, function = {**plain(function.keywords), **given}, function.func
        if isinstance(function, str):
            return cls(function, given, declared)
        if not callable(function):
            raise GraphError(f"expected a function or its import path; got {show(function)}")
        return cls(_import_path(function), given, declared, function)

    @property
    def name(self) -> str:
        """A short name, for default names of nodes and for messages."""
        if self.path:
            return self.path.rpartition(".")[2]
        return getattr(self.target, "__name__", type(self.target).__name__).strip("<>")

    def __str__(self) -> str:
        if self.path:
            return self.path
        code = getattr(self.target, "__code__", None)
        return f"{self.name} ({told_file(code.co_filename)}:{code.co_firstlineno})" if code else self.name

    def resolve(self, where: str = "") -> Callable[..., Any]:
        """The function itself, imported when needed.

        Raises:
            GraphError: when nothing is found under the path; names what is near.
        """
        if self.target is not None:
            return self.target
        found = import_name(self.path, where)
        if not callable(found):
            raise GraphError(f"{self.path!r} is no function; it is {show(found)}", where=where)
        return found  # type: ignore[no-any-return]

    @property
    def declared(self) -> Outputs | None:
        """What it gives whatever its inputs are, as far as it, or the graph, says so."""
        if self.outputs is not None:
            return self.outputs
        return fixed_outputs(self.resolve())

    def parameters(self) -> list[str]:
        """The names of the columns that it takes: its parameters by position, without those that have a default."""
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = inspect.signature(self.resolve()).parameters.values()
        return [
            each.name
            for each in found
            if each.kind in positional and each.name not in self.keywords and each.default is each.empty
        ]

    def infer(self, inputs: Sequence[ColumnType] | None, where: str) -> Outputs:
        """What it gives for columns of these types, None where they are not known; `any` where neither it nor the graph says.

        Raises:
            GraphError: when it cannot be called with so many columns or these keywords, or refuses the types.
        """
        function = self.resolve(where)
        if inputs is not None:
            self._check_call(function, inputs, where)
        if self.outputs is not None:
            return self.outputs
        if inputs is None:
            return fixed_outputs(function) or ANY
        try:
            declared = declared_outputs(function, tuple(inputs), self.keywords)
        except GraphError as error:
            raise error.located(where) from None
        except (TypeError, ValueError) as error:
            given = ", ".join(str(kind) for kind in inputs)
            raise GraphError(
                f"{self} does not take ({given})"
                + (f" with {dict(self.keywords)}" if self.keywords else "")
                + f": {error}",
                where=where,
            ) from error
        return ANY if declared is None else declared

    def with_labels(self, inputs: Sequence[ColumnType], where: str) -> Function:
        """The function with the labels that it is to have of its inputs; see `takes_labels`."""
        keyword = labels_keyword(self.resolve(where))
        labels = next((each.labels for each in reversed(inputs) if each.labels), ())
        if not keyword or keyword in self.keywords or not labels:
            return self
        return replace(self, keywords={**self.keywords, keyword: list(labels)})

    def _check_call(self, function: Callable[..., Any], inputs: Sequence[ColumnType], where: str) -> None:
        """Refuse what Python would refuse when the function is called: the number of columns, and the keywords."""
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return
        parameters = signature.parameters.values()
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            known = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
            for name in self.keywords:
                if name not in known:
                    raise UnknownNameError(f"keyword of {self}", name, known, where=where)
        try:
            signature.bind(*inputs, **self.keywords)
        except TypeError as error:
            given = f"{len(inputs)} column{'' if len(inputs) == 1 else 's'}"
            raise GraphError(
                f"{self}{signature} cannot be called with {given}"
                + (f" and {', '.join(self.keywords)}" if self.keywords else "")
                + f": {error}",
                where=where,
            ) from None


def import_name(path: str, where: str = "") -> Any:
    """The object at `package.module.name`, or what an installed package offers under a name without dots."""
    parts = path.split(".")
    if not all(part.isidentifier() for part in parts):
        raise GraphError(f"{path!r} is no import path", where=where, hint="write package.module.function")
    if len(parts) == 1:
        return _installed(path, where)
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
                continue
            raise GraphError(f"importing {module_name!r} failed: {error}", where=where) from error
        except BaseException as error:
            if ends_program(error):
                raise
            what = f"importing {module_name!r} failed: {summary(error)}"
            raise GraphError(what, where=where) from error
        return _attribute(found, parts[length:], path, module_name, where)
    raise GraphError(
        f"no module {parts[0]!r} for {path!r}",
        where=where,
        hint=f"the module must be importable: install it, or put its folder on PYTHONPATH (python sees {len(sys.path)} folders)",
    )


def _installed(name: str, where: str) -> Any:
    """An op that an installed package offers by an entry point of the group `motet.ops`."""
    from importlib.metadata import entry_points

    offered = {entry.name: entry for entry in entry_points(group=OPS_GROUP)}
    if name not in offered:
        raise UnknownNameError(
            "op of an installed package", name, list(offered), where=where, hint="or write package.module.function"
        )
    try:
        return offered[name].load()
    except Exception as error:
        raise GraphError(
            f"the op {name!r} of an installed package cannot be loaded: {summary(error)}", where=where
        ) from error


def _attribute(found: Any, names: Sequence[str], path: str, module: str, where: str) -> Any:
    for name in names:
        try:
            found = getattr(found, name)
        except AttributeError:
            public = getattr(found, "__all__", None) or [each for each in dir(found) if not each.startswith("_")]
            raise GraphError(
                f"{module!r} has no {name!r} (for {path!r}); {known_names(name, public)}", where=where
            ) from None
    return found


def _import_path(function: Callable[..., Any]) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__" or "<" in name:
        return ""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}.{name}" if found is function else ""


def read_outputs(value: object, where: str) -> Outputs:
    """What a function gives, as a graph says it: one type, or types by name."""
    if isinstance(value, Mapping):
        return {str(name): read_type(kind, f"{where}.{name}") for name, kind in value.items()}
    return read_type(value, where)


def write_outputs(outputs: Outputs) -> Any:
    """The inverse of `read_outputs`."""
    if isinstance(outputs, ColumnType):
        return str(outputs)
    return {name: str(kind) for name, kind in outputs.items()}


def as_functions(value: Any) -> tuple[Function, ...]:
    """One function or several in a row, as given in Python: each a function, its import path, or `{"map": ..., "with": {...}}`."""
    if value is None:
        return ()
    given = value if isinstance(value, (list, tuple)) else [value]
    return tuple(_from_mapping(each) if isinstance(each, Mapping) else Function.of(each) for each in given)


def _from_mapping(value: Mapping[str, Any]) -> Function:
    fields = Fields(dict(value), "function", FUNCTION)
    function, outputs = fields.raw("map"), fields.raw("outputs")
    if function is None:
        raise GraphError(f"no function in {show(value)}", hint="write {'map': FUNCTION, 'with': {...}}")
    return Function.of(function, fields.get("with"), outputs)


def read_functions(value: object, where: str) -> tuple[Function, ...]:
    """One function or several in a row, as a graph file says: a path, `{map: path, with: {...}}`, or a list of these."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(_read_function(each, f"{where}[{position}]") for position, each in enumerate(value))
    return (_read_function(value, where),)


def _read_function(value: object, where: str) -> Function:
    if isinstance(value, str):
        return Function(value)
    fields = Fields(value, where, FUNCTION)
    outputs = fields.raw("outputs")
    return Function(
        fields.get("map"),
        fields.get("with") or {},
        None if outputs is None else read_outputs(outputs, fields.place("outputs")),
    )


def write_functions(functions: Sequence[Function], where: str) -> Any:
    """The inverse of `read_functions`.

    Raises:
        GraphError: when a function cannot be imported by name.
    """
    written = [_write_function(function, where) for function in functions]
    return written[0] if len(written) == 1 else written


def _write_function(function: Function, where: str) -> Any:
    path = importable_path(function, where)
    if not function.keywords and function.outputs is None:
        return path
    written: dict[str, Any] = {"map": path}
    if function.keywords:
        written["with"] = dict(function.keywords)
    if function.outputs is not None:
        written["outputs"] = write_outputs(function.outputs)
    return written


def importable_path(function: Function, where: str) -> str:
    """The path of a function that a file can name."""
    if function.path:
        return function.path
    raise GraphError(
        f"the function {function} cannot be imported by name, so a file cannot name it",
        where=where,
        hint="define it at the top level of a module (not in __main__, a notebook, or inside another function)",
    )


def chain_outputs(functions: Sequence[Function], inputs: Sequence[ColumnType] | None, where: str) -> Outputs | None:
    """What functions in a row give in the end. None for no functions."""
    return next(reversed(chain_each(functions, inputs, where)), None)


def chain_each(functions: Sequence[Function], inputs: Sequence[ColumnType] | None, where: str) -> list[Outputs]:
    """What each of some functions in a row gives: it takes what the one before it gave."""
    found: list[Outputs] = []
    for function in functions:
        outputs = function.infer(inputs, where)
        found.append(outputs)
        if isinstance(outputs, ColumnType):
            inputs = None if outputs == ANY else (outputs,)
        else:
            inputs = tuple(outputs.values())
    return found
