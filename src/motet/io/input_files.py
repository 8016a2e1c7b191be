"""Which of the files that paths name are read: each once, those of one format; and what is said of the others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from motet.errors import InputError
from motet.io.files import TABLE_SUFFIXES, Found, FoundFile, look_for, suffix_of
from motet.io.images import IMAGE_SUFFIXES

__all__ = ["FORMATS", "input_files", "is_built_in"]

_SUFFIXES = {**TABLE_SUFFIXES, **dict.fromkeys(IMAGE_SUFFIXES, "images")}
"""The built-in formats by suffix."""

MOST_NAMED = 8
"""Suffixes of files that are left out."""
_LOGS = {"/_delta_log/": "Delta Lake", "/.hoodie/": "Hudi", ".metadata.json": "Iceberg"}
"""What is in the paths of files of tables that have a log."""
_STATE, _DICT = "state.json", "dataset_dict.json"
"""What the package `datasets` writes beside the files of a data set, and of several."""
_HINTS = {
    "Delta Lake": "name it as one: delta:FOLDER",
    "Iceberg": "name it as one: iceberg://CATALOG/NAMESPACE.TABLE",
}
FORMATS = ("parquet", "arrow", "csv", "jsonl", "images")


def input_files(paths: Sequence[str], format: str | None, description: str) -> tuple[list[FoundFile], str, str]:
    """The files to read, their format, and what is said of the others.

    Args:
        paths: paths, patterns, folders and URLs.
        format: the format; None is that of the files' suffixes.
        description: what errors call them.

    Raises:
        InputError: when there is nothing to read, no telling how, or a file is named twice.
    """
    found, twice = _each_once([look_for(path) for path in paths])
    _check_no_log(found, description)
    found = [_of_dataset(each, description) for each in found] if format is None else found
    chosen = format or _one_format([file for each in found for file in each.files], description)
    found = [_readable(each, chosen) for each in found]
    files, said = _sorted_out(found, chosen, twice, any_suffix=format is not None)
    return files, chosen, said


def is_built_in(path: str, format: str | None) -> bool:
    """Whether a path goes to our own readers: by its format, by its suffix, or for want of one (a folder)."""
    if format is not None:
        return format in FORMATS
    return suffix_of(path) in _SUFFIXES or ("://" not in path and not suffix_of(path))


def _check_no_log(found: Sequence[Found], where: str) -> None:
    """Refuse a folder of which a log says which files count: reading them all would give rows that were deleted or replaced.

    Raises:
        InputError: naming what it is.
    """
    for file in (file for each in found if not each.named for file in (*each.hidden, *each.files)):
        for sign, kind in _LOGS.items():
            if sign in f"/{file.path}":
                hint = _HINTS.get(
                    kind, "read it by its own package into Arrow, or name the files that count, such as with a pattern"
                )
                raise InputError(
                    f"is a table of {kind}, whose log says which of its files count", where=where, hint=hint
                )


def _of_dataset(found: Found, where: str) -> Found:
    """The files of a folder that `Dataset.save_to_disk` wrote, in the order that it says; other folders as they are.

    Raises:
        InputError: when it is the folder of a `DatasetDict`, or a file of it is not there.
    """
    names = {file.path[len(file.root) :].lstrip("/"): file for file in found.files}
    if found.named or not names.keys() & {_STATE, _DICT}:
        return found
    if _DICT in names:
        said = ", ".join(sorted({name.partition("/")[0] for name in names if name.endswith(f"/{_STATE}")}))
        raise InputError(f"is a DatasetDict of {said}", where=where, hint="name the folder of one of them")
    try:
        listed = [each["filename"] for each in json.loads(names[_STATE].read())["_data_files"]]
    except (ValueError, KeyError, TypeError):
        return found  # a table that is called so
    if lost := [name for name in listed if name not in names]:
        raise InputError(f"{lost[0]} is not there, which {_STATE} names", where=where, hint="save the data set again")
    return replace(found, files=[names[name] for name in listed])


def _readable(found: Found, format: str) -> Found:
    """What was found, with what was named ready to be read also where that can be done once."""
    if not found.named or not any(file.reads_once for file in found.files):
        return found
    return replace(
        found, files=[file.once(in_order=format == "csv") if file.reads_once else file for file in found.files]
    )


def _each_once(found: Sequence[Found]) -> tuple[list[Found], int]:
    """What was found, without what was found before: a file that is named is kept; and how many were left out.

    Raises:
        InputError: when a file was named twice.
    """
    if len(found) == 1:
        return list(found), 0
    named: dict[tuple[str, str], FoundFile] = {}
    for file in (file for each in found if each.named for file in each.files):
        if (other := named.setdefault(file.place.key, file)) is not file:
            also = f", also as {other}" if str(other) != str(file) else ""
            raise InputError(
                f"is named twice{also}", where=str(file), hint="name it once; its rows would be read twice"
            )
    seen, twice, result = set(named), 0, []
    for each in found:
        if not each.named:
            new = [file for file in each.files if file.place.key not in seen]
            seen.update(file.place.key for file in new)
            twice += len(each.files) - len(new)
            each = replace(each, files=new)
        result.append(each)
    return result, twice


def _sorted_out(found: Sequence[Found], format: str, twice: int, *, any_suffix: bool) -> tuple[list[FoundFile], str]:
    """The files to read, and what is said of the others: those of other suffixes, and hidden ones of this format.

    Files that were named are read, whatever their suffix; where the format was named and nothing has its suffix, all are.
    Pipes and devices are read only where they were named; a picture is a row, so one that is none is a row that fails.
    """

    def fits(file: FoundFile) -> bool:
        return _SUFFIXES.get(suffix_of(file.name)) == format

    takes_all = any_suffix and not any(fits(file) for each in found for file in each.files)
    files: list[FoundFile] = []
    others: Counter[str] = Counter()
    for each in found:
        for file in each.files:
            if not each.named and not file.is_regular and format != "images":
                others["no regular file"] += 1
            elif fits(file) or takes_all or (each.named and any_suffix):
                files.append(file)
            elif each.named:
                raise _no_format(file, str(file))
            else:
                others[suffix_of(file.name) or "without suffix"] += 1
        others["hidden"] += sum(map(fits, each.hidden))
    if not files:
        raise InputError(f"there is nothing to read but {_said_of(+others)}", where=str(found[0].files[0]))
    folders = sum(each.folders for each in found)
    more = [
        f"{folders} folder{'s' if folders > 1 else ''} left out that the pattern fits (end it with /** to read them)" if folders else "",
        _links(twice + sum(each.again for each in found)),
    ]  # fmt: skip
    return files, "; ".join(filter(None, [_said_of(+others), *more]))


def _links(count: int) -> str:
    """What is said of files that were found again."""
    return f"{count} found twice, by another name or a link, and read once" if count else ""


def _said_of(others: Counter[str]) -> str:
    """Such as `4 files left out: 2 .heic, 1 .db, 1 hidden`."""
    if not others:
        return ""
    shown = [f"{count} {name}" for name, count in sorted(others.items(), key=lambda each: (-each[1], each[0]))]
    more = [f"{len(shown) - MOST_NAMED} other suffixes"] if len(shown) > MOST_NAMED else []
    total = others.total()
    return f"{total:,} file{'s' if total > 1 else ''} left out: {', '.join(shown[:MOST_NAMED] + more)}"


def _one_format(files: Sequence[FoundFile], description: str) -> str:
    found = Counter(_SUFFIXES[suffix] for file in files if (suffix := suffix_of(file.name)) in _SUFFIXES)
    if len(found) == 1:
        return next(iter(found))
    if found:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        raise InputError(
            f"holds files of several formats: {counts}",
            where=description,
            hint="name one with --format (format=), or a pattern",
        )
    raise _no_format(files[0], description)


def _no_format(file: FoundFile, where: str) -> InputError:
    packed = file.name.lower().endswith(".zip")
    return InputError(
        f"cannot tell the format of {file.name!r} by its suffix; known: {', '.join(_SUFFIXES)}",
        where=where,
        hint=f"name the files in it: zip://*.csv::{where}" if packed else "name one with --format (format=)",
    )
