"""From `FILE.py` or `FILE.py:NAME` to a workflow, and from `key=value` to its parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from motet.errors import GraphError, InputError, MotetError, UnknownNameError
from motet.system.places import current_folder
from motet.tracebacks import ends_program, summary, users_place
from motet.workflow.definition import Workflow
from motet.workflow.load import run_file
from motet.workflow.plan import Plan
from motet.workflow.project import is_project, module_file

__all__ = ["find_workflow", "read_parameters", "wired"]


def find_workflow(place: str) -> tuple[Workflow[Any], Path, str]:
    """Load a file and find a workflow in it.

    The file's folder and the working directory are put on `sys.path`, and the file is the module of its name, so that
    other processes can import what is in it.

    Args:
        place: `FILE.py`, where it has one workflow, or `FILE.py:NAME`.

    Returns:
        The workflow, its file, and its name there.

    Raises:
        GraphError: when the file cannot be read or run, is called as a module is that is not the project's, or has no workflow,
            or several and none is named.
        UnknownNameError: when it has none of that name.
    """
    text, _, name = place.rpartition(":") if ":" in place and not place.endswith(".py") else (place, "", "")
    path = Path(text).absolute()
    found = {key: each for key, each in vars(_load(path)).items() if isinstance(each, Workflow)}
    if name and name not in found:
        raise UnknownNameError("workflow", name, list(found), where=text)
    if not name and len(found) != 1:
        several = f"has {len(found)} workflows: {', '.join(found)}" if found else "has no function with @workflow"
        raise GraphError(several, where=text, hint=f"name one: {text}:NAME" if found else "")
    name = name or next(iter(found))
    return found[name], path, name


def wired(workflow: Workflow[Any], given: Iterable[str]) -> Plan:
    """The steps of a workflow, with parameters from `key=value`.

    Raises:
        InputError, UnknownNameError: when a parameter is wrong.
        GraphError: with the line, when its function raises while they are wired.
    """
    parameters = read_parameters(workflow, given)
    try:
        return workflow(**parameters)
    except BaseException as error:
        if ends_program(error):
            raise
        place = users_place(error)
        if not isinstance(error, MotetError):
            where = f"workflow {workflow.name}" + (f" ({place})" if place else "")
            raise GraphError(summary(error), where=where) from error
        if place and place not in str(error):
            error.add_note(f"at {place}")
        raise


def read_parameters(workflow: Workflow[Any], given: Iterable[str]) -> dict[str, Any]:
    """Parameters of a workflow from `key=value`: a text where the parameter is one, else JSON where it is that.

    Raises:
        InputError: when one is not so written.
        UnknownNameError: when the workflow has no such parameter.
    """
    known = workflow.signature.parameters
    found: dict[str, Any] = {}
    for each in given:
        name, mark, value = each.partition("=")
        if not mark:
            raise InputError(f"{each!r} is no key=value", where=f"parameters of {workflow.name}")
        if name not in known:
            raise UnknownNameError("parameter", name, list(known), where=f"workflow {workflow.name}")
        found[name] = value if _is_text(known[name]) else _read(value, known[name], workflow.name)
    return found


def _load(path: Path) -> Any:
    if path.suffix != ".py" or not path.is_file():
        raise GraphError(f"there is no Python file {path}", hint="give the file of a workflow: FILE.py or FILE.py:NAME")
    for folder in (current_folder(), str(path.parent)):
        if folder is not None and folder not in sys.path:
            sys.path.append(folder)
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    other = module_file(path.stem)
    if not is_project(path.stem) and other != str(path):
        named = f"the module {path.stem}{f' ({other})' if other else ''}"
        raise GraphError(f"is called as {named} is, whose place it would take", where=str(path), hint="rename the file")
    try:
        return run_file(str(path), path.stem)
    except BaseException as error:
        sys.modules.pop(path.stem, None)
        if known is not None:
            sys.modules[path.stem] = known
        if ends_program(error):
            raise
        where = users_place(error) or str(path)
        raise GraphError(f"cannot be imported: {summary(error)}", where=where) from error


def _is_text(parameter: inspect.Parameter) -> bool:
    return _told(parameter).removesuffix(" | None") == "str" or isinstance(parameter.default, str)


def _told(parameter: inspect.Parameter) -> str:
    """An annotation as it is written; empty where there is none."""
    if parameter.annotation is parameter.empty:
        return ""
    kind = parameter.annotation
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _read(value: str, parameter: inspect.Parameter, workflow: str) -> Any:
    try:
        found = orjson.loads(value)
    except ValueError:
        found = value
    kind = _kind(parameter)
    if (
        kind is None
        or (found is None and (parameter.default is None or _told(parameter).endswith(" | None")))
        or type(found) is kind
    ):
        return found
    if kind is float and type(found) is int:
        return float(found)
    if type(found) is float and type(parameter.default) is int and parameter.annotation is parameter.empty:
        return found
    hint = "true or false" if kind is bool else ""
    raise InputError(f"{parameter.name}={value} is no {kind.__name__}", where=f"parameters of {workflow}", hint=hint)


def _kind(parameter: inspect.Parameter) -> type | None:
    """The kind of number that a parameter is, by its annotation, or else by its default; None where it is none."""
    for kind in (bool, int, float):
        if _told(parameter).removesuffix(" | None") == kind.__name__:
            return kind
        if parameter.annotation is parameter.empty and type(parameter.default) is kind:
            return kind
    return None
