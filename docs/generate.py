"""Write docs/reference/ and docs/images/ anew, from docstrings, tables and commands.

pages() ──► text by path, relative to docs/ ──► main() writes them; tests/docs compares them

python docs/generate.py           writes
python docs/generate.py --check   says what differs, and exits with 1
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import motet
from motet import errors, ops
from motet.engines.engine import ENGINES
from motet.engines.local.options import Options
from motet.engines.support import FEATURES
from motet.graph.yaml import parse, read_graph
from motet.models import handler as handler_module
from motet.models import registry
from motet.nodes import COMBINERS

DOCS = Path(__file__).parent
FASHION = DOCS.parent / "examples" / "fashion"
NOTE = "<!-- Written by docs/generate.py; change the code's docstrings instead, then run make docs. -->\n"
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
EXTRAS = {name: name for name in ("sklearn", "torch", "xgboost", "lightgbm")}
_ITEM = re.compile(r"    (\*{0,2}[\w, .*]+): (.*)")


def pages() -> dict[str, str]:
    """What should stand in each generated file, by its path relative to docs/."""
    made = {
        "reference/api.md": _api(),
        "reference/ops.md": _ops(),
        "reference/handlers.md": _handlers(),
        "reference/combiners.md": _combiners(),
        "reference/errors.md": _errors(),
        "reference/cli.md": _commands(),
        "reference/engines.md": _engines(),
    }
    index = "\n".join(
        f"- [{path.removeprefix('reference/')}]({path.removeprefix('reference/')}): {what}"
        for path, what in _INDEX.items()
    )
    made["reference/README.md"] = f"{NOTE}\n# Reference\n\nWritten from the code.\n\n{index}\n"
    return {
        **made,
        "images/fashion.svg": _picture(_readme_graph()),
        "images/cascade.svg": _picture(motet.load(FASHION / "cascade.yaml")),
    }


_INDEX = {
    "reference/api.md": "what `import motet as mt` gives",
    "reference/cli.md": "the commands and their options",
    "reference/ops.md": "ready-made functions for map nodes",
    "reference/combiners.md": "how an ensemble makes one answer of several",
    "reference/handlers.md": "kinds of model files and their options",
    "reference/errors.md": "the tree of errors",
    "reference/engines.md": "which engine does what a graph can ask for",
}


def _page(title: str, lead: str, parts: Iterable[str]) -> str:
    return "\n\n".join([NOTE + f"\n# {title}", lead, *parts]).rstrip() + "\n"


def _api() -> str:
    lead = "Every public name, in order. `import motet as mt` imports none of the frameworks; each name is imported when it is first used."
    names = [name for name in motet.__all__ if name not in ("errors", "ops")]
    parts = [_entry(name, getattr(motet, name), f"mt.{name}") for name in names]
    options = f"## Options of run\n\nKeywords of `Graph.run`.\n\n{markdown(_after_summary(Options))}"
    return _page("motet", lead, [*parts, options])


def _after_summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[2].replace("Attributes:", "Args:", 1)


def _entry(name: str, thing: Any, shown: str) -> str:
    text = _described(f"## {name}", f"{shown}{_signature(thing)}", thing)
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return text
    return "\n\n".join([text, *_methods(name, thing)])


def _described(heading: str, shown: str, thing: Any) -> str:
    """A heading, how a thing is written, and what it does."""
    return f"{heading}\n\n```text\n{shown}\n```\n\n{markdown(inspect.getdoc(thing) or '')}"


def _methods(name: str, cls: type) -> Iterable[str]:
    """The public methods that a class defines itself."""
    for method, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if inspect.isfunction(function) and (not method.startswith("_") or method == "__call__") and function.__doc__:
            of_class = isinstance(value, (classmethod, staticmethod))
            shown = f"mt.{name}" if of_class else name.lower()
            shown += "" if method == "__call__" else f".{method}"
            yield _described(f"### {name}.{method}", f"{shown}{_signature(function, method=True)}", function)


def _signature(thing: Any, *, method: bool = False) -> str:
    """Names and defaults; the docstring says the types."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    if method and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def markdown(doc: str) -> str:
    """A docstring as Markdown: its sections as lists, its examples as blocks."""
    lines: list[str] = []
    section = ""
    for paragraph in doc.split("\n\n"):
        heading, _, rest = paragraph.partition("\n")
        if heading.rstrip(":") in SECTIONS and heading.endswith(":"):
            section = heading.rstrip(":")
            lines += [f"**{section}**", "", *_section(rest)]
        elif paragraph.lstrip().startswith(">>>"):
            lines += ["```pycon", paragraph, "```"]
        elif paragraph.startswith("    "):
            lines += ["```text", inspect.cleandoc(" \n" + paragraph), "```"]
        else:
            lines += [_flowing(paragraph)]
        lines.append("")
    return "\n".join(lines).rstrip()


