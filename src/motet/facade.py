"""What users hold: a graph that can be called, run, explained, drawn and saved. Thin; imports what it needs when called."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import motet.nodes  # noqa: F401  (the kinds register themselves)
from motet.errors import Failure, InputError, UnknownNameError
from motet.graph import graph as data
from motet.graph.build import Handle, PendingMember, Ref, Uses
from motet.graph.check import CheckedGraph, check
from motet.graph.defaults import checked_default
from motet.graph.fields import NAME
from motet.graph.graph import NO_DEFAULT, Input
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.batch import Batch
    from motet.engines.local.report import RunReport
    from motet.runtime.call import Explanation
    from motet.runtime.executor import Executor
    from motet.runtime.resolve import ModelResolver

__all__ = ["Graph", "input", "inputs", "load", "member"]

_resolver: ModelResolver | None = None


def _shared_resolver() -> ModelResolver:
    """The one resolver of the process: each model file is looked at once."""
    global _resolver
    if _resolver is None:
        from motet.runtime.resolve import ModelResolver

        _resolver = ModelResolver()
    return _resolver


class Graph(data.Graph):
    """Models that play together: checked when it is built, then called, run in bulk, explained, drawn and saved.

    Args:
        name: its name.
        outputs: output names and the columns they show: what `motet.map`, `motet.ensemble` and the others returned, or
            one of its columns (`top.index`).

    Raises:
        GraphError: for the first mistake found; says what, where, what was got, and how to mend it.
    """

    def __init__(self, name: str, outputs: Mapping[str, Any], **parts: Any) -> None:
        folder = parts.pop("folder", "")
        super().__init__(name, outputs, folder=folder if "://" in folder else os.path.abspath(folder), **parts)
        self._executor: Executor | None = None
        self.checked: CheckedGraph = check(self, _shared_resolver())

    @property
    def executor(self) -> Executor:
        """What plays this graph when it is called; its models stay loaded as long as the graph is there."""
        if self._executor is None:
            from motet.runtime.executor import Executor
            from motet.runtime.host import Host

            self._executor = Executor(self.checked, Host(_shared_resolver()))
        return self._executor

    def __call__(self, columns: Any, *, failures: Literal["raise", "return"] = "raise") -> Any:
        """Play columns here and now.

        Args:
            columns: by the names of the inputs, arrays (or lists) whose first axis is the row; or a frame of pandas,
                polars, DuckDB or Arrow, of which columns that are no inputs are left alone.
            failures: `raise`, or `return` to get `(answers, failures)`.

        Returns:
            Arrays by the names of the outputs, whose first axis is the row; lists of arrays where rows differ in shape.

        Raises:
            RowErrors: when rows failed; carries the answers of the others.
            InputError: when the columns are not those of the graph.
        """
        from motet.runtime.call import answer, check_failures

        check_failures(failures)
        return answer(self.executor, *self._bound(columns), failures)

    def _bound(self, columns: Any) -> tuple[Batch, list[Failure]]:
        """The batch of what is given, and the rows that do not fit."""
        from motet.runtime.bind import bind_columns

        if hasattr(columns, "__arrow_c_stream__"):
            from motet.engines.local.layout import bind_frame

            return bind_frame(columns, self.checked)
        return bind_columns(columns, self.checked)

    @overload
    def run(self, source: Any, output: None = None, **options: Any) -> Any: ...

    @overload
    def run(self, source: Any, output: str | Path, **options: Any) -> RunReport: ...

    def run(self, source: Any, output: str | Path | None = None, **options: Any) -> Any:
        """Play a whole data set, on this machine.

        Args:
            source: a frame (pandas, polars, DuckDB), a file (Parquet, Arrow, CSV, JSON Lines), a folder, a list of files, a
                pyarrow data set or table, or an iterable of batches or frames.
            output: the file to write; its suffix says the format. A folder (a path ending in `/`) keeps the parts. None
                gives the answers back.
            options: as those of `motet run`: `failed`, `batch_rows`, `limit`, `workers`, `resume`, `overwrite`, `keep`,
                `drop`, `only_failed`, `max_failures`, `group_by`, `format`, `encoding`, `delimiter`, `types`, `empty`,
                `engine`; and `progress`, called with the rows done. Without an output: `failures`, `raise` or `return`, as
                in a call.

        Returns:
            The report of the run; without an output the answers beside the columns that are kept, an Arrow table
            (`.to_pandas()` makes a frame, with the index that a pandas frame had).

        Raises:
            RunError: when the run could not go on.
            RowErrors: without an output, when rows failed; its `columns` is the table of the others.
        """
        from motet.engines.engine import find_engine

        engine = find_engine(options.pop("engine", "local"))
        if output is not None:
            return engine.run(self.checked, source, str(output), **options)
        from motet.engines.collect import collect
        from motet.runtime.call import check_failures

        failures = options.pop("failures", "raise")
        check_failures(failures)
        return collect(engine, self.checked, source, failures, options)

    def serve(self, **options: Any) -> None:
        """Put the graph on line, as `motet serve` does, until a signal ends it.

        Args:
            options: those of `motet.serving.config.ServeConfig`: `host` (127.0.0.1), `port` (8000), `grpc_port` (none),
                `limits`, ...; what is not given is as the graph's `serve` says.

        Raises:
            InputError: when the port cannot be had, or an option is unknown.
            GraphError: when `serve` is wrong.
        """
        import importlib

        importlib.import_module("motet.serving.here").serve_here(self, options)

    def explain(self, columns: Any, row: int = 0) -> Explanation:
        """Say how the answer of one row came about: which members ran, their versions, their scores, and their times.

        Args:
            columns: as in a call.
            row: which of their rows.
        """
        from motet.runtime.call import explain

        batch, bad = self._bound(columns)
        for failure in bad:
            if failure.row == row:
                raise InputError(str(failure))
        places = [place for place, each in enumerate(batch.ids) if each == row]
        if not places:
            raise InputError(f"there is no row {row}; there are {len(batch)}")
        return explain(self.executor, batch.take(places))

    def save(self, path: str | Path) -> None:
        """Write the graph to a YAML file; model URIs are written relative to it.

        Raises:
            GraphError: when a function cannot be imported by name.
        """
        from motet.graph.yaml import dump_graph

        target = Path(path)
        text = dump_graph(_moved(self, str(target.parent.resolve())))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)

    def to_yaml(self) -> str:
        """The text of the graph's file, URIs as they are."""
        from motet.graph.yaml import dump_graph

        return dump_graph(self)

    def anew(self) -> Graph:
        """The same graph, checked again: its models of stores are those that their aliases mean now."""
        return Graph(
            self.name, self.outputs, inputs=self.inputs, models=self.models, graphs=self.graphs, nodes=self.nodes,
            folder=self.folder, serving=self.serving, pool=self.pool,
        )  # fmt: skip

    def draw(self, format: Literal["text", "mermaid", "svg"] = "text") -> str:
        """Draw the graph: a tree for a terminal, a Mermaid diagram, or an SVG image."""
        from motet.graph.draw import draw

        return draw(self.checked, format)

    def _repr_svg_(self) -> str:
        """The drawing, which a notebook shows."""
        return self.draw("svg")


