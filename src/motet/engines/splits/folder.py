"""The folder beside an output that workers write to: parts, failures, and last a record of each split that is done.

Every attempt at a split writes files of its own, and then the record under a name that the split alone decides. So an attempt
that is repeated, doubled or killed changes nothing: one record counts, and what it names is whole.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from motet import errors
from motet.engines.local.journal import MANIFEST, NOTE, PieceJournal
from motet.engines.local.manifest import Manifest
from motet.engines.splits.work import NO_WORK, SplitWork
from motet.errors import MotetError, RunError
from motet.io import open_writer
from motet.io.files import FoundFile
from motet.io.places import place_of
from motet.io.sink import CountingWriter
from motet.io.target import target_of, writing
from motet.portable import without_init

__all__ = ["SplitFolder", "SplitJournal", "SplitResult"]

_RECORD = re.compile(r"_split-(\d+)\.json")
_ARROW = "rows"
"""Parts of a file that is put together later: Arrow's stream format, as a journal has it, which keeps every type."""


@dataclass(frozen=True)
class SplitResult:
    """What became of a split.

    Attributes:
        number: of its task.
        rows: rows that were played.
        failed: those that failed.
        part: the file of the answers, in the folder.
        failures: that of the failures; empty where no row failed.
        worker: the process that played it.
        work: what that took.
        keyed: models that its rows lead to, where the next stage brings them together by key.
        error: why it cannot be played, on which the run ends; None where it was.
    """

    number: int
    rows: int = 0
    failed: int = 0
    part: str = ""
    failures: str = ""
    worker: str = ""
    work: SplitWork = NO_WORK
    keyed: int = 0
    error: MotetError | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> SplitResult:
        """As its record says it."""
        return cls(**{**said, "work": SplitWork.of(said["work"])})

    @property
    def answered(self) -> int:
        """Rows that were answered."""
        return self.rows - self.failed


class SplitFolder:
    """The folder as a worker has it.

    Args:
        where: a path or a URL.
        manifest: of the run, as JSON.

    Raises:
        RunError: when this process does not find it, or it is another run's by now.
    """

    def __init__(self, where: str, manifest: str) -> None:
        self.where, self._manifest = where, json.loads(manifest)
        if not self._holds(MANIFEST):
            raise RunError(
                "is not found in a worker",
                where=where,
                hint="write the output to a disk that all workers share, or to an object store",
            )
        self._check_run()
        self._attempt = uuid.uuid4().hex[:12]

    def _check_run(self) -> None:
        """See that this is still the run's folder: one that was begun anew may be met by workers of the one before."""
        if not self._holds(MANIFEST) or _read(self.where, MANIFEST) != self._manifest:
            raise RunError("the run that this split is of has ended, or was begun anew", where=self.where)

    def _holds(self, name: str) -> bool:
        return place_of(f"{self.where}/{name}").exists()

    def done(self, number: int) -> SplitResult | None:
        """What an attempt has said of a split, if one has finished."""
        name = _record_of(number)
        if not self._holds(name):
            return None
        found = SplitResult.of(_read(self.where, name))
        return found if self._holds(found.part) else None

    @contextmanager
    def read(self, name: str) -> Iterator[Any]:
        """A file of the folder, opened.

        Raises:
            RunError: when it is not there any more.
        """
        if not self._holds(name):
            raise RunError(f"the file {name} is not there any more", where=self.where)
        with _opened(self.where, name) as file:
            yield file

    def open_slots(self, number: int, schema: pa.Schema) -> tuple[str, CountingWriter]:
        """As `open`, of a file of Arrow whose record batches can be read one by one."""
        name = f"_left-{number:05d}-{self._attempt}.arrow"
        return name, _RowsWriter(f"{self.where}/{name}", schema, pa.ipc.new_file)

    def open(self, kind: str, number: int, schema: pa.Schema, format: str | None) -> tuple[str, CountingWriter]:
        """The name and the writer of a file of this attempt; of no format it is as `rows_of` reads it."""
        name = f"_{kind}-{number:05d}-{self._attempt}.{format or _ARROW}"
        where = f"{self.where}/{name}"
        return name, _RowsWriter(where, schema) if format is None else open_writer(where, schema, format=format)

    def commit(self, result: SplitResult) -> SplitResult:
        """Make an attempt count, unless another one does by now; the one that does."""
        self._check_run()
        found = self.done(result.number)
        if found is None:
            said = {key: value for key, value in asdict(result).items() if key != "error"}
            self._put(_record_of(result.number), said)
        return found or result

    def give_up(self, number: int, error: MotetError) -> None:
        """Say why a split cannot be played, for drivers that workers cannot tell."""
        said = {"kind": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}
        self._put(_error_of(number), said)

    def _put(self, name: str, said: Mapping[str, Any]) -> None:
        self._check_run()
        place = place_of(f"{self.where}/{name}")
        target = target_of(place, f"{place.path.removesuffix(name)}.{name}-{self._attempt}")
        try:
            with writing(self.where), target.open() as file:
                file.write(json.dumps(said).encode())
            target.publish()
        except BaseException:
            target.discard()
            raise