def _flowing(paragraph: str) -> str:
    """A paragraph, with what is set in behind it kept as a block."""
    head, indented = [], []
    for line in paragraph.split("\n"):
        (indented if line.startswith("    ") else head).append(line)
    if not indented:
        return "\n".join(head)
    return "\n".join([*head, "", "```text", *(line[4:] for line in indented), "```"])


def _section(text: str) -> list[str]:
    """The lines of a section: `name: what` as a list, anything else as a paragraph."""
    items: list[str] = []
    for line in text.split("\n"):
        match = _ITEM.fullmatch(line)
        if match is not None and not line.startswith("     "):
            items.append(f"- `{match[1]}`: {match[2]}")
        elif items:
            items.append(f"  {line.strip()}" if items[0].startswith("- ") else line.strip())
        else:
            items.append(line.strip())
    return items


def _ops() -> str:
    lead = (
        "Functions for map nodes. Each works on a whole batch and treats every row alone. In YAML they are named "
        "`motet.ops.MODULE.FUNCTION`, with keywords under `with`; each declares its types, so a graph is checked before rows flow."
    )
    return _page(
        "Ready-made functions", lead, [part for name in ops.__all__ for part in _module(name, getattr(ops, name))]
    )


def _module(name: str, module: ModuleType) -> Iterable[str]:
    yield f"## motet.ops.{name}\n\n{markdown(inspect.getdoc(module) or '')}"
    for function in module.__all__:
        found = getattr(module, function)
        if inspect.isfunction(found):
            yield _described(f"### {name}.{function}", f"{function}{_signature(found)}", found)


def _combiners() -> str:
    lead = "What `combine:` of an ensemble may name. Each works on a row alone, output by output, and adds in the order of the members."
    parts = [f"## {name}\n\n{_combiner(name, combiner)}" for name, combiner in COMBINERS.items()]
    return _page("Combiners", lead, parts)


def _combiner(name: str, combiner: object) -> str:
    what = {"max": "The largest answer, place by place.", "median": "The median of the answers, place by place."}
    return what.get(name) or markdown(inspect.getdoc(type(combiner)) or "")


def _handlers() -> str:
    lead = (
        "Kinds of models, by the scheme or the suffix of their URI. *Runs code*: such files are not loaded from remote URIs "
        "without `unpickle: allow`. *Same bits*: a row's answer does not depend on what shares its call."
    )
    names = list(registry._CLASSES)
    rows = [
        "| scheme | suffixes | runs code | same bits | extra |",
        "|---|---|---|---|---|",
        *(_handler_row(name) for name in names),
    ]
    parts = ["\n".join(rows), *(_handler_text(name) for name in names), _protocol()]
    return _page("Handlers", lead, parts)


