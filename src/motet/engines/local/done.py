"""What runs with `append` have done: the record in their output, by which the next one plays new files alone.

The record, `_done.json`, is written by one rename when the parts of a run are all there, so parts that it does not name are of
a run that was killed, and go.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from motet.engines.local.manifest import changes
from motet.errors import InputError, ResumeError
from motet.io.files import FoundFile

__all__ = ["DONE", "Appended", "Done"]

DONE = "_done.json"
_FORM = 1


@dataclass(frozen=True)
class Appended:
    """What one run has appended.

    Attributes:
        graph: digest of its graph.
        models: versions of its models.
        files: those that it read: for each its place, size, and time of change or tag.
        first_part, end_part: its parts: those from the one number to before the other.
        rows: rows that it played.
        failed: those of them that failed.
        failures: where these were written; empty for nowhere.
    """

    graph: str
    models: dict[str, str]
    files: list[tuple[str, int, str]]
    first_part: int
    end_part: int
    rows: int
    failed: int
    failures: str


@dataclass
class Done:
    """What all runs together have.

    Attributes:
        columns: names and types that the parts have.
        runs: what each appended.
    """

    columns: dict[str, str] = field(default_factory=dict)
    runs: list[Appended] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str, where: str) -> Done:
        """The inverse of `to_json`.

        Raises:
            ResumeError: when it cannot be read.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values["form"] != _FORM:
                raise ValueError(f"it has the form {values['form']}")
            runs = [Appended(**{**run, "files": [tuple(each) for each in run["files"]]}) for run in values["runs"]]
            return cls(values["columns"], runs)
        except (ValueError, TypeError, KeyError) as error:
            raise ResumeError(
                f"the record {DONE} of what is done cannot be read: {error}",
                where=where,
                hint="put it back from a copy, or remove the folder to begin anew",
            ) from None

    def to_json(self) -> str:
        """The record as a file holds it."""
        return json.dumps({"form": _FORM, **asdict(self)}, indent=1) + "\n"

    @property
    def num_parts(self) -> int:
        """Parts that are there."""
        return self.runs[-1].end_part if self.runs else 0

    @property
    def num_answered(self) -> int:
        """Rows that the parts hold."""
        return sum(run.rows - run.failed for run in self.runs)

    def with_run(self, run: Appended, columns: dict[str, str]) -> Done:
        """The record when one more run is done."""
        return Done(columns, [*self.runs, run])

    def new(self, files: Sequence[FoundFile]) -> tuple[list[FoundFile], str]:
        """The files that no run has read, and what is said of the others.

        Raises:
            ResumeError: when one that was read has changed since.
        """
        known = {place: (size, stamp) for run in self.runs for place, size, stamp in run.files}
        found = {place_text(file): file for file in files}
        new = [file for place, file in found.items() if place not in known]
        for place, file in found.items():
            if place in known and file.state_found() != known[place]:
                raise ResumeError(
                    "has changed since its rows were played",
                    where=str(file),
                    hint="put it back as it was, and give new rows in new files; or remove the output to begin anew",
                )
        gone = {(place.rpartition("/")[2], *state): place for place, state in known.items() if place not in found}
        done = len(found) - len(new)
        for file in new if not done else ():
            if (before := gone.get((file.name, *file.state_found()))) is not None:
                raise ResumeError(
                    f"is {before}, whose rows were played, at another place",
                    where=str(file),
                    hint="name the input by the place that it had, so that files that are done are known",
                )
        said = [f"{done:,} file{'s' if done > 1 else ''} done by earlier runs"] if done else []
        said += [f"{len(gone):,} of those that they did gone since"] if gone else []
        return new, ", ".join(said)


def place_text(file: FoundFile) -> str:
    """What a file is called in the record, however its place was spelled."""
    return "://".join(file.place.key)


def states_of(files: Sequence[FoundFile]) -> list[tuple[str, int, str]]:
    """Files as the record has them."""
    return [(place_text(file), *file.state_found()) for file in files]


def check_columns(earlier: dict[str, str], now: dict[str, str], where: str) -> None:
    """See that new parts have the columns that those before them have.

    Raises:
        InputError: when they have not.
    """
    if earlier and earlier != now:
        what = "; ".join(changes(earlier, now))
        raise InputError(
            f"the columns are not those of the parts that are there: {what or 'their order differs'}",
            where=where,
            hint="keep the same columns with --keep or --drop, or write to another folder",
        )