class _RowsWriter:
    """Writes record batches as they are; see `BatchWriter`."""

    def __init__(self, where: str, schema: pa.Schema, make: Callable[..., Any] = pa.ipc.new_stream) -> None:
        self._where, self._target, self.rows = where, target_of(where), 0
        self._file = self._target.open()
        self._out = make(self._file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        with writing(self._where):
            self._out.write_batch(batch)
        self.rows += len(batch)

    def close(self) -> None:
        """Let the file appear."""
        with writing(self._where):
            self._out.close()
            self._file.close()
        self._target.publish()

    def abort(self) -> None:
        """Leave no file."""
        self._file.close()
        self._target.discard()


class SplitJournal(PieceJournal):
    """The folder as the driver has it, which alone holds it."""

    def put_manifest(self, manifest: Manifest, *, goes_on: bool) -> list[SplitResult]:
        """Say what the run is, before any worker asks; what earlier parts of it have finished. Files that no record names go.

        Args:
            manifest: of the run.
            goes_on: whether what is done counts.
        """
        if not goes_on:
            self.begin(lambda: manifest)
        self._manifest = lambda: manifest
        self.write_manifest()
        results = self._results()
        named = {name for each in results for name in (_record_of(each.number), each.part, each.failures)}
        kept = named | {MANIFEST, NOTE}
        self.folder.remove(name for name in self._found if name not in kept and name[0] == "_")
        return results

    def _results(self) -> list[SplitResult]:
        there = {*self._found}
        found = [SplitResult.of(_read(self.folder.where, name)) for name in self._found if _RECORD.fullmatch(name)]
        return [each for each in found if each.part in there]

    def result(self, number: int) -> SplitResult | None:
        """What a worker has said of a split; None where none has."""
        for name in (_record_of(number), _error_of(number)):
            if place_of(f"{self.folder.where}/{name}").exists():
                said = _read(self.folder.where, name)
                return SplitResult(number, error=_error(**said)) if "what" in said else SplitResult.of(said)
        return None

    def path(self, name: str) -> str:
        """A file of the folder, in the output's file system."""
        return place_of(f"{self.folder.where}/{name}").path

    def rows_of(self, name: str) -> Iterator[pa.RecordBatch]:
        """The record batches of a file that was opened without a format."""
        with _opened(self.folder.where, name) as file:
            yield from pa.ipc.open_stream(file)


def _record_of(number: int) -> str:
    return f"_split-{number:05d}.json"


def _error_of(number: int) -> str:
    return f"_error-{number:05d}.json"


def _error(kind: str, what: str, where: str, hint: str) -> MotetError:
    """An error of the same class."""
    made: MotetError = without_init(getattr(errors, kind, RunError), (what, where, hint))
    made.what, made.where, made.hint = made.args
    return made


def _read(folder: str, name: str) -> dict[str, Any]:
    with _opened(folder, name) as file:
        return dict(json.loads(file.read()))


@contextmanager
def _opened(folder: str, name: str) -> Iterator[Any]:
    place = place_of(f"{folder}/{name}")
    file = FoundFile(place.path, place.fs).open()
    try:
        yield file
    finally:
        file.close()