def _handler_row(name: str) -> str:
    found = registry.handler_by_name(name)
    suffixes = ", ".join(f"`{suffix}`" for suffix in found.suffixes) or "none"
    extra = f"`{EXTRAS[name]}`" if name in EXTRAS else "none"
    safe = ", ".join(f"`{suffix}`" for suffix in getattr(found, "safe_suffixes", ()))
    runs_code = f"yes, but not {safe}" if safe else _yes(found.runs_code)
    return f"| `{name}:` | {suffixes} | {runs_code} | {_yes(found.batch_invariant)} | {extra} |"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _handler_text(name: str) -> str:
    module = importlib.import_module(type(registry.handler_by_name(name)).__module__)
    return f"## {name}\n\n{markdown(inspect.getdoc(module) or '')}"


def _protocol() -> str:
    parts = [
        f"### {name}\n\n{markdown(inspect.getdoc(getattr(handler_module, name)) or '')}"
        for name in handler_module.__all__
    ]
    return "\n\n".join(["## Writing one\n\nSee [extending.md](../extending.md).", *parts])


def _errors() -> str:
    lead = "Every error is a `motet.MotetError`. It has `what`, `where` and `hint`; its class has the HTTP `status` that it answers with."
    tree = inspect.getdoc(errors) or ""
    classes = [getattr(errors, name) for name in errors.__all__]
    rows = [f"| `{cls.__name__}` | {cls.status} | {_summary(cls)} |" for cls in classes if _is_error(cls)]
    return _page("Errors", lead, [markdown(tree), "\n".join(["| error | status | when |", "|---|---|---|", *rows])])


def _is_error(cls: object) -> bool:
    return inspect.isclass(cls) and issubclass(cls, errors.MotetError)


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def _commands() -> str:
    import click

    main: click.Command = importlib.import_module("motet.cli").cli
    context = main.make_context("motet", [], resilient_parsing=True, terminal_width=100)
    parts = [f"```text\n{main.get_help(context)}\n```"]
    if isinstance(main, click.Group):
        for name in main.list_commands(context):
            command = main.get_command(context, name)
            assert command is not None
            inner = command.make_context(name, [], parent=context, resilient_parsing=True)
            parts.append(f"## motet {name}\n\n```text\n{command.get_help(inner)}\n```")
    return _page("The command motet", "What `motet --help` and `motet COMMAND --help` say.", parts)


def _engines() -> str:
    lead = (
        "What a graph can ask for, and which engine does it. A graph that asks for something an engine lacks is run all the "
        "same, since that changes only speed; `motet check` says so."
    )
    rows = ["| feature | meaning | " + " | ".join(ENGINES) + " |", "|---|---|" + "---|" * len(ENGINES)]
    for feature in FEATURES:
        cells = " | ".join(feature.lacks.get(engine, "yes") for engine in ENGINES)
        rows.append(f"| {feature.name} | {feature.meaning} | {cells} |")
    return _page("Engines", lead, ["\n".join(rows)])


def _readme_graph() -> motet.Graph:
    """The graph that the README shows in YAML."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    block = text.partition("```yaml\n")[2].partition("```")[0]
    return read_graph(parse(block), motet.Graph, folder=str(FASHION))


def _picture(graph: motet.Graph) -> str:
    return graph.draw("svg").rstrip() + "\n"


def differences(made: Mapping[str, str], folder: Path = DOCS) -> list[str]:
    """The generated files that are not as they should be, and those that should not be there."""
    found = [path for path, text in made.items() if not _same(folder / path, text)]
    extra = {str(path.relative_to(folder)) for path in (folder / "reference").glob("*.md")} - set(made)
    return [*found, *sorted(extra)]


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main(arguments: list[str], say: Callable[[str], Any] = sys.stdout.write) -> int:
    """Write, or with `--check` compare; the exit code."""
    made = pages()
    found = differences(made)
    if "--check" in arguments:
        say("".join(f"docs/{path} is not up to date; run make docs\n" for path in found))
        return 1 if found else 0
    for path in found:
        target = DOCS / path
        if path in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(made[path], encoding="utf-8")
        else:
            target.unlink()
        say(f"docs/{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
