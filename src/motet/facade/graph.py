"""What users hold: a graph that can be called, run, explained, drawn and saved. Thin; imports what it needs when called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from motet.errors import Failure, InputError
from motet.facade.calls import CallableGraph
from motet.facade.clusters import ClusterGraph
from motet.facade.planning import PlannedGraph
from motet.graph import graph as data
from motet.graph.build import PendingMember, Ref, Uses
from motet.graph.places import folder_of

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from typing import IO

    from motet.engines.local.estimate import Estimate
    from motet.engines.local.options import RunOptions
    from motet.engines.local.report import RunReport
    from motet.serving.config.server import ServeOptions
    from motet.serving.process.background import BackgroundServer


__all__ = ["Graph", "load", "member"]


class Graph(CallableGraph, PlannedGraph, ClusterGraph):
    """Models that play together: checked when it is built, then called, run in bulk, explained, drawn and saved.

    Args:
        name: its name.
        outputs: output names and the columns they show: what `motet.map`, `motet.ensemble` and the others returned, or
            one of its columns (`top.index`).

    Raises:
        GraphError: for the first mistake found; says what, where, what was got, and how to mend it.
    """

    def with_models(self, models: Mapping[str, Any] | None = None, /, **named: Any) -> Graph:
        """The same graph with other models in the place of some, for tests and comparisons.

        Args:
            models: what stands in, by the names of models, those of graphs inside as `GRAPH/MODEL`: a `motet.Model`; a URI;
                a fitted estimator; or a function of the model's inputs, arrays of a batch, that gives its outputs. A graph
                inside that has the same model under the same name gets the same. Of a model for each key (`{key}` in its
                URI) all are replaced.
            named: likewise.

        Returns:
            Another graph, checked; this one stays as it is.

        Raises:
            UnknownNameError: when the graph has no such model; lists those that it has.
            GraphError: when something cannot stand in, or the graph cannot be right with it.
            InputError: when what is given is no mapping.
        """
        from motet.graph.stand_in import with_stand_ins

        if not isinstance(models, Mapping | None):
            raise InputError(f"expected models by name; got {type(models).__name__}", where="with_models")
        return self._opened(with_stand_ins(self, self.checked, {**(models or {}), **named}))

    @overload
    def run(
        self, source: Any, output: None = None, *, failures: Literal["raise"] = "raise", **options: Unpack[RunOptions]
    ) -> Any: ...

    @overload
    def run(
        self, source: Any, output: None = None, *, failures: Literal["return"], **options: Unpack[RunOptions]
    ) -> tuple[Any, list[Failure]]: ...

    @overload
    def run(
        self, source: Any, output: str | Path, *, dry_run: Literal[True], **options: Unpack[RunOptions]
    ) -> Estimate: ...

    @overload
    def run(
        self, source: Any, output: str | Path, *, dry_run: Literal[False] = False, **options: Unpack[RunOptions]
    ) -> RunReport: ...

    def run(self, source: Any, output: str | Path | None = None, **options: Any) -> Any:
        """Play a whole data set, on this machine unless another engine is named.

        Args:
            source: a frame (pandas, polars, DuckDB, `datasets`), a file (Parquet, Arrow, CSV, JSON Lines), a folder, a list of files, a
                pyarrow data set or table, or an iterable of batches or frames.
            output: the file to write; its suffix says the format. A folder (a path ending in `/`) keeps the parts. None
                gives the answers back, unless `into` names an output that is there.
            options: those of `motet run` by their names in Python (`batch_rows`, `overwrite`, `only_failed`, ...), which
                `motet.engines.local.options.BulkOptions` explains; `engine`, `local`, `beam`, `ray`, `spark` or one that is
                made, with its `engine_options`, a list as on the command line; and `progress`: True shows how far it is; or a
                function, called with the rows done, the rows there are, and those failed. Without an output: `failures`,
                `raise` or `return`, as in a call.

        Returns:
            The report of the run; with `dry_run` what it would do and take. Without an output the answers beside the columns
            that are kept, an Arrow table (`.to_pandas()` makes a frame, with the index that a pandas frame had).

        Raises:
            RunError: when the run could not go on.
            RowErrors: without an output, when rows failed; its `columns` is the table of the others.
        """
        from motet.system.progress import followed

        with followed(options.pop("progress", None)) as told:
            return self._run(source, output, {**options, "progress": told})

    def _run(self, source: Any, output: str | Path | None, options: dict[str, Any]) -> Any:
        from motet.engines.engine import find_engine

        engine = find_engine(options.pop("engine", "local"), options.pop("engine_options", ()))
        dry_run = options.pop("dry_run", False)
        output = options.get("into") if output is None else output
        if output is not None:
            return (engine.estimate if dry_run else engine.run)(self.checked, source, str(output), **options)
        if dry_run:
            raise InputError("dry_run is for runs that write a file", hint="name an output, such as answers.parquet")
        from motet.engines.collect import collect
        from motet.runtime.call import check_failures

        failures = options.pop("failures", "raise")
        check_failures(failures)
        return collect(engine, self.checked, source, failures, options)

    def teach(
        self, source: Any, output: str | Path | None = None, *, of: str | None = None, **options: Unpack[RunOptions]
    ) -> Any:
        """Write what the graph says of every class, for a student to learn from: its answers, and its scores as the column `soft`.

        Args:
            source, output, options: as for `run`, which it is: `keep=["image"]` keeps what the student takes, `engine` says what runs it.
            of: the output, or column, whose scores they are (the only output): scores, or what is made of them.

        Raises:
            InputError: when no column of scores stands before it, or several do.
        """
        from motet.planning.teach import teacher_outputs

        return self._opened(self.changed(outputs=teacher_outputs(self.checked, of))).run(source, output, **options)

    @overload
    def serve(self, *, block: Literal[True] = True, **options: Unpack[ServeOptions]) -> None: ...

    @overload
    def serve(self, *, block: Literal[False], **options: Unpack[ServeOptions]) -> BackgroundServer: ...

    def serve(self, *, block: bool = True, **options: Any) -> BackgroundServer | None:
        """Put the graph on line, as `motet serve` does.

        Args:
            block: serve here until a signal ends it (outside the main thread: as long as the program runs); False serves
                in a thread of its own, also where an event loop runs, and touches no signal handlers.
            options: those of `motet.serving.config.server.ServeConfig`: `host` (127.0.0.1), `port` (8000; 0 takes a free one),
                `grpc_port` (none), `limits`, ..., each as a file has it; what is not given is as the graph's `serve` says.

        Returns:
            With `block=False` the server, ready: `url`, `port`, `close()`; a context manager that closes it.

        Raises:
            InputError: when the port cannot be had, or an option is unknown.
            GraphError: when `serve` is wrong.
            ModelLoadError: with `block=False`, when a model cannot be loaded.
        """
        import importlib

        if block:
            importlib.import_module("motet.serving.process.background").serve_here(self, options)
            return None
        server: BackgroundServer = importlib.import_module("motet.serving").start(self, **options)
        return server

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to a YAML file.

        Args:
            path: the file, or a URL that fsspec opens (`s3://bucket/graph.yaml`). Models that lie in the same place are named
                relative to it, others as they are.

        Raises:
            GraphError: when a function cannot be imported by name, or a URL does not take the file.
        """
        from motet.models.fetch import resolve
        from motet.models.graph_files import write_text

        target = resolve(os.fspath(path), None)
        write_text(target, self.text_in(folder_of(target)))

    def to_yaml(self) -> str:
        """The text of the graph's file, in its folder: `motet.load(io.StringIO(text), folder=graph.folder)` reads it."""
        return self.text_in(self.folder)

    def text_in(self, folder: str) -> str:
        """The text of the graph's file in a folder, a path or a URL, relative to which its models are named."""
        from motet.graph.yaml import dump_graph
        from motet.models.graph_files import placed

        return dump_graph(placed(self, folder if "://" in folder else os.path.realpath(folder)))

    def _parts(self) -> tuple[Any, ...]:
        from motet.models.graph_files import placed

        return placed(self, None)._parts()  # the same models are the same, wherever the file is that names them

    def anew(self, **parts: Unpack[data.GraphParts]) -> Graph:
        """The same graph, but for these of its parts, checked again: its models of stores are those that their aliases mean now."""
        own: Any = {name: getattr(self, name) for name in data.GraphParts.__annotations__}
        return Graph(self.name, self.outputs, **{**own, **parts})

    def draw(self, format: Literal["text", "mermaid", "svg"] = "text") -> str:
        """Draw the graph: a tree for a terminal, a Mermaid diagram, or an SVG image."""
        from motet.graph.draw import draw

        return draw(self.checked, format)

    def _repr_svg_(self) -> str:
        """The drawing, which a notebook shows."""
        return self.draw("svg")


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


def load(
    source: str | os.PathLike[str] | IO[str] | IO[bytes] | Traversable, *, folder: str | os.PathLike[str] | None = None
) -> Graph:
    """Read a graph from a YAML file.

    A file can name any importable function, so loading one is as trusting as running code.

    Args:
        source: a path; a URL that fsspec opens (`s3://bucket/graph.yaml`, `memory://...`, `file://...`); an open file, also
            `io.StringIO(text)`; or a resource of a package, `importlib.resources.files("package") / "graph.yaml"`, in a zip
            file too.
        folder: what relative names in it (models, graphs, labels) are relative to, a path or a URL; the file's own folder when
            not given, the working directory where it has none.

    Raises:
        GraphError: for the first mistake in it; says what, where, what was got, and how to mend it.
    """
    from motet.graph.yaml import load_graph
    from motet.models.fetch import resolve
    from motet.models.graph_files import opened

    name, read, has_folder = opened(source)
    place = None if folder is None and has_folder else resolve(os.fspath(folder or ""), None)
    return load_graph(name, Graph, folder=place, read_text=read)