def _moved(graph: data.Graph, folder: str) -> data.Graph:
    """The same graph with model URIs relative to another folder."""
    from dataclasses import replace

    base = graph.folder if "://" in graph.folder else str(Path(graph.folder or ".").resolve())
    models = {name: replace(each, uri=_relative(each.uri, base, folder)) for name, each in graph.models.items()}
    graphs = {name: _moved(each, folder) for name, each in graph.graphs.items()}
    return data.Graph(
        graph.name, graph.outputs, inputs=graph.inputs, models=models, graphs=graphs, nodes=graph.nodes, folder=folder,
        serving=graph.serving,
    )  # fmt: skip


def _relative(uri: str, base: str, folder: str) -> str:
    from motet.models.registry import find_handler

    if uri.startswith("store:"):
        place, mark, reference = uri.removeprefix("store:").rpartition("#")
        if not mark or "://" in place or place.startswith(("/", "~")):
            return uri
        return f"store:{posixpath.relpath(posixpath.join(base, place), folder)}#{reference}"
    handler, location = find_handler(uri)
    scheme = uri.removesuffix(location)
    if not handler.has_file or "://" in location or location.startswith("/"):
        return uri
    if "://" in base:
        return f"{scheme}{base.rstrip('/')}/{location}"
    return scheme + posixpath.relpath(posixpath.join(base, location), folder)


