"""What a run writes is nothing that it reads, nor does it write one thing over another, however places are spelled."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from motet.errors import InputError
from motet.io import Source
from motet.io.files import FoundFile
from motet.io.places import Place, is_same_file, place_of
from motet.lake.address import names_table

__all__ = ["check_apart", "check_not_read", "named_files", "read_files"]


def check_apart(places: Mapping[str, Place]) -> None:
    """See that what is written goes to different places, and nothing beside the output into its folder.

    Args:
        places: by what is written there, `output` first.

    Raises:
        InputError: when two of them are one.
    """
    for what, place in places.items():
        for other, before in places.items():
            if other == what:
                break
            if place.is_same(before):
                raise InputError(f"'{place}' is the {other} as well", where=what, hint="name another file")
            if before.names_folder and before.holds(place):
                raise InputError(
                    f"{place!s} lies in the folder of the {other}", where=what, hint="write it beside the folder"
                )


def check_not_read(files: Sequence[FoundFile], places: Iterable[Place]) -> None:
    """See that no file that is read is written over, nor lies in a folder that is written.

    Raises:
        InputError: naming such a file.
    """
    for place in places:
        each = next(_read_there(place, files), None)
        if each is not None:
            raise InputError(f"the run reads {each}, and would write over it", where=str(place), hint="write elsewhere")


def read_files(opened: Source, source: object) -> Sequence[FoundFile]:
    """The files that a source reads, as it says, else as it was asked for: a package's own need not say."""
    found: Sequence[FoundFile] = getattr(opened, "reads", ())
    return found or named_files(source)


def named_files(what: object) -> Sequence[FoundFile]:
    """What a path, or each of a list, names; nothing where it is no path."""
    if isinstance(what, (list, tuple)):
        return [file for each in what for file in named_files(each)]
    if not isinstance(what, (str, os.PathLike)) or names_table(what):
        return ()
    place = place_of(what)
    return [FoundFile(place.path, place.fs)]


def _read_there(place: Place, files: Sequence[FoundFile]) -> Iterator[FoundFile]:
    """The files that a place is, or holds were it a folder. On this machine a file that is read is there, so it is compared
    with a place that is there alone."""
    if place.names_folder:
        yield from (file for file in files if place.holds(file.place))
    elif place.fs is not None:
        yield from (file for file in files if place.is_same(file.place))
    elif os.path.exists(place.path):
        yield from (file for file in files if _is_there(file, place))


def _is_there(file: FoundFile, place: Place) -> bool:
    return is_same_file(file.place.path, place.path) if file.is_local else place.is_same(file.place)
