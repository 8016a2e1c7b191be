"""What a run has finished, so that it goes on where it stopped after any kill.

Beside the output stands the folder `OUTPUT.unfinished` with the manifest and pieces. A piece holds the answers and the
failures of a stretch of batches, in two Arrow files, and counts once its `.json` is there, which is written last and by
rename. At the end the final file is there, and the folder goes.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from motet.engines.local.layout import FAILURES, failures_table
from motet.engines.local.manifest import Manifest
from motet.errors import Failure, ResumeError, RunError

__all__ = ["Journal", "Piece"]


@dataclass(frozen=True)
class Piece:
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


class Journal:
    """The pieces of a run, in a folder of their own. One process at a time may hold it.

    Args:
        folder: the folder; made when it is not there.

    Raises:
        RunError: when another run holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise RunError(
                "another run is writing this output", where=str(folder), hint="wait for it, or write elsewhere"
            ) from None
        self._manifest: Callable[[], Manifest] | None = None
        self._written = ""
        self.scratch = folder / "unfinished"
        shutil.rmtree(self.scratch, ignore_errors=True)

    @staticmethod
    def is_there(folder: Path) -> bool:
        """Whether a run stopped here."""
        return (folder / "manifest.json").exists()

    def begin(self, manifest: Callable[[], Manifest]) -> None:
        """Begin anew: nothing of an earlier run counts from here on."""
        (self.folder / "manifest.json").unlink(missing_ok=True)
        for path in sorted(self.folder.glob("piece-*.json")) + sorted(self.folder.glob("piece-*")):
            path.unlink(missing_ok=True)
        self.keep(manifest)

    def keep(self, manifest: Callable[[], Manifest]) -> None:
        """Write the manifest with the first piece, and again with a later one when it has changed: sizes are found on the way."""
        self._manifest = manifest

    def manifest(self) -> Manifest:
        """What the run that stopped here was.

        Raises:
            ResumeError: when the manifest cannot be read.
        """
        try:
            return Manifest.from_json((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ResumeError(
                f"its manifest cannot be read: {error}", where=str(self.folder), hint="begin anew with --overwrite"
            ) from None

    def pieces(self) -> list[Piece]:
        """The pieces that count, in order and without a gap."""
        found: list[Piece] = []
        for path in sorted(self.folder.glob("piece-*.json")):
            piece = Piece(**json.loads(path.read_text(encoding="utf-8")))
            if piece.first != (found[-1].end if found else 0):
                break
            found.append(piece)
        return found

    def commit(self, piece: Piece, answers: Sequence[pa.RecordBatch], failures: Sequence[Failure]) -> None:
        """Make a piece count."""
        if self._manifest is not None and (text := self._manifest().to_json()) != self._written:
            self._write("manifest.json", text)
            self._written = text
        name = f"piece-{piece.first:09d}"
        if answers:
            self._write_arrow(f"{name}.answers.arrow", answers)
        if failures:
            self._write_arrow(f"{name}.failures.arrow", [failures_table(failures)])
        self._write(f"{name}.json", json.dumps(vars(piece)))

    def answers(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """The answers of a piece."""
        return self._read_arrow(f"piece-{piece.first:09d}.answers.arrow")

    def failures(self, piece: Piece) -> list[Failure]:
        """The failures of a piece."""
        found = self._read_arrow(f"piece-{piece.first:09d}.failures.arrow") if piece.failed else iter(())
        return [Failure(**row) for batch in found for row in batch.select(FAILURES.names).to_pylist()]

    def remove(self) -> None:
        """The run is finished: nothing is left to go on with. The manifest goes first, so that no half of it counts."""
        (self.folder / "manifest.json").unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let another run have it; a folder that there is nothing in to go on with goes."""
        if self.folder.exists() and not self.is_there(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _write(self, name: str, text: str) -> None:
        temporary = self.folder / f".{name}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)

    def _write_arrow(self, name: str, batches: Sequence[pa.RecordBatch]) -> None:
        temporary = self.folder / f".{name}.tmp"
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)

    def _read_arrow(self, name: str) -> Iterator[pa.RecordBatch]:
        path = self.folder / name
        if not path.exists():
            return
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)
