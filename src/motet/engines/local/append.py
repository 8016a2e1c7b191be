"""Runs that append: of a growing folder they play the files that no run before has played, and add parts to the output.

The record of what is done (done.py) stands in the output. A run that was killed has left a journal with the files that it
had chosen; the next one goes on with these, if they are still what they were, and files that came since wait for one more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from motet.engines.local.done import DONE, Appended, Done, check_columns, states_of
from motet.engines.local.report import NothingNew
from motet.engines.local.work import WorkFolder
from motet.errors import InputError
from motet.io.files import FoundFile
from motet.io.places import place_of
from motet.io.remote import asking

__all__ = ["Appending"]


class Appending:
    """What a run that appends is to read and to say.

    Args:
        output: the folder of parts.
        unfinished: what the journal of an earlier run has noted of its files; empty for nothing.

    Attributes:
        done: what runs before have done.
        said: what is said of the files that are not read.
        goes_on: whether the files are those that the earlier run had chosen.

    Raises:
        ResumeError: when the record cannot be read.
        InputError: when the folder has parts, and no record of what they are of.
    """

    def __init__(self, output: str, unfinished: str) -> None:
        self.output, self._unfinished = output, unfinished
        text = _read(output)
        self.done = Done.from_json(text, output) if text else Done()
        self._has_record = bool(text)
        self.said, self.goes_on = "", False
        self._files: list[FoundFile] = []
        self._columns: dict[str, str] = {}

    @property
    def first_part(self) -> int:
        """The number of the first part to write."""
        return self.done.num_parts

    def failed(self, path: str) -> str:
        """Where the failures of this run go, so that those of none are lost: `f-00002.parquet` for `f.parquet`."""
        stem, dot, suffix = path.rpartition(".")
        number = f"-{len(self.done.runs) + 1:05d}"
        return f"{stem}{number}{dot}{suffix}" if dot and "/" not in suffix else f"{path}{number}"

    def check_folder(self, *, exists: bool) -> None:
        """See that the output, where it is there, has the record of what is in it.

        Raises:
            InputError: when it has parts and no record.
        """
        if exists and not self._has_record:
            raise InputError(
                f"{self.output} is there, and has no record of the files that were played",
                where="append",
                hint="give another folder, or remove this one to begin anew",
            )

    def choose(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        """The files to read.

        Raises:
            NothingNew: when there are none.
            ResumeError: when one that is done has changed.
            InputError: when one can be read only once.
        """
        for file in files:
            if file.reads_once:
                raise InputError("can be read once, so no record of it would hold", where=str(file))
        new, self.said = self.done.new(files)
        if not new:
            raise NothingNew(self.said)
        begun = {(place, size, stamp) for place, size, stamp in json.loads(self._unfinished or "[]")}
        again = [file for file, state in zip(new, states_of(new), strict=True) if state in begun]
        self.goes_on = bool(begun) and len(again) == len(begun)
        if self.goes_on and len(new) > len(again):
            self.said = ", ".join(filter(None, [self.said, f"{len(new) - len(again):,} new since, for the next run"]))
        self._files = again if self.goes_on else new
        return self._files

    def note(self) -> str:
        """What the journal has of the files."""
        return json.dumps(states_of(self._files))

    def check(self, schema: pa.Schema) -> None:
        """See that the parts have the columns of those before them; see `check_columns`."""
        self._columns = {field.name: str(field.type) for field in schema}
        check_columns(self.done.columns, self._columns, self.output)

    def record(self, graph: str, models: dict[str, str], end_part: int, rows: int, failed: int, failures: str) -> str:
        """The text of the record when this run is done; see `Appended`."""
        run = Appended(graph, models, states_of(self._files), self.first_part, end_part, rows, failed, failures)
        return self.done.with_run(run, self._columns).to_json()


def _read(output: str) -> str:
    """The record of a folder; empty where there is none."""
    place = place_of(f"{output.rstrip('/')}/{DONE}")
    try:
        if place.is_local:
            return Path(place.path).read_text(encoding="utf-8")
        with asking(output, place.fs):
            place.fs.invalidate_cache()
            return str(place.fs.cat_file(place.path).decode()) if place.fs.exists(place.path) else ""
    except FileNotFoundError:
        return ""


def noted(work: WorkFolder) -> str:
    """What an earlier run has noted, told without holding its folder; empty for nothing."""
    from motet.engines.local.journal import NOTE

    try:
        with work.reading(NOTE) as file:
            return str(file.read().decode())
    except (OSError, InputError):
        return ""