def input(name: str, type: str | ColumnType, *, default: Any = NO_DEFAULT, column: str | None = None) -> Handle:
    """Declare an input of a graph.

    Args:
        name: the column's name.
        type: its type, for example `uint8[28,28]`.
        default: what stands in for a null or a missing column; None lets nulls through; without one a null fails its row.
        column: what the column is called where it is stored, for example `"petal length (cm)"`; the name when not given.

    Returns:
        The column.
    """
    where = f"input {name!r}"
    kind = ColumnType.parse(type, where)
    made = Input(kind, checked_default(default, kind, where), column)
    return Handle("input", name, lambda _name, _names: made, ())


def inputs(frame: Any, *, leave_out: Sequence[str] = ()) -> dict[str, Handle]:
    """Declare an input of a graph for each column of a frame, with its type.

    Texts, floats and what is only known when rows flow may be missing (`default=None`); a missing whole number or bool
    fails its row.

    Args:
        frame: a frame of pandas, polars, DuckDB or Arrow; its first rows are enough.
        leave_out: names of columns that are no inputs, such as the label.

    Returns:
        By the names of the columns, their inputs. Where a column's name cannot be that of an input (`petal length (cm)`),
        the input is called alike (`petal_length_cm`), and reads that column.

    Raises:
        InputError: when it is no frame.
        UnknownNameError: when a name to leave out is none of its columns.
    """
    from motet.io import check_readable, frame_name, natural_kind, table_of

    schema = table_of(frame).schema
    for name in leave_out:
        if name not in schema.names:
            raise UnknownNameError("column", name, schema.names, where="leave_out")
    found: dict[str, Handle] = {}
    taken: set[str] = set()
    for field in schema:
        if field.name in leave_out or field.name.startswith("__index_level_"):
            continue
        check_readable(schema, field.name, frame_name(frame))
        name = _input_name(field.name, taken)
        kind = natural_kind(field.type)
        optional = kind.is_object or kind.dtype.startswith("float")
        found[field.name] = input(
            name, kind, default=None if optional and not kind.varies else NO_DEFAULT,
            column=None if name == field.name else field.name,
        )  # fmt: skip
    return found


def _input_name(column: str, taken: set[str]) -> str:
    """A name for the input that reads a column, unlike those that are taken, to which it is added."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", column).strip("_") or "column"
    stem = stem if NAME.fullmatch(stem) else f"column_{stem}"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    taken.add(name)
    return name


def member(
    uses: Uses, inputs: Sequence[Ref] | Mapping[str, Ref] | None = None, output: str | None = None
) -> PendingMember:
    """A member of a node with inputs of its own.

    Args:
        uses: the model or graph.
        inputs: the columns it takes, by position or by name; what the node takes when not given.
        output: the one of its outputs that counts, where it has several.
    """
    return PendingMember(uses, inputs, output)


def load(path: str | Path) -> Graph:
    """Read a graph from a YAML file.

    A file can name any importable function, so loading one is as trusting as running code.

    Raises:
        GraphError: for the first mistake in it; says what, where, what was got, and how to mend it.
    """
    from motet.graph.yaml import load_graph

    return load_graph(path, Graph)
