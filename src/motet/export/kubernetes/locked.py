"""What pip installs in the image: every package, also those that others require, in the versions that are here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from motet.errors import InputError
from motet.export.kubernetes.project import Project, packages_imported

__all__ = ["INSTALL", "motet_requirement", "read_requirement", "requirements"]

INSTALL = "/install"
"""Where the image has the list of packages, and wheels that are given with it."""
_LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


def requirements(project: Project, extras: Iterable[str], files: Iterable[Path], more: Iterable[str]) -> list[str]:
    """The lines of `requirements.txt` but Motet's own: `NAME==VERSION`, or what is asked for where none is installed here.

    A version of one machine alone (`2.9+cpu`) is the published one in the image. What such a build does not require here,
    as torch's libraries of CUDA, pip chooses when the image is built.

    Args:
        project: the project.
        extras: those of Motet that are needed.
        files: modules and packages of the project that are imported in the image.
        more: requirements beside these; one with a version counts instead of the version that is here.
    """
    given = {canonicalize_name(each.name): each for each in map(read_requirement, more)}
    imported = [
        distributions[0] for name in packages_imported(project, files) if (distributions := _by_module().get(name))
    ]
    roots = [Requirement("motet" + _listed(extras)), *(Requirement(name) for name in imported), *given.values()]
    found = {name: _line(each, given.get(canonicalize_name(name))) for name, each in _closure(roots).items()}
    found.pop("motet", None)
    return [found[name] for name in sorted(found)]


def motet_requirement(wheel: str, package: str, extras: Iterable[str]) -> str:
    """Motet itself, as pip takes it: the name of a wheel beside the list, or the requirement that was given."""
    return package if package and not wheel else f"motet{_listed(extras)} @ file://{INSTALL}/{wheel}"


def read_requirement(text: str) -> Requirement:
    """A requirement as pip takes it: `s3fs`, `pyarrow>=17`, `onnx[reference]==1.18`.

    Raises:
        InputError: when it is none.
    """
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        said = str(error).partition("\n")[0]
        raise InputError(f"{text!r} is no requirement of pip: {said}", hint="write NAME or NAME==VERSION") from None


def _listed(extras: Iterable[str]) -> str:
    names = ",".join(sorted(extras))
    return f"[{names}]" if names else ""


@cache
def _by_module() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _closure(roots: Sequence[Requirement]) -> dict[str, Requirement]:
    """These, and all that they require on Linux, by name; each once, by the first that asked for it."""
    found: dict[str, Requirement] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(roots)
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        found.setdefault(name, asked)
        for extra in ("", *sorted(asked.extras)):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _required(name, extra)
    return found


def _required(name: str, extra: str) -> list[Requirement]:
    try:
        listed = [Requirement(text) for text in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return []
    where = {**_LINUX, "extra": extra}
    plain = {**_LINUX, "extra": ""}
    return [
        each
        for each in listed
        if (each.marker is None and not extra)
        or (each.marker is not None and each.marker.evaluate(where) and not (extra and each.marker.evaluate(plain)))
    ]


def _line(asked: Requirement, given: Requirement | None) -> str:
    if given is not None and (given.specifier or given.url):
        return str(given)
    try:
        version = metadata.version(asked.name)
    except metadata.PackageNotFoundError:
        return f"{asked.name}{asked.specifier}"
    extras = _listed(given.extras) if given is not None else ""
    return f"{canonicalize_name(asked.name)}{extras}=={version.partition('+')[0]}"
