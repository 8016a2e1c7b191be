"""A reference: how the rows that a graph was tuned or evaluated on were spread, as a file of counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.planning.drift.bins import Bins
from motet.planning.drift.features import Feature, features_of

__all__ = ["DriftReference", "ReferenceColumn"]

FORMAT = 1


@dataclass(frozen=True)
class ReferenceColumn:
    """How one feature was spread.

    Attributes:
        feature: what is counted.
        bins: where.
        counts: rows in each cell.
    """

    feature: Feature
    bins: Bins
    counts: tuple[float, ...]

    @cached_property
    def array(self) -> npt.NDArray[np.float64]:
        """The counts, shape `[cells]`."""
        return np.array(self.counts, dtype=np.float64)


@dataclass(frozen=True)
class DriftReference:
    """How rows were spread.

    Attributes:
        graph: the graph's name.
        of: where the rows were from.
        made: when, in seconds since 1970.
        rows: how many there were.
        columns: each feature.
        inputs, outputs: the types of the graph's columns, as texts.
    """

    graph: str
    of: str
    made: float
    rows: int
    columns: tuple[ReferenceColumn, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def to_json(self) -> str:
        """The reference as its file has it."""
        columns = [
            {**_without_nothing(asdict(each.feature)), **_without_nothing(asdict(each.bins)), "counts": each.counts}
            for each in self.columns
        ]
        head = {"motet_drift": FORMAT, "graph": self.graph, "of": self.of, "made": self.made, "rows": self.rows}
        return json.dumps({**head, "inputs": self.inputs, "outputs": self.outputs, "columns": columns}, indent=1) + "\n"

    def write(self, path: str | Path) -> None:
        """Write it to a file, whole."""
        from motet.system.whole_files import write_whole

        write_whole(path, self.to_json().encode())

    @classmethod
    def read(cls, path: str | Path) -> DriftReference:
        """Read a file.

        Raises:
            InputError: when it is not there, or no reference.
        """
        where = str(path)
        try:
            found = msgspec.json.decode(Path(path).read_bytes(), type=_File)
        except OSError as error:
            hint = "motet drift reference GRAPH.yaml --input ROWS -o REF.json makes one"
            raise InputError(f"the reference cannot be read: {error.strerror}", where=where, hint=hint) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"this is no reference of drift: {error}", where=where) from error
        if found.motet_drift != FORMAT:
            what = f"a reference of format {found.motet_drift}; this version reads {FORMAT}"
            raise InputError(what, where=where, hint="make it anew: motet drift reference")
        columns = tuple(_column(each, where) for each in found.columns)
        return cls(found.graph, found.of, found.made, found.rows, columns, found.inputs, found.outputs)

    @cached_property
    def digest(self) -> str:
        """Stands for what is counted where: of another reference other counts are kept."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def fitted(self, checked: CheckedGraph, where: str) -> DriftReference:
        """The same with features as this graph has them now.

        Args:
            checked: the graph.
            where: the file, for messages.

        Raises:
            InputError: when it is of a graph with other columns or members; says what differs.
        """
        for side, had, has in (
            ("input", self.inputs, {name: str(each.type) for name, each in checked.graph.inputs.items()}),
            ("output", self.outputs, {name: str(kind) for name, kind in checked.signature.outputs.items()}),
        ):
            for difference in _differences(side, had, has):
                raise self._misfit(difference, checked, where)
        known = {each.name: each for each in features_of(checked)}
        for each in self.columns:
            now = known.get(each.feature.name)
            if now is None or (now.side, now.of, now.view) != (each.feature.side, each.feature.of, each.feature.view):
                raise self._misfit(f"it has {each.feature.name!r}, which the graph has not", checked, where)
        return replace(self, columns=tuple(replace(each, feature=known[each.feature.name]) for each in self.columns))

    def _misfit(self, difference: str, checked: CheckedGraph, where: str) -> InputError:
        hint = "make it anew for the graph as it is: motet drift reference GRAPH.yaml --input ROWS -o REF.json"
        what = f"the reference, of graph {self.graph!r}, does not fit graph {checked.graph.name!r}: {difference}"
        return InputError(what, where=where, hint=hint)


class _Column(msgspec.Struct):
    name: str
    side: str
    of: str
    view: str
    counts: list[float]
    members: tuple[str, ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()
    outputs: tuple[str, ...] = ()
    place: int = -1
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()


class _File(msgspec.Struct):
    motet_drift: int
    graph: str
    of: str
    made: float
    rows: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    columns: list[_Column]


def _column(each: _Column, where: str) -> ReferenceColumn:
    feature = Feature(each.name, each.side, each.of, each.view, each.members, each.labels, each.outputs, each.place)  # type: ignore[arg-type]
    bins = Bins(each.edges, each.categories)
    if len(each.counts) != bins.size or min(each.counts) < 0 or list(each.edges) != sorted(each.edges):
        what = f"{each.name!r} has {len(each.counts)} counts for {bins.size} bins, or counts or edges out of order"
        raise InputError(what, where=where, hint="make it anew: motet drift reference")
    return ReferenceColumn(feature, bins, tuple(each.counts))


def _differences(side: str, had: Mapping[str, str], has: Mapping[str, str]) -> Iterator[str]:
    for name in had:
        if name not in has:
            yield f"it has the {side} {name!r}, which the graph has not"
        elif had[name] != has[name]:
            yield f"{side} {name!r} was {had[name]}, and is {has[name]}"
    for name in has:
        if name not in had:
            yield f"the graph has the {side} {name!r}, which it has not"


def _without_nothing(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value not in ((), [], -1)}
