"""Keys: in drawn programs, the key of a step changes just where something changes that the step can reach."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KINDS = ("plain", "closure", "method", "partial", "table", "lambda", "decorated")
MODULES = ("right", "left", "main")  # a module imports those before it


@dataclass(frozen=True)
class Function:
    """A function of a drawn program: how it is written, what it calls, and its numbers."""

    kind: str
    module: int
    calls: tuple[int, ...]
    by_attribute: bool
    numbers: dict[str, int] = field(default_factory=lambda: {"constant": 1, "value": 1, "body": 1})


def written(functions: list[Function], comment: str) -> dict[str, str]:
    """The program's modules. `value` is a default, a value in a closure, an attribute of a class, or a part of a table."""
    texts = dict.fromkeys(MODULES, f'"""{comment}"""\nimport functools\n')
    for place, name in enumerate(MODULES):
        texts[name] += "".join(f"import {other}\n" for other in MODULES[:place])
    texts["main"] += "import motet as mt\n"
    for i, each in enumerate(functions):
        here = MODULES[each.module]
        told = []
        for j in each.calls:
            there = MODULES[functions[j].module]
            if there == here:
                told.append(f"f{j}(x)")
            elif each.by_attribute:
                told.append(f"{there}.f{j}(x)")
            else:
                texts[here] += f"from {there} import f{j}\n"
                told.append(f"f{j}(x)")
        body = " + ".join(["x", f"K{i}", str(each.numbers["body"]), *told])
        value = each.numbers["value"]
        texts[here] += f"# {comment}\nK{i} = {each.numbers['constant']}\n"
        texts[here] += {
            "plain": f"def f{i}(x, by={value}):\n    return {body} + by\n",
            "closure": f"def make{i}(held):\n    def inner(x):\n        return {body} + held\n    return inner\n"
            f"f{i} = make{i}({value})\n",
            "method": f"class C{i}:\n    size = {value}\n    def run(self, x):\n        return {body} + self.size\n"
            f"def f{i}(x):\n    return C{i}().run(x)\n",
            "partial": f"def base{i}(x, by):\n    return {body} + by\nf{i} = functools.partial(base{i}, by={value})\n",
            "table": f"T{i} = {{'a': [{value}], 'run': lambda x: {body}}}\n"
            f"def f{i}(x):\n    return T{i}['run'](x) + T{i}['a'][0]\n",
            "lambda": f"f{i} = lambda x, by={value}: {body} + by\n",
            "decorated": f"def plus{i}(function):\n    @functools.wraps(function)\n    def inner(*args):\n"
            f"        return function(*args) + {value}\n    return inner\n@plus{i}\ndef f{i}(x):\n    return {body}\n",
        }[each.kind]
    last = len(functions) - 1
    told = f"f{last}" if functions[last].module == 2 else f"{MODULES[functions[last].module]}.f{last}"  # type: ignore[assignment]
    texts["main"] += (
        f"@mt.step(cache=True)\ndef work(x, file):\n    return {told}(x)\n\n"
        "@mt.workflow\ndef flow(x, file):\n    return work(x, mt.File(file))\n"
    )
    return texts


def reached(functions: list[Function]) -> set[int]:
    """The functions that the step can reach: it calls the last one."""
    found, todo = set(), [len(functions) - 1]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += functions[each].calls
    return found


@st.composite
def programs(draw: Any) -> Any:
    functions: list[Function] = []
    for i in range(draw(st.integers(1, 6))):
        module = draw(st.integers(0, 2))
        possible = [j for j in range(i) if functions[j].module <= module]
        calls = draw(st.lists(st.sampled_from(possible), max_size=2, unique=True)) if possible else []
        functions.append(Function(draw(st.sampled_from(KINDS)), module, tuple(calls), draw(st.booleans())))
    return functions


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), functions=programs())
def test_a_key_changes_just_with_what_the_step_reaches(project: Any, tmp_path: Path, data: Any, functions: Any) -> None:
    file = tmp_path / "file"

    def key_of(functions: list[Function], comment: str = "same", x: int = 1, content: str = "one") -> tuple[str, int]:
        project.write(**written(functions, comment))
        file.write_text(content)
        run = project.load("main").flow(x, str(file)).run(resume=False)
        return run.steps[0].key, run.output

    before, output = key_of(functions)
    assert key_of(functions) == (before, output)
    assert key_of(functions, comment="another, of more lines\n# so that all moves down") == (before, output)
    assert key_of(functions, x=2)[0] != before, "a parameter"
    assert key_of(functions, content="two")[0] != before, "a file"
    for place, name in data.draw(
        st.lists(
            st.tuples(st.integers(0, len(functions) - 1), st.sampled_from(["constant", "value", "body"])),
            min_size=1,
            max_size=3,
            unique=True,
        )
    ):
        changed = list(functions)
        changed[place] = replace(changed[place], numbers={**changed[place].numbers, name: 7})
        key, now = key_of(changed)
        matters = place in reached(functions)
        assert (key != before) == matters, f"{name} of f{place}, a {functions[place].kind}"
        assert (now != output) == matters
