"""The house stays in order: no name of a class twice, no circle of imports, none that hides in a string."""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import motet

SOURCE = Path(motet.__file__).parent
ENTRIES = {"motet.ops", "motet.cli.exits", "motet.facade.graph"}
"""Modules that import what is asked for by name; and the facade, whose graphs are served by what stands on it."""
TESTS = Path(__file__).parents[1]
TESTS_OF_ALL_PARTS = {"benchmarks", "containers", "differential", "docs", "examples", "helpers", "programs"}


def _name(path: Path) -> str:
    parts = ("motet", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def _imported(node: ast.AST) -> Iterator[Any]:
    """What is imported, wherever it stands, but for what only types need."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.If) and "TYPE_CHECKING" in ast.unparse(each.test):
            continue
        if isinstance(each, ast.ImportFrom) and each.module:
            yield from (
                f"{each.module}.{alias.name}" if f"{each.module}.{alias.name}" in MODULES else each.module
                for alias in each.names
            )
        elif isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        yield from _imported(each)


def test_no_two_public_classes_have_one_name() -> None:
    classes = [each.name for tree in MODULES.values() for each in tree.body if isinstance(each, ast.ClassDef)]
    counts = Counter(name for name in classes if not name.startswith("_"))
    assert not [name for name, count in counts.items() if count > 1]


def test_imports_form_no_circle_not_even_deferred_ones() -> None:
    needs = {name: {each for each in _imported(tree) if each in MODULES} - {name} for name, tree in MODULES.items()}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_module_of_ours_is_imported_by_a_string() -> None:
    hidden = {
        f"{name}: {ast.unparse(each)}"
        for name, tree in MODULES.items()
        for each in ast.walk(tree)
        if isinstance(each, ast.Call)
        and ast.unparse(each.func).endswith("import_module")
        and each.args
        and ast.unparse(each.args[0]).lstrip("f").startswith(("'motet.", '"motet.'))
        and name not in ENTRIES
    }
    assert hidden == set()


def test_tests_lie_in_folders_called_as_those_of_what_they_test() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("*.py")}
    assert not sorted(
        str(folder)
        for folder in folders
        if not (SOURCE / folder).is_dir() and folder.parts[0] not in TESTS_OF_ALL_PARTS
    )
