"""What a run writes is nothing that it reads, nor does it write one thing over another, however places are spelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from motet.errors import InputError
from motet.io.files import File
from motet.io.places import place_of

__all__ = ["check_apart", "check_not_read"]


def check_apart(writes: Mapping[str, str | None]) -> None:
    """See that what is written goes to different places, and nothing beside the output into its folder.

    Args:
        writes: places by what is written there, `output` first; None for what is not.

    Raises:
        InputError: when two of them are one.
    """
    places = {what: place_of(text) for what, text in writes.items() if text is not None}
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


def check_not_read(files: Iterable[File], writes: Mapping[str, str | None]) -> None:
    """See that no file that is read is written over, nor lies in a folder that is written.

    Raises:
        InputError: naming such a file.
    """
    places = [place_of(text) for text in writes.values() if text is not None]
    read = [file.place for file in files] if places else []
    for place in places:
        for each in read:
            if place.is_same(each) or (place.names_folder and place.holds(each)):
                raise InputError(
                    f"the run reads {each}, and would write over it", where=str(place), hint="write elsewhere"
                )
