"""What a run has finished, so that it goes on where it stopped after any kill.

In a folder beside the output (see work.py) stand the manifest and pieces. A piece holds the failures and the answers of a
stretch of batches, one after another as Arrow streams, in one file whose name says the rest; it counts once it is there.
At the end the output is there, and the folder goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from motet.engines.layout import FAILURES, failures_table
from motet.engines.local.manifest import Manifest
from motet.engines.local.work import WorkFolder
from motet.errors import Failure, ResumeError

__all__ = ["MANIFEST", "NOTE", "JournalPiece", "PieceJournal"]

MANIFEST, NOTE = "_manifest.json", "_note.json"


class JournalPiece(NamedTuple):
    """A stretch of batches that is done.

    Attributes:
        first: the first batch.
        end: the batch behind the last.
        rows: rows played.
        failed: rows that failed.
    """

    first: int
    end: int
    rows: int
    failed: int

    @property
    def name(self) -> str:
        """Its file."""
        return f"_piece-{self.first:09d}-{self.end:09d}-{self.rows}-{self.failed}.arrow"

    @classmethod
    def named(cls, name: str) -> JournalPiece | None:
        """The piece of a file; None of other files."""
        match = re.fullmatch(r"_piece-(\d+)-(\d+)-(\d+)-(\d+)\.arrow", name)
        return cls(*map(int, match.groups())) if match else None


class PieceJournal:
    """The pieces of a run, in a folder of their own. One run at a time may hold it.

    Args:
        folder: the folder; made when it is not there.

    Raises:
        RunError: when another run holds it.
    """

    def __init__(self, folder: WorkFolder) -> None:
        self.folder = folder
        folder.lock()
        try:
            self._found = folder.names()
        except BaseException:
            folder.release(empty=False)
            raise
        self.is_there = MANIFEST in self._found
        self._manifest: Callable[[], Manifest] | None = None
        self._written = ""

    def begin(self, manifest: Callable[[], Manifest]) -> None:
        """Begin anew: nothing of an earlier run counts from here on."""
        if self.is_there:
            self.folder.remove([MANIFEST])
        self.folder.remove(self._found)
        self._found, self.is_there = [], False
        self.keep(manifest)

    def keep(self, manifest: Callable[[], Manifest]) -> None:
        """Write the manifest with the first piece, and again with a later one when it has changed: sizes are found on the way.

        Pieces that do not count go.
        """
        self._manifest = manifest
        counted = [piece.name for piece in self.pieces()]
        self.folder.remove({*self._found} - {*counted, MANIFEST, NOTE})
        self._found = counted

    def manifest(self) -> Manifest:
        """What the run that stopped here was.

        Raises:
            ResumeError: when the manifest cannot be read.
        """
        try:
            with self.folder.reading(MANIFEST) as file:
                return Manifest.from_json(file.read().decode())
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ResumeError(
                f"its manifest cannot be read: {error}", where=self.folder.where, hint="begin anew with --overwrite"
            ) from None

    def note(self) -> str:
        """What this run, or the one that stopped here, has noted; empty for nothing."""
        if NOTE not in self._found:
            return ""
        with self.folder.reading(NOTE) as file:
            return str(file.read().decode())

    def put_note(self, text: str) -> None:
        """Keep what whoever goes on with this run must know."""
        self.folder.check()
        with self.folder.writing(NOTE) as file:
            file.write(text.encode())

    def pieces(self) -> list[JournalPiece]:
        """The pieces that count, in order and without a gap."""
        found: list[JournalPiece] = []
        for piece in filter(None, map(JournalPiece.named, self._found)):
            if piece.first == (found[-1].end if found else 0):
                found.append(piece)
        return found

    def write_manifest(self) -> None:
        """Write the manifest where it has changed."""
        if self._manifest is not None and (text := self._manifest().to_json()) != self._written:
            with self.folder.writing(MANIFEST) as file:
                file.write(text.encode())
            self._written, self.is_there = text, True

    def commit(self, piece: JournalPiece, answers: Sequence[pa.RecordBatch], failures: Sequence[Failure]) -> None:
        """Make a piece count.

        Raises:
            RunError: when it cannot be written, or another run holds the folder now.
        """
        self.folder.check()
        self.write_manifest()
        with self.folder.writing(piece.name) as file:
            if failures:
                self._write(file, [failures_table(failures)])
            if answers:
                self._write(file, answers)
        self._found.append(piece.name)

    def answers(self, piece: JournalPiece) -> Iterator[pa.RecordBatch]:
        """The answers of a piece."""
        with self.folder.reading(piece.name) as file:
            if piece.failed:
                _read(file)
            if file.tell() < file.size():
                yield from pa.ipc.open_stream(file)

    def failures(self, piece: JournalPiece) -> list[Failure]:
        """The failures of a piece."""
        if not piece.failed:
            return []
        with self.folder.reading(piece.name) as file:
            return [Failure(**row) for row in _read(file).select(FAILURES.names).to_pylist()]

    def remove(self) -> None:
        """The run is finished: nothing is left to go on with. The manifest goes first, so that no half of it counts."""
        if self.is_there:
            self.folder.remove([MANIFEST])
        self.is_there = False
        self.release()

    def release(self) -> None:
        """Let another run have it; a folder that there is nothing in to go on with goes."""
        self.folder.release(empty=not self.is_there)

    def _write(self, file: Any, batches: Sequence[pa.RecordBatch]) -> None:
        options = pa.ipc.IpcWriteOptions(compression=self.folder.compression)
        with pa.ipc.new_stream(file, batches[0].schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)


def _read(file: Any) -> pa.Table:
    return pa.ipc.open_stream(file).read_all()
